// The activation functions of an epilogue on a vector of floats, the same bits as function_scalar.h. Only for
// files compiled for this instruction set.
#pragma once

#include "kernels/simd/function_body.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

struct Avx512Ops {
  using F = __m512;
  OCTET_FORCE_INLINE F set(float v) { return _mm512_set1_ps(v); }
  OCTET_FORCE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  OCTET_FORCE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  OCTET_FORCE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  OCTET_FORCE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  OCTET_FORCE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  OCTET_FORCE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  OCTET_FORCE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  OCTET_FORCE_INLINE F abs(F a) { return _mm512_abs_ps(a); }
  OCTET_FORCE_INLINE F min_abs(F a, F b) { return _mm512_range_ps(a, b, 0b1010); }
  using Index = __m512i;
  OCTET_FORCE_INLINE Index index(F t) { return _mm512_castps_si512(t); }
  OCTET_FORCE_INLINE F lookup(const float* table, Index index) {
    return _mm512_permutex2var_ps(_mm512_load_ps(table), index, _mm512_load_ps(table + 16));
  }
  OCTET_FORCE_INLINE F exponent(F t) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
  }
  OCTET_FORCE_INLINE F choose_negative(F x, F negative, F other) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), other, negative);
  }
};

}  // namespace

OCTET_FORCE_INLINE __m512 evaluate_function(Function function, float alpha, float beta, __m512 x) {
  return function_value<Avx512Ops, false>(function, alpha, beta, x);
}

// The same for several vectors at once, which hides latencies.
template <int kCount>
OCTET_FORCE_INLINE void evaluate_functions(Function function, float alpha, float beta, __m512 (&v)[kCount]) {
  function_values<Avx512Ops, false>(function, alpha, beta, v);
}

// The same for results that are rounded to 8 bits.
template <int kCount>
OCTET_FORCE_INLINE void evaluate_byte_functions(Function function, float alpha, float beta,
                                                __m512 (&v)[kCount]) {
  function_values<Avx512Ops, true>(function, alpha, beta, v);
}

// exp(min(max(x, -87), 87))
OCTET_FORCE_INLINE __m512 evaluate_exp(__m512 x) {
  return exp_value<Avx512Ops>(x);
}

}  // namespace octet::kernels
