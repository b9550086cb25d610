#include "engine/steps/convolution.h"

#include <algorithm>
#include <limits>

namespace octet::engine {

using kernels::ConvShape;

kernels::ConvShape read_convolution(const StepSetup& setup) {
  constexpr int64_t kMaxSide = 1 << 20;
  const Operand &x = setup.input(0), &y = setup.output();
  const auto kernel = setup.int_list("kernel", 2, 1, kMaxSide);
  const auto strides = setup.int_list("strides", 2, 1, kMaxSide);
  const auto dilations = setup.int_list("dilations", 2, 1, kMaxSide);
  const auto pads = setup.int_list("pads", 4, 0, kMaxSide);
  ConvShape s;
  s.batch = x.shape[0];
  s.in_c = x.shape[1];
  s.in_h = x.shape[2];
  s.in_w = x.shape[3];
  s.out_c = y.shape[1];
  s.kernel_h = kernel[0];
  s.kernel_w = kernel[1];
  s.stride_h = strides[0];
  s.stride_w = strides[1];
  s.dilation_h = dilations[0];
  s.dilation_w = dilations[1];
  s.pad_top = pads[0];
  s.pad_left = pads[1];
  s.groups = setup.int_value("group", 1, 1, std::numeric_limits<int32_t>::max());
  setup.expect(s.batch > 0 && s.in_h > 0 && s.in_w > 0, "an image is empty");
  const auto out_side = [&](int64_t in, int64_t before, int64_t after, int64_t k, int64_t stride,
                            int64_t dilation) {
    const int64_t reach = (k - 1) * dilation + 1;
    setup.expect(in + before + after >= reach, "the kernel is larger than the padded image");
    return (in + before + after - reach) / stride + 1;
  };
  s.out_h = out_side(s.in_h, pads[0], pads[2], kernel[0], strides[0], dilations[0]);
  s.out_w = out_side(s.in_w, pads[1], pads[3], kernel[1], strides[1], dilations[1]);
  setup.expect(y.shape == Shape({s.batch, s.out_c, s.out_h, s.out_w}),
               "the output's shape does not follow from the input's");
  setup.expect(s.in_c > 0 && s.out_c > 0 && s.in_c % s.groups == 0 && s.out_c % s.groups == 0,
               "the groups do not divide the channels");
  return s;
}

kernels::PixelRange pixels_read(const kernels::ConvShape& s, const kernels::PixelRange& out) {
  if (s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 && s.in_h == s.out_h &&
      s.in_w == s.out_w)
    return out;
  // Whole rows of the input.
  const int64_t first = out.first / s.out_w, last = (out.last - 1) / s.out_w;  // rows of all images
  const int64_t top = first % s.out_h * s.stride_h - s.pad_top;
  const int64_t bottom = last % s.out_h * s.stride_h - s.pad_top + (s.kernel_h - 1) * s.dilation_h + 1;
  return {(first / s.out_h * s.in_h + std::clamp<int64_t>(top, 0, s.in_h)) * s.in_w,
          (last / s.out_h * s.in_h + std::clamp<int64_t>(bottom, 0, s.in_h)) * s.in_w};
}

}  // namespace octet::engine
