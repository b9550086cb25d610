// 16-bit floats as bits: IEEE binary16 and bfloat16. Narrowing rounds half to even, overflow gives infinity,
// NaN stays NaN. Without branches, so that loops become vectors.
#pragma once

#include <bit>
#include <cstdint>

namespace octet {

inline float half_to_float(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  const auto subnormal =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t normal = (magnitude << 13) + (112u << 23), special = (magnitude << 13) | 0x7f800000u;
  const uint32_t bits = magnitude < 0x400u ? subnormal : magnitude < 0x7c00u ? normal : special;
  return std::bit_cast<float>(bits | static_cast<uint32_t>(half & 0x8000u) << 16);
}

inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffffu;
  // Adding 0.5 aligns the last place to 2^-24, and rounds.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  const uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  const uint32_t half = magnitude < 0x38800000u    ? subnormal
                        : magnitude < 0x477ff000u  ? normal  // below 65520
                        : magnitude <= 0x7f800000u ? 0x7c00u
                                                   : nan;
  return static_cast<uint16_t>(half | ((bits >> 16) & 0x8000u));
}

inline float bfloat16_to_float(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace octet
