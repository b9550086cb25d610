// The activation functions of an epilogue for code outside of the integer kernels.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/epilogue.h"

namespace octet::kernels {

// function(x), the same bits as every kernel computes (see function_body.h for the definition and its
// accuracy).
float evaluate_function_reference(Function function, float alpha, float beta, float x) noexcept;
// The same for a result that is rounded to 8 bits.
float evaluate_byte_function_reference(Function function, float alpha, float beta, float x) noexcept;

// exp(min(max(x, -87), 87)) with the same bits as the kernels' exp.
float evaluate_exp_reference(float x) noexcept;

// output[i] = function(input[i]) for i in [0, count); in place is allowed.
using FunctionKernel = void (*)(Function function, float alpha, float beta, const float* input, float* output,
                                int64_t count) noexcept;
void function_reference(Function function, float alpha, float beta, const float* input, float* output,
                        int64_t count) noexcept;
void function_avx2(Function function, float alpha, float beta, const float* input, float* output,
                   int64_t count) noexcept;
void function_avx512vnni(Function function, float alpha, float beta, const float* input, float* output,
                         int64_t count) noexcept;
FunctionKernel choose_function(Isa isa);

// The same for exp(min(max(x, -87), 87)).
using ExpKernel = void (*)(const float* input, float* output, int64_t count) noexcept;
void exp_reference(const float* input, float* output, int64_t count) noexcept;
void exp_avx2(const float* input, float* output, int64_t count) noexcept;
void exp_avx512vnni(const float* input, float* output, int64_t count) noexcept;
ExpKernel choose_exp(Isa isa);

// Softmax of kSoftmaxColumns vectors of n floats that lie side by side, the elements of each `stride` apart:
// exp(x - max) / sum, sums in 16 partial sums by the element's index, added pairwise; NaN as exp and the sum
// give it.
inline constexpr int64_t kSoftmaxColumns = 64;
using SoftmaxKernel = void (*)(const float* x, float* y, int64_t n, int64_t stride) noexcept;
void softmax_reference(const float* x, float* y, int64_t n, int64_t stride) noexcept;
void softmax_avx2(const float* x, float* y, int64_t n, int64_t stride) noexcept;
void softmax_avx512vnni(const float* x, float* y, int64_t n, int64_t stride) noexcept;
SoftmaxKernel choose_softmax(Isa isa);
// Of one row of n > 0 floats: the same sums.
using SoftmaxRowKernel = void (*)(const float* x, float* y, int64_t n) noexcept;
void softmax_row_reference(const float* x, float* y, int64_t n) noexcept;
void softmax_row_avx2(const float* x, float* y, int64_t n) noexcept;
void softmax_row_avx512vnni(const float* x, float* y, int64_t n) noexcept;
SoftmaxRowKernel choose_softmax_row(Isa isa);

}  // namespace octet::kernels
