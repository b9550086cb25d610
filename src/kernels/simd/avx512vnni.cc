#include "kernels/simd/function.h"
#include "kernels/simd/function_avx512.h"
#include "kernels/simd/softmax_body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {
namespace {

template <class Body>
inline void map(const float* input, float* output, int64_t count, Body body) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) _mm512_storeu_ps(output + i, body(_mm512_loadu_ps(input + i)));
  if (i < count) {
    const __mmask16 mask = static_cast<__mmask16>((1u << (count - i)) - 1);
    _mm512_mask_storeu_ps(output + i, mask, body(_mm512_maskz_loadu_ps(mask, input + i)));
  }
}

}  // namespace

void function_avx512vnni(Function function, float alpha, float beta, const float* input, float* output,
                         int64_t count) noexcept {
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    __m512 v[4] = {_mm512_loadu_ps(input + i), _mm512_loadu_ps(input + i + 16),
                   _mm512_loadu_ps(input + i + 32), _mm512_loadu_ps(input + i + 48)};
    evaluate_functions(function, alpha, beta, v);
    for (int k = 0; k < 4; ++k) _mm512_storeu_ps(output + i + 16 * k, v[k]);
  }
  map(input + i, output + i, count - i,
      [=](__m512 x) { return evaluate_function(function, alpha, beta, x); });
}

void exp_avx512vnni(const float* input, float* output, int64_t count) noexcept {
  map(input, output, count, [](__m512 x) { return evaluate_exp(x); });
}

void softmax_row_avx512vnni(const float* x, float* y, int64_t n) noexcept {
  softmax_row_body<Avx512, 16>(x, y, n);
}

void softmax_avx512vnni(const float* x, float* y, int64_t n, int64_t stride) noexcept {
  softmax_columns_body<Avx512, 16>(x, y, n, stride);
}

}  // namespace octet::kernels
