// Inner loops of the corrections, once for each instruction set and with the same bits on all: every element
// has its own chain of multiplications and additions, in a fixed order, never fused. Nothing is allocated or
// thrown.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace octet::loops {

inline constexpr int64_t kLanes = 8;   // right-hand sides, channels or partial sums at a time
inline constexpr int64_t kBlock = 48;  // columns of a block of a matrix

struct Loops {
  // c [rows][columns] -= a [rows][depth] * b [depth][kBlock]; strides n, n and kBlock; at most kBlock
  // columns.
  void (*subtract_product)(const double* a, const double* b, double* c, int64_t rows, int64_t columns,
                           int64_t depth, int64_t n) noexcept;
  // sums[lane] += factor[i] * x[i][lane] for all i; x is [count][kLanes].
  void (*add_rows)(const double* factor, const double* x, double* sums, int64_t count) noexcept;
  // x[i][lane] -= factor[i] * y[lane]
  void (*subtract_outer)(const double* factor, const double* y, double* x, int64_t count) noexcept;
  // y[i] = x[i] + shift
  void (*shift)(const float* x, float shift, float* y, int64_t count) noexcept;
  // y[i] += x[i]
  void (*add)(const float* x, float* y, int64_t count) noexcept;
  double (*sum)(const float* x, int64_t count) noexcept;
  // Of squared differences, and of squares of x.
  void (*errors)(const float* x, const float* y, int64_t count, double* noise, double* signal) noexcept;
  // The largest magnitude; infinite where a value is not finite.
  float (*extreme)(const float* x, int64_t count) noexcept;
  // y[i] = x[i] * inverse rounded half away from zero; within 16 bits.
  void (*to_steps)(const float* x, float inverse, int16_t* y, int64_t count) noexcept;
};

const Loops& of(Isa isa);

}  // namespace octet::loops
