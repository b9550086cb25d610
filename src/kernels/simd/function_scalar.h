// The activation functions of an epilogue on one float: the definition that the vector forms repeat bit for
// bit (see function_body.h). Internal linkage, so that an instruction set's file keeps its own copy.
#pragma once

#include <cstdint>

#include "kernels/simd/function_body.h"

namespace octet::kernels {
namespace {

struct ScalarOps {
  using F = float;
  OCTET_FORCE_INLINE F set(float v) { return v; }
  OCTET_FORCE_INLINE F add(F a, F b) { return a + b; }
  OCTET_FORCE_INLINE F sub(F a, F b) { return a - b; }
  OCTET_FORCE_INLINE F mul(F a, F b) { return a * b; }
  OCTET_FORCE_INLINE F div(F a, F b) { return a / b; }
  OCTET_FORCE_INLINE F fma(F a, F b, F c) { return __builtin_fmaf(a, b, c); }
  OCTET_FORCE_INLINE F min(F a, F b) { return a < b ? a : b; }
  OCTET_FORCE_INLINE F max(F a, F b) { return a > b ? a : b; }
  OCTET_FORCE_INLINE F abs(F a) { return __builtin_fabsf(a); }
  OCTET_FORCE_INLINE F min_abs(F a, F b) { return min(abs(a), b); }
  using Index = uint32_t;
  OCTET_FORCE_INLINE Index index(F t) { return __builtin_bit_cast(uint32_t, t); }
  OCTET_FORCE_INLINE F lookup(const float* table, Index index) { return table[index & 31]; }
  OCTET_FORCE_INLINE F exponent(F t) {
    return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, t) << 23);
  }
  OCTET_FORCE_INLINE F choose_negative(F x, F negative, F other) { return x < 0.0f ? negative : other; }
};

}  // namespace

OCTET_FORCE_INLINE float evaluate_function(Function function, float alpha, float beta, float x) {
  return function_value<ScalarOps, false>(function, alpha, beta, x);
}

// The same for a result that is rounded to 8 bits.
OCTET_FORCE_INLINE float evaluate_byte_function(Function function, float alpha, float beta, float x) {
  return function_value<ScalarOps, true>(function, alpha, beta, x);
}

// exp(min(max(x, -87), 87))
OCTET_FORCE_INLINE float evaluate_exp(float x) {
  return exp_value<ScalarOps>(x);
}

}  // namespace octet::kernels
