#include "kernels/depthwise/depthwise.h"

#include <cstring>

#include "base/checked.h"
#include "kernels/depthwise/kernels.h"

namespace octet::kernels {

namespace {

#define OCTET_DEPTHWISE_KERNEL(name) &depthwise_##name,
constexpr const ConvKernel* kKernels[] = {
#include "kernels/depthwise/kernels.inc"
};
#undef OCTET_DEPTHWISE_KERNEL

}  // namespace

std::span<const ConvKernel* const> depthwise_kernels() {
  return kKernels;
}

int64_t packed_depthwise_bytes(const ConvShape& shape) {
  const int64_t columns = checked_mul(shape.kernel_w, ceil_div(shape.kernel_h, 4));
  return checked_mul(checked_mul(ceil_div(shape.out_c, 16), columns), 64);
}

void pack_depthwise_weights(const ConvShape& shape, const int8_t* oihw, std::byte* packed) {
  std::memset(packed, 0, static_cast<size_t>(packed_depthwise_bytes(shape)));
  auto* out = reinterpret_cast<int8_t*>(packed);
  const int64_t quads = ceil_div(shape.kernel_h, 4);
  for (int64_t c = 0; c < shape.out_c; ++c) {
    for (int64_t y = 0; y < shape.kernel_h; ++y) {
      for (int64_t x = 0; x < shape.kernel_w; ++x) {
        const int64_t vector = (c / 16 * shape.kernel_w + x) * quads + y / 4;
        out[vector * 64 + c % 16 * 4 + y % 4] = oihw[(c * shape.kernel_h + y) * shape.kernel_w + x];
      }
    }
  }
}

void depthwise_acc_init(const ConvShape& shape, const std::byte* packed, const uint8_t* zero_point,
                        int32_t* init) {
  const int64_t vectors = shape.kernel_w * ceil_div(shape.kernel_h, 4);
  for (int64_t c = 0; c < shape.out_c; ++c) {
    const auto* w = reinterpret_cast<const int8_t*>(packed) + c / 16 * vectors * 64 + c % 16 * 4;
    int64_t sum = 0;
    for (int64_t v = 0; v < vectors; ++v)
      for (int row = 0; row < 4; ++row) sum += w[v * 64 + row];
    init[c] = static_cast<int32_t>(-sum * zero_point[c]);
  }
}

}  // namespace octet::kernels
