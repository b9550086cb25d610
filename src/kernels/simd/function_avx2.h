// The activation functions of an epilogue on a vector of floats, the same bits as function_scalar.h. Only for
// files compiled for this instruction set.
#pragma once

#include "kernels/simd/function_body.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

struct Avx2Ops {
  using F = __m256;
  OCTET_FORCE_INLINE F set(float v) { return _mm256_set1_ps(v); }
  OCTET_FORCE_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  OCTET_FORCE_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  OCTET_FORCE_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  OCTET_FORCE_INLINE F div(F a, F b) { return _mm256_div_ps(a, b); }
  OCTET_FORCE_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  OCTET_FORCE_INLINE F min(F a, F b) { return _mm256_min_ps(a, b); }
  OCTET_FORCE_INLINE F max(F a, F b) { return _mm256_max_ps(a, b); }
  OCTET_FORCE_INLINE F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  OCTET_FORCE_INLINE F min_abs(F a, F b) { return min(abs(a), b); }
  using Index = __m256i;
  OCTET_FORCE_INLINE Index index(F t) { return _mm256_castps_si256(t); }
  OCTET_FORCE_INLINE F lookup(const float* table, Index index) {
    const F bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    const F bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
    const auto eight = [&](int part) __attribute__((always_inline)) {
      return _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8 * part), index);
    };
    return _mm256_blendv_ps(_mm256_blendv_ps(eight(0), eight(1), bit3),
                            _mm256_blendv_ps(eight(2), eight(3), bit3), bit4);
  }
  OCTET_FORCE_INLINE F exponent(F t) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
  }
  OCTET_FORCE_INLINE F choose_negative(F x, F negative, F other) {
    return _mm256_blendv_ps(other, negative, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
  }
};

}  // namespace

OCTET_FORCE_INLINE __m256 evaluate_function(Function function, float alpha, float beta, __m256 x) {
  return function_value<Avx2Ops, false>(function, alpha, beta, x);
}

// The same for several vectors at once, which hides latencies.
template <int kCount>
OCTET_FORCE_INLINE void evaluate_functions(Function function, float alpha, float beta, __m256 (&v)[kCount]) {
  function_values<Avx2Ops, false>(function, alpha, beta, v);
}

// The same for results that are rounded to 8 bits.
template <int kCount>
OCTET_FORCE_INLINE void evaluate_byte_functions(Function function, float alpha, float beta,
                                                __m256 (&v)[kCount]) {
  function_values<Avx2Ops, true>(function, alpha, beta, v);
}

// exp(min(max(x, -87), 87))
OCTET_FORCE_INLINE __m256 evaluate_exp(__m256 x) {
  return exp_value<Avx2Ops>(x);
}

}  // namespace octet::kernels
