#include "kernels/simd/function.h"

#include <algorithm>
#include <limits>

#include "kernels/simd/function_scalar.h"

namespace octet::kernels {

float evaluate_function_reference(Function function, float alpha, float beta, float x) noexcept {
  return evaluate_function(function, alpha, beta, x);
}

float evaluate_byte_function_reference(Function function, float alpha, float beta, float x) noexcept {
  return evaluate_byte_function(function, alpha, beta, x);
}

float evaluate_exp_reference(float x) noexcept {
  return evaluate_exp(x);
}

void function_reference(Function function, float alpha, float beta, const float* input, float* output,
                        int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) output[i] = evaluate_function(function, alpha, beta, input[i]);
}

void exp_reference(const float* input, float* output, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) output[i] = evaluate_exp(input[i]);
}

FunctionKernel choose_function(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return function_avx512vnni;
  return isa >= Isa::kAvx2 ? function_avx2 : function_reference;
}

ExpKernel choose_exp(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return exp_avx512vnni;
  return isa >= Isa::kAvx2 ? exp_avx2 : exp_reference;
}

void softmax_reference(const float* x, float* y, int64_t n, int64_t stride) noexcept {
  for (int64_t c = 0; c < kSoftmaxColumns; ++c) {
    float high = -std::numeric_limits<float>::infinity(), lanes[16] = {};
    for (int64_t i = 0; i < n; ++i) high = high > x[i * stride + c] ? high : x[i * stride + c];
    for (int64_t i = 0; i < n; ++i) {
      const float power = evaluate_exp(x[i * stride + c] - high);
      y[i * stride + c] = power;
      lanes[i % 16] += power;
    }
    for (int half = 8; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    for (int64_t i = 0; i < n; ++i) y[i * stride + c] /= lanes[0];
  }
}

void softmax_row_reference(const float* x, float* y, int64_t n) noexcept {
  float lanes[16];
  std::fill_n(lanes, 16, -std::numeric_limits<float>::infinity());
  const int64_t whole = n / 16 * 16;
  for (int64_t i = 0; i < n; ++i) {
    float& high = lanes[i < whole ? i % 16 : 0];
    high = high > x[i] ? high : x[i];
  }
  const float high = *std::max_element(lanes, lanes + 16);
  std::fill_n(lanes, 16, 0.0f);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] - high;
  exp_reference(y, y, n);
  for (int64_t i = 0; i < n; ++i) lanes[i % 16] += y[i];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  for (int64_t i = 0; i < n; ++i) y[i] /= lanes[0];
}

SoftmaxRowKernel choose_softmax_row(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return softmax_row_avx512vnni;
  return isa >= Isa::kAvx2 ? softmax_row_avx2 : softmax_row_reference;
}

SoftmaxKernel choose_softmax(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return softmax_avx512vnni;
  return isa >= Isa::kAvx2 ? softmax_avx2 : softmax_reference;
}

}  // namespace octet::kernels
