// Products of two 8-bit matrices that are both known only when the network runs, and what transformers make
// of two of them: attention. The right operand is packed for the dot product by the kernel itself, in scratch
// memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace octet::kernels {

// A matrix of u8 anywhere in memory: the real value is proportional to data[...] - zero. Strides in bytes, at
// least 0. Memory is the caller's; only elements of the matrix are read.
struct ByteMatrix {
  const uint8_t* data = nullptr;
  int64_t row_stride = 0, column_stride = 0;
  int32_t zero = 0;  // [0, 255]
};

// What happens to a sum: v = fma(float(acc), scale, bias); a u8 output is saturate(round_half_even(v)) (NaN
// gives 0), a float output is v. Strides in elements.
struct MatMulOutput {
  float scale = 1, bias = 0;
  bool is_float = false;
  void* data = nullptr;
  int64_t row_stride = 0, column_stride = 1;
};

// Longest sums that fit into 32 bits whatever the bytes and the zero-points are.
inline constexpr int64_t kMaxMatMulDepth = 33025;

// acc[m][n] = sum over k of (a[m][k] - a.zero) * (b[k][n] - b.zero), exactly; depth <= kMaxMatMulDepth.
struct MatMulCall {
  int64_t rows = 1, depth = 1, columns = 1;
  ByteMatrix a, b;
  MatMulOutput output;
};

// One head of attention. With the exact sums s[m][n] = (q - q.zero) x (k - k.zero) over `depth`:
//
//   t[n]  = fma(float(s[m][n]), score_scale, mask[m][n])      (without a mask: float(s) * score_scale)
//   e[n]  = exp(t[n] - max t)                                 (exp of function_body.h)
//   p[n]  = saturate_u8(round_half_even(fma(e[n], probability_scale / sum e, probability_zero)))
//
// where max and sum are made in 16 lanes (lane i takes n = i, i + 16 ...; absent entries are -infinity and 0)
// that are then combined in halves; and the output is the product of (p - probability_zero) with v over
// `keys`, as above. probability_scale is the reciprocal of the probabilities' scale.
struct AttentionCall {
  int64_t rows = 1, keys = 1, depth = 1, columns = 1;  // depth and keys <= kMaxMatMulDepth
  ByteMatrix q, k, v;                                  // rows x depth, depth x keys, keys x columns
  float score_scale = 1;
  const float* mask = nullptr;  // or null; strides in elements, 0 where it is repeated
  int64_t mask_row_stride = 0, mask_key_stride = 0;
  float probability_scale = 255;
  int32_t probability_zero = 0;
  MatMulOutput output;
};

// A kernel of the family. Each call is one unit of work of one thread, with scratch memory (64-byte aligned)
// of its own; calls for disjoint outputs may run at the same time.
struct MatMulKernel {
  std::string_view name;
  Isa isa;
  int64_t (*matmul_scratch)(const MatMulCall& call);
  void (*matmul)(const MatMulCall& call, std::byte* scratch) noexcept;
  int64_t (*attention_scratch)(const AttentionCall& call);
  void (*attention)(const AttentionCall& call, std::byte* scratch) noexcept;
};

// All kernels, fastest first; the reference is the last.
std::span<const MatMulKernel* const> matmul_kernels();
const MatMulKernel& choose_matmul(Isa isa);

}  // namespace octet::kernels
