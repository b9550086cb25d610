// Rows of the input with their padding, as a convolution of few input channels wants them: one output row
// then finds each kernel row at one address that grows by the same step from pixel to pixel. Internal
// linkage, so that the file of an instruction set keeps its own copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/conv/plan.h"

namespace octet::kernels {
namespace {

inline constexpr int64_t kMostKernelRows = 16;
inline constexpr int64_t kMostRowBytes = 64 << 10;  // of all rows: half of a small L2

// As many rows as the kernel is high, each in the slot of its number modulo that.
struct PaddedRows {
  uint8_t* bytes;
  int64_t slot_bytes;
  int64_t row[kMostKernelRows];  // in each slot, counted over the images: none at first
};

inline int64_t padded_row_pixels(const ConvShape& s) {
  return (s.out_w - 1) * s.stride_w + s.kernel_w;
}

inline int64_t padded_row_bytes(const ConvPlan& plan, const ConvShape& s) {
  return (padded_row_pixels(s) * plan.packed.padded_in_c + 63) / 64 * 64;
}

// Whether the rows of a call are worth copying: its runs are whole kernel rows.
inline bool has_padded_rows(const ConvPlan& plan, const ConvShape& s) {
  return plan.row_runs && s.dilation_h == 1 && s.kernel_h <= kMostKernelRows &&
         s.kernel_h * padded_row_bytes(plan, s) <= kMostRowBytes;
}

inline PaddedRows start_rows(const ConvCall& call, const ConvPlan& plan, std::byte* scratch) {
  PaddedRows rows{};
  rows.bytes = reinterpret_cast<uint8_t*>(scratch);
  rows.slot_bytes = padded_row_bytes(plan, call.shape);
  for (int64_t& row : rows.row) row = INT64_MIN;
  return rows;
}

inline void fill_row_pixels(const ConvCall& call, int64_t bytes, uint8_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i, out += bytes)
    for (int64_t c = 0; c < bytes; c += 4) std::memcpy(out + c, call.pad_pixel + c, 4);
}

// Points bases[r] at what kernel row r meets in output row `y` of image `image`, for output column 0.
inline void load_rows(const ConvCall& call, const ConvPlan& plan, PaddedRows& rows, int64_t image, int64_t y,
                      const uint8_t** bases) {
  const ConvShape& s = call.shape;
  const int64_t pixel = plan.packed.padded_in_c, width = padded_row_pixels(s);
  for (int64_t r = 0; r < s.kernel_h; ++r) {
    const int64_t iy = y * s.stride_h - s.pad_top + r;
    const int64_t number = image * (s.out_h * s.stride_h + s.kernel_h) + iy + s.pad_top;
    const int64_t slot = number % s.kernel_h;
    uint8_t* row = rows.bytes + slot * rows.slot_bytes;
    bases[r] = row;
    if (rows.row[slot] == number) continue;
    rows.row[slot] = number;
    if (iy < 0 || iy >= s.in_h) {
      fill_row_pixels(call, pixel, row, width);
      continue;
    }
    const int64_t left = s.pad_left < width ? s.pad_left : width;
    const int64_t inside = s.in_w < width - left ? s.in_w : width - left;
    const uint8_t* source = call.input + (image * s.in_h + iy) * s.in_w * call.in_pixel_stride;
    fill_row_pixels(call, pixel, row, left);
    std::memcpy(row + left * pixel, source, static_cast<size_t>(inside * pixel));
    fill_row_pixels(call, pixel, row + (left + inside) * pixel, width - left - inside);
  }
}

}  // namespace
}  // namespace octet::kernels
