// Convolutions of the same integers with fewer multiplications.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace octet {

// Where out_c output channels leave lanes of a block of 16 empty, `pixels` neighbouring pixels of a row are
// computed as that many times as many channels of one wider window that moves on by all of them. The number
// that takes the least work; 1 where that gains too little. `out_w` is a multiple of it.
int64_t pixels_together(int64_t out_c, int64_t kernel_w, int64_t stride_w, int64_t out_w);
// The weights (OIHW) of that window: channel p * O + o is o's of pixel p.
Tensor widen_window(const Tensor& weights, int64_t pixels, int64_t stride_w);

// The first `channels` output channels that no part before has, of which only these taps are not zero.
struct ConvPart {
  int64_t channels = 0, top = 0, left = 0, height = 1, width = 1;
};
// Channels whose taps stand in the same part of the window, as the phases of a transposed convolution do:
// parts of equal size, all channels in order; one part where nothing is gained. Taps that are left out at the
// top and left are at most `top` and `left`, at the other ends `bottom` and `right`.
struct Margins {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
};
std::vector<ConvPart> parts_without_zeros(const Tensor& weights, const Margins& most);
Tensor part_of_weights(const Tensor& weights, int64_t first_channel, const ConvPart& part);

// Whether windows of few channels leave so much of the groups of four bytes empty, which the kernels
// multiply, that rows of windows side by side (`unfold_rows`) are worth their memory.
bool unfolds_rows(int64_t in_c, int64_t kernel_w);
// OIHW to [O, W * I, H, 1].
Tensor unfolded_weights(const Tensor& weights);

// At most one of both; no parts: the whole.
struct ConvForm {
  int64_t pixels = 1;
  std::vector<ConvPart> parts;
};
// What a `conv` or `gemm` step in this form reads, of OIHW or OI weights.
Tensor packed_weights(const Tensor& weights, int64_t groups, int64_t stride_w, const ConvForm& form);

}  // namespace octet
