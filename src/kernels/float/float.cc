#include "kernels/float/kernels.h"

namespace octet::kernels {

const FloatKernels& float_kernels(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return float_kernels_avx512vnni();
  return isa >= Isa::kAvx2 ? float_kernels_avx2() : float_kernels_reference();
}

const BinaryF32Kernels& binary_f32_kernels(Isa isa) {
  return float_kernels(isa).binary;
}

void run_binary_f32(const BinaryF32Call& c, Isa isa, int64_t begin, int64_t end, const float* a,
                    const float* b, float* out) noexcept {
  const BinaryF32Kernels& k = binary_f32_kernels(isa);
  const BinaryF32 both[] = {k.add, k.sub, k.mul, k.div};
  const BinaryScalarF32 scalar[] = {k.add_scalar, k.sub_scalar, k.mul_scalar, k.div_scalar};
  const BinaryF32 op = both[static_cast<int>(c.op)];
  const BinaryScalarF32 scalar_op = scalar[static_cast<int>(c.op)];
  const bool dense = c.a_stride == c.channels && c.out_stride == c.channels;
  if (c.shape == BinaryShape::kScalar && dense)
    return scalar_op(a + begin * c.channels, *b, out + begin * c.channels, (end - begin) * c.channels);
  if (c.shape == BinaryShape::kSame && dense && c.b_stride == c.channels)
    return op(a + begin * c.channels, b + begin * c.channels, out + begin * c.channels,
              (end - begin) * c.channels);
  for (int64_t p = begin; p < end; ++p) {
    const float* from = a + p * c.a_stride;
    float* to = out + p * c.out_stride;
    if (c.shape == BinaryShape::kScalar)
      scalar_op(from, *b, to, c.channels);
    else
      op(from, c.shape == BinaryShape::kSame ? b + p * c.b_stride : b, to, c.channels);
  }
}

void run_max_pool_f32(const PoolF32Call& call, Isa isa, int64_t begin, int64_t end, const float* x,
                      float* y) noexcept {
  float_kernels(isa).max_pool(call, begin, end, x, y);
}

void run_average_pool_f32(const PoolF32Call& call, Isa isa, int64_t begin, int64_t end, const float* x,
                          float* y) noexcept {
  float_kernels(isa).average_pool(call, begin, end, x, y);
}

void run_global_average_pool_f32(const PoolF32Call& call, Isa isa, int64_t begin, int64_t end, const float* x,
                                 float* y) noexcept {
  float_kernels(isa).global_average(call, begin, end, x, y);
}

}  // namespace octet::kernels
