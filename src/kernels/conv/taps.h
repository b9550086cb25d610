// Tap pointers: where each output pixel of a block finds each run of its inputs. Internal linkage, so that
// the file of an instruction set keeps its own copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/conv/plan.h"

namespace octet::kernels {
namespace {

struct Taps {
  const uint8_t** pointers;  // [runs][pointer_stride]
  uint8_t* slots;            // assembled row runs
  const uint8_t* pad_run;    // a run of padding only
  const uint8_t* silent;     // see silent_padding
};

// Stretch of output columns, all in one output row: [x, x + count) of image row origin `iy`.
struct Stretch {
  const uint8_t* image;
  int64_t iy, x, count;
};

inline int64_t floor_divide(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

// The columns of [x, x + count) whose input column x * stride + shift lies in [0, limit): [first, last),
// relative to x.
inline void inside(int64_t x, int64_t count, int64_t stride, int64_t shift, int64_t limit, int64_t& first,
                   int64_t& last) {
  int64_t a, b;  // a <= column < b
  if (stride == 1) {
    a = -shift;
    b = limit - shift;
  } else {
    a = floor_divide(stride - 1 - shift, stride);
    b = floor_divide(limit - 1 - shift, stride) + 1;
  }
  first = a - x;
  if (first < 0) first = 0;
  if (first > count) first = count;
  last = b - x;
  if (last > count) last = count;
  if (last < first) last = first;
}

inline void fill_tap(const ConvCall& call, const Stretch& stretch, int64_t kx, const uint8_t* row,
                     const uint8_t** out) {
  const ConvShape& s = call.shape;
  int64_t first, last;
  const int64_t shift = kx * s.dilation_w - s.pad_left;
  inside(stretch.x, stretch.count, s.stride_w, shift, s.in_w, first, last);
  for (int64_t i = 0; i < first; ++i) out[i] = call.pad_pixel;
  if (first < last) {
    const int64_t step = s.stride_w * call.in_pixel_stride;
    const uint8_t* p = row + ((stretch.x + first) * s.stride_w + shift) * call.in_pixel_stride;
    for (int64_t i = 0; i < last - first; ++i) out[first + i] = p + i * step;
  }
  for (int64_t i = last; i < stretch.count; ++i) out[i] = call.pad_pixel;
}

// As fill_tap for a run that is a whole kernel row; returns the next free slot.
inline uint8_t* fill_row(const ConvCall& call, const ConvPlan& plan, const Stretch& stretch,
                         const uint8_t* row, uint8_t* slot, const uint8_t** out) {
  const ConvShape& s = call.shape;
  const int64_t channels = plan.packed.padded_in_c;
  int64_t first, last;
  inside(stretch.x, stretch.count, s.stride_w, -s.pad_left, s.in_w - s.kernel_w + 1, first, last);
  const auto assemble = [&](int64_t i) {
    const int64_t x = (stretch.x + i) * s.stride_w - s.pad_left;
    for (int64_t k = 0; k < s.kernel_w; ++k) {
      const bool in = x + k >= 0 && x + k < s.in_w;
      const uint8_t* source = in ? row + (x + k) * channels : call.pad_pixel;
      for (int64_t c = 0; c < channels; c += 4) std::memcpy(slot + k * channels + c, source + c, 4);
    }
    out[i] = slot;
    slot += plan.run_bytes;
  };
  for (int64_t i = 0; i < first; ++i) assemble(i);
  if (first < last) {
    const int64_t step = s.stride_w * channels;
    const uint8_t* p = row + ((stretch.x + first) * s.stride_w - s.pad_left) * channels;
    for (int64_t i = 0; i < last - first; ++i) out[first + i] = p + i * step;
  }
  for (int64_t i = last; i < stretch.count; ++i) assemble(i);
  return slot;
}

// The pointer that marks a run as padding which adds nothing, because the zero-points are 0; null where
// looking for it would cost more than it saves.
inline const uint8_t* silent_padding(const ConvCall& call, const ConvPlan& plan, const Taps& taps) {
  if (plan.linear || plan.run_bytes < 32) return nullptr;
  uint8_t any = 0;
  for (int64_t i = 0; i < call.shape.in_c; ++i) any |= call.pad_pixel[i];
  return any == 0 ? taps.pad_run : nullptr;
}

inline Taps start_taps(const ConvCall& call, const ConvPlan& plan, std::byte* scratch) {
  Taps taps{};
  taps.pointers = reinterpret_cast<const uint8_t**>(scratch);
  if (plan.row_runs) {
    auto* pad = reinterpret_cast<uint8_t*>(scratch) + plan.pointer_bytes;
    for (int64_t i = 0; i < call.shape.kernel_w; ++i)
      std::memcpy(pad + i * plan.packed.padded_in_c, call.pad_pixel,
                  static_cast<size_t>(plan.packed.padded_in_c));
    taps.pad_run = pad;
    taps.slots = pad + plan.run_bytes;
  } else {
    taps.pad_run = call.pad_pixel;
  }
  taps.silent = silent_padding(call, plan, taps);
  return taps;
}

// Whether the `count` pointers of a run all point to `padding`.
inline __attribute__((always_inline)) bool all_padding(const uint8_t* const* pointers, int count,
                                                       const uint8_t* padding) {
  if (pointers[0] != padding) return false;
  for (int i = 1; i < count; ++i)
    if (pointers[i] != padding) return false;
  return true;
}

// Pointers of output pixels [pixel, pixel + count).
inline void fill_taps(const ConvCall& call, const ConvPlan& plan, const Taps& taps, int64_t pixel,
                      int64_t count) {
  const ConvShape& s = call.shape;
  if (plan.linear) {
    const uint8_t* p = call.input + pixel * call.in_pixel_stride;
    for (int64_t i = 0; i < count; ++i) taps.pointers[i] = p + i * call.in_pixel_stride;
    return;
  }
  uint8_t* slot = taps.slots;
  int64_t x = pixel % s.out_w;
  int64_t y = pixel / s.out_w % s.out_h;
  int64_t n = pixel / s.out_w / s.out_h;
  for (int64_t done = 0; done < count;) {
    Stretch stretch{};
    stretch.image = call.input + n * s.in_h * s.in_w * call.in_pixel_stride;
    stretch.iy = y * s.stride_h - s.pad_top;
    stretch.x = x;
    stretch.count = s.out_w - x < count - done ? s.out_w - x : count - done;
    const uint8_t** out = taps.pointers + done;
    for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
      const int64_t iy = stretch.iy + ky * s.dilation_h;
      const bool outside = iy < 0 || iy >= s.in_h;
      const uint8_t* row = outside ? nullptr : stretch.image + iy * s.in_w * call.in_pixel_stride;
      const int64_t row_runs = plan.row_runs ? 1 : s.kernel_w;
      for (int64_t kx = 0; kx < row_runs; ++kx, out += plan.block_pixels) {
        if (outside)
          for (int64_t i = 0; i < stretch.count; ++i) out[i] = taps.pad_run;
        else if (plan.row_runs)
          slot = fill_row(call, plan, stretch, row, slot, out);
        else
          fill_tap(call, stretch, kx, row, out);
      }
    }
    done += stretch.count;
    x = 0;
    if (++y == s.out_h) {
      y = 0;
      ++n;
    }
  }
}

}  // namespace
}  // namespace octet::kernels
