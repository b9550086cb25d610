#include "data/synthetic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace octet {
namespace {

// Mean of |difference|^2 of pixels `distance` apart.
double structure(const cv::Mat& image, int distance) {
  double sum = 0;
  int64_t count = 0;
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x + distance < image.cols; ++x, ++count) {
      const double d = image.at<cv::Vec3b>(y, x)[1] - image.at<cv::Vec3b>(y, x + distance)[1];
      sum += d * d;
    }
  return sum / static_cast<double>(count);
}

TEST(Synthetic, ImagesAreNatural) {
  double near = 0, far = 0;
  std::set<double> means;
  for (uint64_t i = 0; i < 12; ++i) {
    const cv::Mat image = synthetic_image(i);
    ASSERT_EQ(image.type(), CV_8UC3);
    ASSERT_EQ(image.size(), cv::Size(300, 300));
    near += structure(image, 1);
    far += structure(image, 60);
    means.insert(cv::mean(image)[1]);
    cv::Scalar mean, deviation;
    cv::meanStdDev(image, mean, deviation);
    EXPECT_GT(deviation[0], 10);
  }
  // No image is another one shifted: two have next to nothing in common.
  for (uint64_t i = 1; i < 4; ++i) {
    cv::Mat same;
    cv::compare(synthetic_image(0), synthetic_image(i), same, cv::CMP_EQ);
    EXPECT_LT(cv::mean(same)[1], 255 * 0.1) << i;
  }
  EXPECT_LT(near, 0.25 * far);  // white noise has the same at every distance
  EXPECT_EQ(means.size(), 12u);
}

TEST(Synthetic, TheSameIndexGivesTheSameSample) {
  const auto a = synthetic_images("crop=32 rgb", 3), b = synthetic_images("crop=32 rgb", 3);
  ASSERT_EQ(a->size(), 3);
  const Tensor x = a->load(2).inputs.at(""), y = b->load(2).inputs.at("");
  EXPECT_EQ(x.shape(), (Shape{1, 3, 32, 32}));
  EXPECT_TRUE(std::equal(x.as<float>().begin(), x.as<float>().end(), y.as<float>().begin()));
}

TEST(Synthetic, ArraysAreNormal) {
  const auto data =
      synthetic_arrays({{"x", {DType::kFloat32, {1, 20000}}}, {"ids", {DType::kInt64, {1, 4}}}}, 2);
  const Sample sample = data->load(1);
  double sum = 0, square = 0;
  for (float v : sample.inputs.at("x").as<float>()) {
    sum += v;
    square += double{v} * v;
  }
  EXPECT_NEAR(sum / 20000, 0, 0.05);
  EXPECT_NEAR(square / 20000, 1, 0.05);
  EXPECT_EQ(sample.inputs.at("ids").as<int64_t>()[3], 1);
}

TEST(Synthetic, GuessesPreprocessing) {
  EXPECT_EQ(Preprocess::parse(guess_preprocess({1, 3, 240, 320})).output_size(),
            (Preprocess::Size{240, 320}));
  EXPECT_EQ(Preprocess::parse(guess_preprocess({0, 1, 0, 0})).output_size(), (Preprocess::Size{224, 224}));
  EXPECT_EQ(guess_preprocess({1, 240, 320, 3}), "stretch=320x240 rgb mean=127.5 std=127.5 nhwc");
  EXPECT_EQ(guess_preprocess({1, 128, 768}), "");
  EXPECT_EQ(guess_preprocess({1, 64, 56, 56}), "");
}

}  // namespace
}  // namespace octet
