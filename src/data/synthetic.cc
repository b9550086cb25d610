#include "data/synthetic.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <vector>

#include "base/error.h"

namespace octet {
namespace {

constexpr int kSize = 300;
constexpr double kPi = 3.14159265358979323846;

// splitmix64, and what is drawn from it.
class Draw {
 public:
  // Streams of different seeds must not be parts of one another.
  explicit Draw(uint64_t seed) : state_(seed) { state_ = bits() ^ 0x5851f42d4c957f2du; }

  uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  double uniform() { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; }  // in (0, 1)
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  bool half() { return (bits() >> 63) != 0; }
  double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * kPi * uniform()); }

 private:
  uint64_t state_;
};

// Mean 0, deviation 1, amplitude 1 / frequency.
cv::Mat pink_noise(Draw& draw) {
  cv::Mat noise(kSize, kSize, CV_32F);
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x) noise.at<float>(y, x) = static_cast<float>(draw.normal());
  cv::Mat spectrum;
  cv::dft(noise, spectrum, cv::DFT_COMPLEX_OUTPUT);
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x) {
      const double v = std::min(y, kSize - y), u = std::min(x, kSize - x);
      const auto factor = static_cast<float>(u + v > 0 ? 1 / std::sqrt(u * u + v * v) : 0);
      spectrum.at<cv::Vec2f>(y, x) *= factor;
    }
  cv::idft(spectrum, noise, cv::DFT_REAL_OUTPUT | cv::DFT_SCALE);
  cv::Scalar mean, deviation;
  cv::meanStdDev(noise, mean, deviation);
  return (noise - mean[0]) / std::max(deviation[0], 1e-12);
}

cv::Mat background(Draw& draw) {
  static constexpr double kAxes[3][3] = {{1, 1, 1}, {1, 0, -1}, {-0.5, 1, -0.5}};
  const double mean = draw.uniform(70, 170), deviation = draw.uniform(30, 70);
  cv::Mat image(kSize, kSize, CV_32FC3, cv::Scalar::all(mean));
  for (int axis = 0; axis < 3; ++axis) {
    const cv::Mat noise = pink_noise(draw);
    const double strength = axis == 0 ? deviation : deviation * draw.uniform(0.05, 0.25);
    for (int y = 0; y < kSize; ++y)
      for (int x = 0; x < kSize; ++x)
        for (int c = 0; c < 3; ++c)
          image.at<cv::Vec3f>(y, x)[c] +=
              static_cast<float>(strength * kAxes[axis][c] * static_cast<double>(noise.at<float>(y, x)));
  }
  return image;
}

void leaf(cv::Mat& image, Draw& draw) {
  const double radius = std::min(150.0, 4 * std::pow(draw.uniform(), -0.7));
  const double a = radius, b = radius * draw.uniform(0.3, 1), angle = draw.uniform(0, kPi);
  const double cx = draw.uniform(0, kSize), cy = draw.uniform(0, kSize);
  const bool ellipse = draw.half();
  const double grey = draw.uniform(0, 255);
  double colour[3];
  for (double& c : colour) c = grey + 35 * draw.normal();
  static constexpr double kTextures[3] = {2, 10, 30};
  const double texture = draw.half() ? kTextures[draw.bits() % 3] : 0;
  const double cosine = std::cos(angle), sine = std::sin(angle), reach = a + b;
  const int top = std::max(0, static_cast<int>(cy - reach)), left = std::max(0, static_cast<int>(cx - reach));
  const int bottom = std::min(kSize - 1, static_cast<int>(cy + reach)),
            right = std::min(kSize - 1, static_cast<int>(cx + reach));
  for (int y = top; y <= bottom; ++y)
    for (int x = left; x <= right; ++x) {
      const double u = ((x - cx) * cosine + (y - cy) * sine) / a,
                   v = ((y - cy) * cosine - (x - cx) * sine) / b;
      if (ellipse ? u * u + v * v > 1 : std::abs(u) > 1 || std::abs(v) > 1) continue;
      const double grain = texture > 0 ? texture * draw.normal() : 0;
      for (int c = 0; c < 3; ++c) image.at<cv::Vec3f>(y, x)[c] = static_cast<float>(colour[c] + grain);
    }
}

