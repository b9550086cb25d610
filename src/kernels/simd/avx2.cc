#include <cstring>

#include "kernels/simd/function.h"
#include "kernels/simd/function_avx2.h"
#include "kernels/simd/softmax_body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {
namespace {

template <class Body>
inline void map(const float* input, float* output, int64_t count, Body body) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) _mm256_storeu_ps(output + i, body(_mm256_loadu_ps(input + i)));
  if (i < count) {
    alignas(32) float rest[8] = {};
    std::memcpy(rest, input + i, static_cast<size_t>(count - i) * sizeof(float));
    _mm256_store_ps(rest, body(_mm256_load_ps(rest)));
    std::memcpy(output + i, rest, static_cast<size_t>(count - i) * sizeof(float));
  }
}

}  // namespace

void function_avx2(Function function, float alpha, float beta, const float* input, float* output,
                   int64_t count) noexcept {
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m256 v[4] = {_mm256_loadu_ps(input + i), _mm256_loadu_ps(input + i + 8),
                   _mm256_loadu_ps(input + i + 16), _mm256_loadu_ps(input + i + 24)};
    evaluate_functions(function, alpha, beta, v);
    for (int k = 0; k < 4; ++k) _mm256_storeu_ps(output + i + 8 * k, v[k]);
  }
  map(input + i, output + i, count - i,
      [=](__m256 x) { return evaluate_function(function, alpha, beta, x); });
}

void exp_avx2(const float* input, float* output, int64_t count) noexcept {
  map(input, output, count, [](__m256 x) { return evaluate_exp(x); });
}

void softmax_row_avx2(const float* x, float* y, int64_t n) noexcept {
  softmax_row_body<Avx2, 8>(x, y, n);
}

void softmax_avx2(const float* x, float* y, int64_t n, int64_t stride) noexcept {
  softmax_columns_body<Avx2, 8>(x, y, n, stride);
}

}  // namespace octet::kernels
