// Add, Sub, Mul, Div of float32 arrays: the same bits on every instruction set.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace octet::kernels {

// out[i] = a[i] op b[i] for i in [0, count); `out` may be `a` or `b`.
using BinaryF32 = void (*)(const float* a, const float* b, float* out, int64_t count) noexcept;
// out[i] = a[i] op b.
using BinaryScalarF32 = void (*)(const float* a, float b, float* out, int64_t count) noexcept;

struct BinaryF32Kernels {
  BinaryF32 add, sub, mul, div;
  BinaryScalarF32 add_scalar, sub_scalar, mul_scalar, div_scalar;
};
const BinaryF32Kernels& binary_f32_kernels(Isa isa);

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv };
enum class BinaryShape : uint8_t { kSame, kChannel, kScalar };

// A whole step over `pixels` of `channels`: b has the shape of a, one entry per channel, or one element. Runs
// pixels [begin, end); strides are floats between pixels.
struct BinaryF32Call {
  BinaryOp op = BinaryOp::kAdd;
  BinaryShape shape = BinaryShape::kSame;
  int64_t channels = 1;
  int64_t a_stride = 1, b_stride = 1, out_stride = 1;
};
void run_binary_f32(const BinaryF32Call& call, Isa isa, int64_t begin, int64_t end, const float* a,
                    const float* b, float* out) noexcept;

}  // namespace octet::kernels
