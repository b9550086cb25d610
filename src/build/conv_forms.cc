#include "build/conv_forms.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/conv/conv.h"

namespace octet {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kMostPixels = 16;
// What a form must save, of the work before: it costs other things.
constexpr double kWorth = 0.8;

}  // namespace

int64_t pixels_together(int64_t out_c, int64_t kernel_w, int64_t stride_w, int64_t out_w) {
  const auto work = [&](int64_t pixels) {
    const int64_t taps = kernel_w + (pixels - 1) * stride_w;
    return static_cast<double>(taps * ceil_div(out_c * pixels, kLanes)) / static_cast<double>(pixels);
  };
  int64_t best = 1;
  for (int64_t pixels = 2; pixels <= std::min(kMostPixels, out_w); ++pixels)
    if (out_w % pixels == 0 && work(pixels) < work(best)) best = pixels;
  return work(best) < kWorth * work(1) ? best : 1;
}

Tensor widen_window(const Tensor& weights, int64_t pixels, int64_t stride_w) {
  const Shape& s = weights.shape();
  const int64_t rows = s[1] * s[2], width = s[3] + (pixels - 1) * stride_w;
  Tensor wide(DType::kInt8, {pixels * s[0], s[1], s[2], width});
  std::ranges::fill(wide.as<int8_t>(), int8_t{0});
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t o = 0; o < s[0]; ++o)
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(weights.as<int8_t>().begin() + (o * rows + r) * s[3], s[3],
                    wide.as<int8_t>().begin() + ((p * s[0] + o) * rows + r) * width + p * stride_w);
  return wide;
}

namespace {

// The part of channels [first, first + channels).
ConvPart part_of(const Tensor& weights, int64_t first, int64_t channels, const Margins& most) {
  const Shape& s = weights.shape();
  const auto w = weights.as<int8_t>();
  int64_t top = s[2], bottom = -1, left = s[3], right = -1;
  for (int64_t i = first * s[1]; i < (first + channels) * s[1]; ++i)
    for (int64_t y = 0; y < s[2]; ++y)
      for (int64_t x = 0; x < s[3]; ++x) {
        if (w[(i * s[2] + y) * s[3] + x] == 0) continue;
        top = std::min(top, y);
        bottom = std::max(bottom, y);
        left = std::min(left, x);
        right = std::max(right, x);
      }
  if (bottom < 0) top = left = bottom = right = 0;
  ConvPart part{channels, std::min(top, most.top), std::min(left, most.left)};
  part.height = std::max(bottom, s[2] - 1 - most.bottom) - part.top + 1;
  part.width = std::max(right, s[3] - 1 - most.right) - part.left + 1;
  return part;
}

}  // namespace

std::vector<ConvPart> parts_without_zeros(const Tensor& weights, const Margins& most) {
  const Shape& s = weights.shape();
  std::vector<ConvPart> best{{s[0], 0, 0, s[2], s[3]}};
  const auto whole = static_cast<double>(s[2] * s[3] * ceil_div(s[0], kLanes));
  double least = kWorth * whole;
  for (const int64_t count : {1, 4, 9, 16}) {
    if (s[0] % count != 0) continue;
    std::vector<ConvPart> parts;
    int64_t work = 0;
    for (int64_t i = 0; i < count; ++i) {
      parts.push_back(part_of(weights, i * (s[0] / count), s[0] / count, most));
      work += parts.back().height * parts.back().width * ceil_div(s[0] / count, kLanes);
    }
    if (static_cast<double>(work) >= least) continue;
    least = static_cast<double>(work);
    best = std::move(parts);
  }
  return best;
}

Tensor part_of_weights(const Tensor& weights, int64_t first_channel, const ConvPart& part) {
  const Shape& s = weights.shape();
  Tensor out(DType::kInt8, {part.channels, s[1], part.height, part.width});
  auto to = out.as<int8_t>().begin();
  for (int64_t i = first_channel * s[1]; i < (first_channel + part.channels) * s[1]; ++i)
    for (int64_t y = part.top; y < part.top + part.height; ++y)
      to = std::copy_n(weights.as<int8_t>().begin() + (i * s[2] + y) * s[3] + part.left, part.width, to);
  return out;
}

bool unfolds_rows(int64_t in_c, int64_t kernel_w) {
  constexpr int64_t kGroup = 4, kMostChannels = 2;
  constexpr double kWorthMemory = 0.7;
  const int64_t before = kernel_w * ceil_div(in_c, kGroup), after = ceil_div(kernel_w * in_c, kGroup);
  return in_c <= kMostChannels && static_cast<double>(after) < kWorthMemory * static_cast<double>(before);
}

Tensor unfolded_weights(const Tensor& weights) {
  const Shape& s = weights.shape();
  Tensor out(DType::kInt8, {s[0], s[3] * s[1], s[2], 1});
  const auto w = weights.as<int8_t>();
  auto to = out.as<int8_t>().begin();
  for (int64_t o = 0; o < s[0]; ++o)
    for (int64_t x = 0; x < s[3]; ++x)
      for (int64_t i = 0; i < s[1]; ++i)
        for (int64_t y = 0; y < s[2]; ++y) *to++ = w[((o * s[1] + i) * s[2] + y) * s[3] + x];
  return out;
}

Tensor packed_weights(const Tensor& weights, int64_t groups, int64_t stride_w, const ConvForm& form) {
  std::vector<Tensor> all;
  int64_t channel = 0;
  for (const ConvPart& part : form.parts) {
    all.push_back(part_of_weights(weights, channel, part));
    channel += part.channels;
  }
  if (form.parts.empty())
    all.push_back(form.pixels > 1 ? widen_window(weights, form.pixels, stride_w) : weights);
  const auto shape_of = [&](const Tensor& t) {
    kernels::ConvShape s;
    s.out_c = t.shape()[0];
    s.in_c = t.shape()[1] * groups;
    s.groups = groups;
    if (t.rank() == 4) {
      s.kernel_h = t.shape()[2];
      s.kernel_w = t.shape()[3];
    }
    return s;
  };
  int64_t bytes = 0;
  for (const Tensor& t : all) bytes += kernels::packed_conv_bytes(shape_of(t));
  Tensor out(DType::kUInt8, {bytes});
  auto* to = static_cast<std::byte*>(out.raw());
  for (const Tensor& t : all) {
    kernels::pack_conv_weights(shape_of(t), t.as<int8_t>().data(), to);
    to += kernels::packed_conv_bytes(shape_of(t));
  }
  return out;
}

}  // namespace octet
