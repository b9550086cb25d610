// Arithmetic on sizes that come from files: overflow is an error, never a wrapped number.
#pragma once

#include <cstdint>
#include <span>

#include "base/error.h"

namespace octet {

inline int64_t checked_add(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) fail(ErrorCode::kInvalidArgument, "size overflow: {} + {}", a, b);
  return r;
}

inline int64_t checked_mul(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) fail(ErrorCode::kInvalidArgument, "size overflow: {} * {}", a, b);
  return r;
}

// Product of dimensions, each of which must be >= 0.
inline int64_t checked_product(std::span<const int64_t> dims) {
  int64_t n = 1;
  for (int64_t d : dims) {
    if (d < 0) fail(ErrorCode::kInvalidArgument, "negative dimension {}", d);
    n = checked_mul(n, d);
  }
  return n;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

}  // namespace octet
