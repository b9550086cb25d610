#include "data/preprocess.h"

#include <cmath>
#include <opencv2/imgproc.hpp>

#include "data/test_files.h"

namespace octet {
namespace {

cv::Mat picture(int width, int height) {
  cv::Mat image(height, width, CV_8UC3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      image.at<cv::Vec3b>(y, x) = {static_cast<uint8_t>(x * 7 + y * 3), static_cast<uint8_t>(x * y),
                                   static_cast<uint8_t>(y * 11 - x)};
  return image;
}

// The tensor that `small`, the expected 8-bit image, makes by the plain formula.
void expect_values(const Tensor& t, const cv::Mat& small, bool rgb, std::array<float, 3> mean, float std,
                   float scale) {
  ASSERT_EQ(t.shape(), (Shape{1, 3, small.rows, small.cols}));
  const auto values = t.as<float>();
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < small.rows; ++y)
      for (int x = 0; x < small.cols; ++x) {
        const float v = small.at<cv::Vec3b>(y, x)[rgb ? 2 - c : c];
        const float expected = (v - mean[static_cast<size_t>(c)]) / std * scale;
        ASSERT_EQ(values[static_cast<size_t>((c * small.rows + y) * small.cols + x)], expected);
      }
}

cv::Mat resized(const cv::Mat& image, int width, int height, int how) {
  cv::Mat out;
  cv::resize(image, out, {width, height}, 0, 0, how);
  return out;
}

TEST(PreprocessText, Canonical) {
  const auto canonical = [](const char* text) { return Preprocess::parse(text).text(); };
  EXPECT_EQ(canonical(""), "rgb");
  EXPECT_EQ(canonical("  short=256\tcrop=224 rgb mean=127.5 std=127.5 "),
            "short=256 crop=224 rgb mean=127.5 std=127.5");
  EXPECT_EQ(canonical("mean=1,1,1 bgr crop=5x5 std=1 scale=1"), "crop=5 bgr mean=1");
  EXPECT_EQ(canonical("letterbox=416x320,topleft,114 gray scale=0.5 interp=area"),
            "letterbox=416x320,topleft interp=area gray scale=0.5");
  EXPECT_EQ(canonical("letterbox=4x5,0 stretch=7x6"), "letterbox=4x5,0 stretch=7x6 rgb");
  for (const char* text :
       {"short=3 crop=2x1 bgr mean=0.1,0.2,0.3 std=0.229,0.224,0.225 scale=0.00392156862745098"})
    EXPECT_EQ(canonical(text), text);
  EXPECT_EQ(canonical("nhwc bgr scale=2"), "bgr scale=2 nhwc");
  EXPECT_EQ(Preprocess::parse("gray").channels(), 1);
  EXPECT_EQ(Preprocess::parse("short=9 crop=5x4").output_size(), (Preprocess::Size{4, 5}));
  EXPECT_FALSE(Preprocess::parse("short=9").output_size());
  EXPECT_EQ(Preprocess::parse("mean=1,2,3 std=4").affine()[2].mean, 3);
}

TEST(PreprocessText, Refused) {
  for (const char* text : {"rgb bgr",
                           "rgb rgb",
                           "std=0",
                           "std=-1",
                           "std=1e-60",
                           "mean=1,2",
                           "mean=",
                           "mean=x",
                           "mean=nan",
                           "mean=inf",
                           "scale=0",
                           "scale=1e60",
                           "short=0",
                           "short=-3",
                           "short=99999",
                           "short=4x4",
                           "crop=3x",
                           "crop=x3",
                           "stretch=224",
                           "letterbox=3",
                           "letterbox=3x3,256",
                           "letterbox=3x3,1,2",
                           "letterbox=3x3,left",
                           "letterbox=3x3,topleft,topleft",
                           "interp=cubic",
                           "interp=area interp=area",
                           "mean=1 mean=2",
                           "rgb=1",
                           "short",
                           "gray mean=1,2,3",
                           "resize=224"})
    EXPECT_THROW(Preprocess::parse(text), Error) << text;
  EXPECT_TRUE(contains(error_of([] { Preprocess::parse("resize=224"); }), "the steps are short=N"));
}

TEST(PreprocessGeometry, ShortAndCrop) {
  const cv::Mat image = picture(101, 67);
  // 101 * 40 / 67 = 60.3
  const cv::Mat small = resized(image, 60, 40, cv::INTER_AREA)(cv::Rect(14, 4, 32, 32));
  expect_values(Preprocess::parse("short=40 crop=32 mean=127.5 std=127.5").apply(image), small, true,
                {127.5f, 127.5f, 127.5f}, 127.5f, 1);
  const cv::Mat large = resized(image, 151, 100, cv::INTER_LINEAR);
  expect_values(Preprocess::parse("short=100 bgr mean=104,117,123").apply(image), large, false,
                {104, 117, 123}, 1, 1);
}

TEST(PreprocessGeometry, SizesRoundHalfToEven) {
  const auto shape = [](int width, int height) {
    return Preprocess::parse("short=1").apply(picture(width, height)).shape();
  };
  EXPECT_EQ(shape(5, 2), (Shape{1, 3, 1, 2}));  // 2.5
  EXPECT_EQ(shape(7, 2), (Shape{1, 3, 1, 4}));  // 3.5
}

TEST(PreprocessGeometry, StretchAndInterpolation) {
  const cv::Mat image = picture(50, 30);
  // The width decides: narrower is area even where the height grows.
  expect_values(Preprocess::parse("stretch=40x60").apply(image), resized(image, 40, 60, cv::INTER_AREA), true,
                {}, 1, 1);
  expect_values(Preprocess::parse("stretch=50x20").apply(image), resized(image, 50, 20, cv::INTER_LINEAR),
                true, {}, 1, 1);
  expect_values(Preprocess::parse("interp=linear stretch=20x10 scale=0.25").apply(image),
                resized(image, 20, 10, cv::INTER_LINEAR), true, {}, 1, 0.25f);
  expect_values(Preprocess::parse("interp=area stretch=60x40").apply(image),
                resized(image, 60, 40, cv::INTER_AREA), true, {}, 1, 1);
}

TEST(PreprocessGeometry, Letterbox) {
  const cv::Mat image = picture(80, 40);
  const cv::Mat small = resized(image, 32, 16, cv::INTER_AREA);
  cv::Mat boxed(32, 32, CV_8UC3, cv::Scalar::all(114));
  small.copyTo(boxed(cv::Rect(0, 0, 32, 16)));
  expect_values(Preprocess::parse("letterbox=32x32,topleft bgr").apply(image), boxed, false, {}, 1, 1);
  cv::Mat centred(21, 32, CV_8UC3, cv::Scalar::all(7));
  small.copyTo(centred(cv::Rect(0, 2, 32, 16)));
  expect_values(Preprocess::parse("letterbox=32x21,7").apply(image), centred, true, {}, 1, 1);
  EXPECT_EQ(Preprocess::parse("letterbox=32x32").apply(picture(1000, 1)).shape(), (Shape{1, 3, 32, 32}));
}

TEST(PreprocessGeometry, Multiple) {
  const cv::Mat image = picture(33, 64);
  cv::Mat grown(64, 64, CV_8UC3, cv::Scalar::all(114));
  image.copyTo(grown(cv::Rect(0, 0, 33, 64)));
  expect_values(Preprocess::parse("multiple=32 bgr").apply(image), grown, false, {}, 1, 1);
  expect_values(Preprocess::parse("multiple=8").apply(picture(16, 24)), picture(16, 24), true, {}, 1, 1);
  EXPECT_EQ(Preprocess::parse("short=20 multiple=32,0").apply(picture(40, 80)).shape(),
            (Shape{1, 3, 64, 32}));
  EXPECT_EQ(Preprocess::parse("multiple=32,7 short=9").text(), "multiple=32,7 short=9 rgb");
  EXPECT_EQ(Preprocess::parse("crop=33 multiple=32").output_size(), (Preprocess::Size{64, 64}));
  EXPECT_FALSE(Preprocess::parse("short=33 multiple=32").output_size());
  for (const char* text : {"multiple=0", "multiple=32,256", "multiple=32,1,2", "multiple=", "multiple=8x8"})
    EXPECT_THROW(Preprocess::parse(text), Error) << text;
}

TEST(PreprocessGeometry, StepsRunFromLeftToRight) {
  const cv::Mat image = picture(60, 60);
  expect_values(Preprocess::parse("crop=40 stretch=10x10").apply(image),
                resized(image(cv::Rect(10, 10, 40, 40)), 10, 10, cv::INTER_AREA), true, {}, 1, 1);
}

TEST(PreprocessGeometry, Errors) {
  EXPECT_TRUE(contains(error_of([] { Preprocess::parse("crop=32").apply(picture(31, 40)); }),
                       "does not fit an image of 31x40"));
  EXPECT_TRUE(contains(error_of([] { Preprocess::parse("short=16384").apply(picture(2000, 1)); }), "limit"));
  EXPECT_THROW(Preprocess().apply(cv::Mat()), Error);
}

TEST(PreprocessLayout, ChannelsLast) {
  const cv::Mat image = picture(7, 5);
  for (const char* text : {"rgb mean=1,2,3 std=4", "bgr", "gray"}) {
    Preprocess p = Preprocess::parse(text);
    const Tensor first = p.apply(image);
    p.fit({1, 5, 7, p.channels()});
    const Tensor last = p.apply(image);
    const int64_t c = p.channels();
    ASSERT_EQ(last.shape(), (Shape{1, 5, 7, c}));
    for (int64_t i = 0; i < first.count(); ++i)
      ASSERT_EQ(last.as<float>()[static_cast<size_t>(i % 35 * c + i / 35)],
                first.as<float>()[static_cast<size_t>(i)]);
  }
}

TEST(PreprocessLayout, FollowsTheInput) {
  const auto fitted = [](const char* text, const Shape& input) {
    Preprocess p = Preprocess::parse(text);
    p.fit(input);
    return p.text();
  };
  EXPECT_EQ(fitted("rgb", {0, 0, 0, 3}), "rgb nhwc");
  EXPECT_EQ(fitted("gray", {1, 28, 28, 1}), "gray nhwc");
  for (const Shape& input :
       {Shape{1, 3, 224, 224}, Shape{1, 3, 224, 3}, Shape{1, 224, 224, 1}, Shape{224, 224, 3}})
    EXPECT_EQ(fitted("rgb", input), "rgb") << to_string(input);
  EXPECT_EQ(fitted("rgb nhwc", {1, 3, 224, 224}), "rgb nhwc") << "as it was said";
}

TEST(PreprocessBytes, AgreeWithFloats) {
  const cv::Mat image = picture(33, 21);
  for (const char* text :
       {"short=16 rgb mean=1,2,3 std=4", "short=16 bgr mean=1,2,3 scale=0.3", "gray mean=5 std=2"}) {
    const Preprocess p = Preprocess::parse(text);
    const Tensor f = p.apply(image), b = p.apply_bytes(image);
    const int64_t c = p.channels(), h = f.shape()[2], w = f.shape()[3];
    ASSERT_EQ(b.shape(), (Shape{1, h, w, c}));
    const auto affine = p.affine();
    for (int64_t k = 0; k < c; ++k)
      for (int64_t i = 0; i < h * w; ++i)
        ASSERT_EQ(f.as<float>()[static_cast<size_t>(k * h * w + i)],
                  affine[static_cast<size_t>(k)](b.as<uint8_t>()[static_cast<size_t>(i * c + k)]));
  }
  cv::Mat gray;
  cv::cvtColor(image, gray, cv::COLOR_BGR2GRAY);
  EXPECT_EQ(Preprocess::parse("gray").apply_bytes(image).as<uint8_t>()[40], gray.at<uint8_t>(1, 7));
}

}  // namespace
}  // namespace octet
