// Samples that stand in for data when there is none.
//
// Images are dead leaves on pink noise, 300 x 300: noise of amplitude 1 / frequency in luminance and, weaker,
// on two colour axes (mean 70 to 170, deviation 30 to 70), covered by 5 to 120 ellipses and rotated
// rectangles of radius min(150, 4 u^-0.7), u uniform, half of them textured; half of the images blurred. Like
// photographs they are scale invariant, with edges (Lee, Mumford, Huang: "Occlusion Models for Natural
// Images", 2001); networks answer to them much as to photographs, and hardly to white noise.
//
// The same seed and index give the same sample on one kind of CPU.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <opencv2/core.hpp>
#include <string>

#include "data/dataset.h"

namespace octet {

inline constexpr int64_t kSyntheticSamples = 100;

// 8-bit, 3 channels.
cv::Mat synthetic_image(uint64_t seed);

// Images that go through the preprocessing like any others.
std::unique_ptr<Dataset> synthetic_images(const std::string& preprocess, int64_t count = kSyntheticSamples);

// Inputs that are no images.
struct SyntheticInput {
  DType dtype = DType::kFloat32;
  Shape shape;
};
// Standard normal floats; ones in integers and booleans, which may be indices or masks.
std::unique_ptr<Dataset> synthetic_arrays(std::map<std::string, SyntheticInput> inputs,
                                          int64_t count = kSyntheticSamples);

// A preprocessing that fits an image input (image_shape): stretched to H x W, and for 3 channels the mean and
// deviation of ImageNet, or TensorFlow's -1 to 1 where the channels are last. Sizes that are 0 become 224.
// Empty when the shape is not that of an image.
std::string guess_preprocess(const Shape& shape);

}  // namespace octet
