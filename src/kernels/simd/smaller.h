// Minimum and maximum with internal linkage, for instruction sets' files: they must not emit std:: templates
// that the linker might share.
#pragma once

#include <cstdint>

namespace octet::kernels {

static inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static inline int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}
static inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace octet::kernels