class Synthetic : public Dataset {
 public:
  explicit Synthetic(int64_t count) {
    for (int64_t i = 0; i < count; ++i) names_.push_back(fmt::format("synthetic:{}", i));
  }
  int64_t size() const override { return static_cast<int64_t>(names_.size()); }
  const std::string& name(int64_t i) const override { return names_.at(static_cast<size_t>(i)); }
  uint64_t content_hash() const override { return static_cast<uint64_t>(names_.size()); }

 private:
  std::vector<std::string> names_;
};

class SyntheticImages final : public Synthetic {
 public:
  SyntheticImages(const std::string& preprocess, int64_t count)
      : Synthetic(count), preprocess_(Preprocess::parse(preprocess)) {}
  bool images() const override { return true; }
  Sample load(int64_t i) const override {
    return {{{"", preprocess_.apply(synthetic_image(static_cast<uint64_t>(i)))}}};
  }

 private:
  Preprocess preprocess_;
};

class SyntheticArrays final : public Synthetic {
 public:
  SyntheticArrays(std::map<std::string, SyntheticInput> inputs, int64_t count)
      : Synthetic(count), inputs_(std::move(inputs)) {}
  bool images() const override { return false; }
  Sample load(int64_t i) const override {
    Sample sample;
    Draw draw(static_cast<uint64_t>(i) + (uint64_t{1} << 32));
    for (const auto& [name, input] : inputs_) {
      Tensor t(input.dtype, input.shape);
      switch (input.dtype) {
        case DType::kFloat32:
          for (float& v : t.as<float>()) v = static_cast<float>(draw.normal());
          break;
        case DType::kInt64:
          std::ranges::fill(t.as<int64_t>(), 1);
          break;
        case DType::kInt32:
          std::ranges::fill(t.as<int32_t>(), 1);
          break;
        case DType::kBool:
          std::fill_n(static_cast<uint8_t*>(t.raw()), t.count(), uint8_t{1});
          break;
        default:
          fail(ErrorCode::kUnsupported, "input '{}' is {}: give data for it (--data)", name,
               dtype_name(input.dtype));
      }
      sample.inputs.emplace(name, std::move(t));
    }
    return sample;
  }

 private:
  std::map<std::string, SyntheticInput> inputs_;
};

}  // namespace

cv::Mat synthetic_image(uint64_t seed) {
  Draw draw(seed);
  cv::Mat image = background(draw);
  const int leaves = 5 + static_cast<int>(draw.bits() % 116);
  for (int i = 0; i < leaves; ++i) leaf(image, draw);
  if (draw.half()) cv::GaussianBlur(image, image, cv::Size(0, 0), draw.uniform(0.5, 2));
  cv::Mat bytes;
  image.convertTo(bytes, CV_8UC3);
  return bytes;
}

std::unique_ptr<Dataset> synthetic_images(const std::string& preprocess, int64_t count) {
  return std::make_unique<SyntheticImages>(preprocess, count);
}

std::unique_ptr<Dataset> synthetic_arrays(std::map<std::string, SyntheticInput> inputs, int64_t count) {
  return std::make_unique<SyntheticArrays>(std::move(inputs), count);
}

std::string guess_preprocess(const Shape& shape) {
  const auto image = image_shape(shape);
  if (!image || shape[0] > 1) return {};
  const auto side = [](int64_t d) { return d > 0 ? d : 224; };
  const int64_t width = side(image->width), height = side(image->height);
  if (width < 8 || height < 8) return {};
  const char* const colours = image->channels == 1 ? "gray mean=127.5 std=127.5"
                              : image->channels_last
                                  ? "rgb mean=127.5 std=127.5"
                                  : "rgb mean=123.675,116.28,103.53 std=58.395,57.12,57.375";
  return fmt::format("stretch={}x{} {}{}", width, height, colours, image->channels_last ? " nhwc" : "");
}

}  // namespace octet
