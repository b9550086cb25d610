#include "kernels/resize/resize.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "engine/steps/step.h"

namespace octet::engine {
namespace {

using kernels::ResizeCall;
using kernels::ResizeMode;

// Source positions along one axis, by ONNX's Resize.
struct AxisMap {
  std::vector<int32_t> index0, index1;
  std::vector<float> weight;
};

float source_position(const std::string& transform, int64_t i, int64_t in, int64_t out, float scale) {
  const auto x = static_cast<float>(i);
  if (transform == "asymmetric") return x / scale;
  if (transform == "align_corners")
    return out == 1 ? 0.0f : x * static_cast<float>(in - 1) / static_cast<float>(out - 1);
  if (transform == "pytorch_half_pixel" && out == 1) return 0.0f;
  return (x + 0.5f) / scale - 0.5f;
}

float nearest(const std::string& mode, float x) {
  if (mode == "floor") return std::floor(x);
  if (mode == "ceil") return std::ceil(x);
  if (mode == "round_prefer_ceil") return std::floor(x + 0.5f);
  return std::ceil(x - 0.5f);
}

AxisMap axis_map(const StepSetup& setup, ResizeMode mode, int64_t in, int64_t out, float scale) {
  const std::string transform = setup.attributes().get_string("coordinate_transformation_mode", "half_pixel");
  const std::string rounding = setup.attributes().get_string("nearest_mode", "round_prefer_floor");
  setup.expect(std::isfinite(scale) && scale > 0, "a scale is not positive");
  AxisMap map;
  const auto last = static_cast<float>(in - 1);
  for (int64_t i = 0; i < out; ++i) {
    const float x = source_position(transform, i, in, out, scale);
    if (mode == ResizeMode::kNearest) {
      map.index0.push_back(static_cast<int32_t>(std::clamp(nearest(rounding, x), 0.0f, last)));
      continue;
    }
    const float inside = std::clamp(x, 0.0f, last);
    const float low = std::min(std::floor(inside), last);
    map.index0.push_back(static_cast<int32_t>(low));
    map.index1.push_back(static_cast<int32_t>(std::min(low + 1, last)));
    map.weight.push_back(inside - low);
  }
  return map;
}

class ResizeStep : public Step {
 public:
  ResizeStep(const StepSetup& setup, ResizeMode mode) : kernel_(kernels::choose_resize(setup.isa())) {
    setup.expect_arity(1, 1, 1);
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_nhwc(x, DType::kUInt8);
    setup.expect_nhwc(y, DType::kUInt8);
    const Shape &in = x.shape, &out = y.shape;
    setup.expect(in[0] == out[0] && in[1] == out[1], "resize changes images or channels");
    setup.expect(in[2] > 0 && in[3] > 0 && out[2] > 0 && out[3] > 0 && std::max(in[2], in[3]) < (1 << 24),
                 "an image is empty or too large");
    setup.expect(x.def->quant == y.def->quant, "resize changes the quantization");
    std::vector<float> scales = setup.attributes().get_floats("scales");
    if (scales.empty())
      scales = {static_cast<float>(out[2]) / static_cast<float>(in[2]),
                static_cast<float>(out[3]) / static_cast<float>(in[3])};
    setup.expect(scales.size() == 2, "'scales' needs two entries");
    rows_ = axis_map(setup, mode, in[2], out[2], scales[0]);
    columns_ = axis_map(setup, mode, in[3], out[3], scales[1]);
    // Interpolated values keep the grid: v is in steps of it already.
    scale_.assign(round_up(in[1], 64), 1.0f);
    bias_.assign(round_up(in[1], 64), 0.0f);
    call_.mode = mode;
    call_.images = in[0];
    call_.channels = in[1];
    call_.in_h = in[2];
    call_.in_w = in[3];
    call_.out_h = out[2];
    call_.out_w = out[3];
    call_.rows = {rows_.index0.data(), rows_.index1.data(), rows_.weight.data()};
    call_.columns = {columns_.index0.data(), columns_.index1.data(), columns_.weight.data()};
    call_.in_stride = x.pixel_stride;
    call_.out_stride = y.pixel_stride;
    call_.scale = scale_.data();
    call_.bias = bias_.data();
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return kernel_.pieces(call_); }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    ResizeCall call = call_;
    call.input = reinterpret_cast<const uint8_t*>(memory[x_]);
    call.output = reinterpret_cast<uint8_t*>(memory[y_]);
    kernel_.run(call, begin, end);
  }

 private:
  const kernels::ResizeKernel& kernel_;
  ResizeCall call_;
  AxisMap rows_, columns_;
  std::vector<float> scale_, bias_;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_resize_nearest(const StepSetup& setup) {
  return std::make_unique<ResizeStep>(setup, ResizeMode::kNearest);
}

std::unique_ptr<Step> prepare_resize_linear(const StepSetup& setup) {
  return std::make_unique<ResizeStep>(setup, ResizeMode::kLinear);
}

}  // namespace octet::engine
