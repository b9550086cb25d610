#include "kernels/conv/pack.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/checked.h"
#include "kernels/depthwise/depthwise.h"

namespace octet::kernels {

namespace {

// Whether 255 * (positive parts) and 255 * (negative parts) of every pair stay within int16.
bool pairs_fit(const int8_t* block, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 2) {
    const int high = std::max<int>(block[i], 0) + std::max<int>(block[i + 1], 0);
    const int low = std::min<int>(block[i], 0) + std::min<int>(block[i + 1], 0);
    if (255 * high > 32767 || 255 * low < -32768) return false;
  }
  return true;
}

}  // namespace

PackedConv packed_conv(const ConvShape& shape) {
  PackedConv p{};
  p.in_c = shape.in_c / shape.groups;
  p.out_c = shape.out_c / shape.groups;
  p.padded_in_c = round_up(p.in_c, 4);
  p.k4 = checked_mul(checked_mul(shape.kernel_h, shape.kernel_w), p.padded_in_c / 4);
  p.blocks = ceil_div(p.out_c, 16);
  p.block_bytes = checked_mul(p.k4, 64);
  const int64_t all_blocks = checked_mul(shape.groups, p.blocks);
  p.flags_offset = checked_mul(all_blocks, p.block_bytes);
  p.bytes = checked_add(p.flags_offset, round_up(all_blocks, 64));
  return p;
}

int64_t packed_conv_bytes(const ConvShape& shape) {
  return shape.depthwise() ? packed_depthwise_bytes(shape) : packed_conv(shape).bytes;
}

void pack_conv_weights(const ConvShape& shape, const int8_t* weights, std::byte* packed) {
  if (shape.depthwise()) return pack_depthwise_weights(shape, weights, packed);
  const PackedConv p = packed_conv(shape);
  std::memset(packed, 0, static_cast<size_t>(p.bytes));
  const int64_t taps = shape.kernel_h * shape.kernel_w;
  for (int64_t o = 0; o < shape.out_c; ++o) {
    const int64_t group = o / p.out_c, channel = o % p.out_c;
    auto* block = reinterpret_cast<int8_t*>(packed) + (group * p.blocks + channel / 16) * p.block_bytes;
    const int8_t* source = weights + o * p.in_c * taps;
    for (int64_t i = 0; i < p.in_c; ++i) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t k = tap * p.padded_in_c + i;
        block[(k / 4) * 64 + (channel % 16) * 4 + k % 4] = source[i * taps + tap];
      }
    }
  }
  for (int64_t b = 0; b < shape.groups * p.blocks; ++b) {
    const auto* block = reinterpret_cast<const int8_t*>(packed) + b * p.block_bytes;
    packed[p.flags_offset + b] = std::byte{pairs_fit(block, p.block_bytes)};
  }
}

namespace {

// -sum(zero * weight) over one block of 16 output channels; `zero` has the 4 zero-points of each group of K.
void block_sums(const int8_t* block, std::span<const uint8_t> zero, int64_t channels, int32_t* init) {
  uint32_t sum[16] = {};
  for (size_t k4 = 0; k4 < zero.size() / 4; ++k4)
    for (int c = 0; c < 16; ++c)
      for (int j = 0; j < 4; ++j)
        sum[c] += static_cast<uint32_t>(block[k4 * 64 + c * 4 + j] * zero[k4 * 4 + j]);
  for (int64_t c = 0; c < channels; ++c) init[c] = static_cast<int32_t>(0 - sum[c]);
}

}  // namespace

void conv_acc_init(const ConvShape& shape, const std::byte* packed, const uint8_t* zero_point,
                   int32_t* init) {
  std::fill_n(init, round_up(shape.out_c, kChannelPad), 0);
  if (shape.depthwise()) return depthwise_acc_init(shape, packed, zero_point, init);
  const PackedConv p = packed_conv(shape);
  std::vector<uint8_t> zero(p.k4 * 4);
  for (int64_t g = 0; g < shape.groups; ++g) {
    for (int64_t k = 0; k < p.k4 * 4; ++k) {
      const int64_t i = k % p.padded_in_c;
      zero[k] = i < p.in_c ? zero_point[g * p.in_c + i] : 0;
    }
    for (int64_t b = 0; b < p.blocks; ++b) {
      const auto* block = reinterpret_cast<const int8_t*>(packed) + (g * p.blocks + b) * p.block_bytes;
      block_sums(block, zero, std::min<int64_t>(16, p.out_c - b * 16), init + g * p.out_c + b * 16);
    }
  }
}

}  // namespace octet::kernels
