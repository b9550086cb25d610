// How an image becomes a tensor, as one string: "short=256 crop=224 rgb mean=127.5 std=127.5".
//
//   short=N                           resize so that the short side is N
//   stretch=WxH                       resize to exactly W x H
//   crop=N, crop=WxH                  centre crop
//   letterbox=WxH[,PAD][,topleft]     resize keeping the ratio, fill with grey PAD (114), centred unless
//   `topleft` interp=linear|area                for every resize; without it, area when the width shrinks and
//   linear otherwise rgb | bgr | gray                  channel order; rgb without it mean=a[,b,c] std=a[,b,c]
//   multiple=N[,PAD]                  grow to the right and below to the next multiples of N, filled with PAD
//   scale=f  (x - mean) / std * scale in float32, x in 0..255, channels in the order given to the network
//   nhwc                              the tensor is 1 x H x W x C (TensorFlow's), not 1 x C x H x W
//
// The geometry steps run from left to right; their sizes round half to even. The others may stand anywhere,
// each once.
#pragma once

#include <array>
#include <cstdint>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace octet {

// Key of the preprocessing in the metadata of models and engines.
inline constexpr char kPreprocessKey[] = "octet.preprocess";

// Immutable after parsing; safe to use from many threads.
class Preprocess {
 public:
  // No geometry, rgb, values 0..255.
  Preprocess() = default;
  // Throws Error that names the step and what was expected.
  static Preprocess parse(std::string_view text);

  // Canonical form: parse(text()) is the same preprocessing, and equal preprocessing has equal text.
  std::string text() const;

  int channels() const { return order_ == Order::kGray ? 1 : 3; }
  bool channels_last() const { return channels_last_; }
  // Adds `nhwc` where a network's input of this shape (image_shape) needs it.
  void fit(const Shape& input);

  // Height and width of every result, where they do not depend on the image.
  struct Size {
    int64_t height, width;
    friend bool operator==(const Size&, const Size&) = default;
  };
  std::optional<Size> output_size() const;

  // One value per channel: (x - mean) / std * scale.
  struct Affine {
    float mean = 0, std = 1, scale = 1;
    float operator()(float x) const { return (x - mean) / std * scale; }
  };
  std::vector<Affine> affine() const;

  // `bgr` is 8-bit with 3 channels in OpenCV's order and not empty. Throws Error where a step does not fit
  // the image.
  Tensor apply(const cv::Mat& bgr) const;        // float32 1 x C x H x W, or 1 x H x W x C
  Tensor apply_bytes(const cv::Mat& bgr) const;  // uint8 1 x H x W x C: geometry and channel order only

 private:
  enum class Kind : uint8_t { kShort, kStretch, kCrop, kLetterbox, kMultiple };
  enum class Order : uint8_t { kRgb, kBgr, kGray };
  enum class Interpolation : uint8_t { kAuto, kLinear, kArea };
  struct Step {
    Kind kind;
    int width = 0, height = 0;  // short, multiple: both the same
    int pad = 114;
    bool top_left = false;
  };
  class Parser;

  cv::Mat geometry(
      const cv::Mat& bgr) const;  // still in OpenCV's channel order; may share the pixels of `bgr`
  cv::Mat resize(const cv::Mat& image, int64_t width, int64_t height) const;
  double per_channel(const std::vector<double>& values, size_t channel, double fallback) const;

  std::vector<Step> steps_;
  Interpolation interpolation_ = Interpolation::kAuto;
  Order order_ = Order::kRgb;
  std::vector<double> mean_, std_;  // empty, one value, or one per channel
  double scale_ = 1;
  bool channels_last_ = false;
};

// A network's input as an image. Sizes that are not known are 0.
struct ImageShape {
  int64_t channels, height, width;
  bool channels_last;
};
// N x C x H x W or N x H x W x C with C of 1 or 3; the first where both would do. Nullopt for other shapes.
std::optional<ImageShape> image_shape(const Shape& shape);

}  // namespace octet
