#include "kernels/simd/function.h"

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

}  // namespace octet::kernels
