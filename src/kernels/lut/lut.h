// u8 to u8 by a table of 256 entries: any function of one quantized tensor, requantization, s8 to u8.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"

namespace octet::kernels {

// output[p][c] = table[input[p][c]]. Memory is the caller's; inputs may be read up to 64 bytes past the last
// channel of a pixel. The output may be the input itself where the strides are equal to `channels`.
struct LutCall {
  const uint8_t* table = nullptr;  // 256 entries
  int64_t pixels = 1, channels = 1;
  const uint8_t* input = nullptr;
  int64_t in_stride = 0;  // bytes between pixels, >= channels
  uint8_t* output = nullptr;
  int64_t out_stride = 0;  // bytes between pixels; exactly `channels` of each are written
};

// A kernel of the family. `pieces` is the number of independent parts; run() may be called for disjoint
// ranges by several threads at once.
struct LutKernel {
  std::string_view name;
  Isa isa;
  int64_t (*pieces)(const LutCall& call);
  void (*run)(const LutCall& call, int64_t begin, int64_t end) noexcept;
};

// All kernels, fastest first; the reference is the last.
std::span<const LutKernel* const> lut_kernels();
const LutKernel& choose_lut(Isa isa);

}  // namespace octet::kernels
