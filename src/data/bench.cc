#include <benchmark/benchmark.h>

#include <opencv2/imgcodecs.hpp>

#include "data/image.h"
#include "data/preprocess.h"

namespace octet {
namespace {

// 500x375, the usual size in ImageNet.
std::vector<uint8_t> jpeg() {
  cv::Mat image(375, 500, CV_8UC3);
  for (int y = 0; y < image.rows; ++y)
    for (int x = 0; x < image.cols; ++x)
      image.at<cv::Vec3b>(y, x) = {static_cast<uint8_t>(x * y / 64), static_cast<uint8_t>(y + x % 9),
                                   static_cast<uint8_t>((x / 16 + y / 16) % 2 * 90 + x / 4)};
  std::vector<uint8_t> bytes;
  cv::imencode(".jpg", image, bytes);
  return bytes;
}

void decode(benchmark::State& state) {
  quiet_opencv();
  const auto bytes = jpeg();
  for (auto _ : state) benchmark::DoNotOptimize(decode_image(std::as_bytes(std::span(bytes)), "x"));
}
BENCHMARK(decode)->Unit(benchmark::kMicrosecond);

void preprocess(benchmark::State& state, const char* text) {
  quiet_opencv();
  const auto bytes = jpeg();
  const cv::Mat image = decode_image(std::as_bytes(std::span(bytes)), "x");
  const Preprocess p = Preprocess::parse(text);
  for (auto _ : state) benchmark::DoNotOptimize(p.apply(image));
}
BENCHMARK_CAPTURE(preprocess, convert_only, "rgb mean=127.5 std=127.5")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(preprocess, short_crop, "short=256 crop=224 rgb mean=127.5 std=127.5")
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(preprocess, letterbox, "letterbox=416x416,topleft bgr")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(preprocess, linear, "interp=linear stretch=224x224 rgb")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace octet
