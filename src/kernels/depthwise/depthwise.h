// Depthwise u8 x s8 convolution (channel multiplier 1): the calls, the contract and the kernels' interface
// are those of conv/conv.h, whose choose_conv() asks here first for shapes with depthwise().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/conv/conv.h"

namespace octet::kernels {

// The kernels of this CPU family, fastest first. There is no reference among them: conv's handles every
// shape.
std::span<const ConvKernel* const> depthwise_kernels();

// The one weight packing: [ceil(C / 16)][kernel_w][ceil(kernel_h / 4)][16 channels][4 kernel rows], int8,
// zero padded; 64-byte aligned. `oihw` is [C][1][kernel_h][kernel_w]. Overflow of the size throws Error.
int64_t packed_depthwise_bytes(const ConvShape& shape);
void pack_depthwise_weights(const ConvShape& shape, const int8_t* oihw, std::byte* packed);

// conv_acc_init for this packing; writes out_c entries of `init`.
void depthwise_acc_init(const ConvShape& shape, const std::byte* packed, const uint8_t* zero_point,
                        int32_t* init);

// Scalar definition of a whole call, for tests.
void depthwise_reference(const ConvCall& call) noexcept;

}  // namespace octet::kernels
