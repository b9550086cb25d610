// 8 bits with a scale and a zero-point that are chosen from the values of each run, as DynamicQuantizeLinear
// of ONNX does it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/steps/step.h"
#include "kernels/convert/convert.h"
#include "quant/quant_params.h"

namespace octet::engine {
namespace {

constexpr int64_t kLanes = 16;

class DynamicQuantizeStep : public Step {
 public:
  explicit DynamicQuantizeStep(const StepSetup& setup)
      : kernel_(kernels::choose_convert(setup.isa())), name_(setup.def().name) {
    const Operand& x = setup.input(0);
    setup.expect_dtype(x, DType::kFloat32);
    setup.expect(!x.nhwc() && !setup.output(0).nhwc(), "the tensors are not plain");
    setup.expect_same_shape(x, setup.output(0));
    setup.expect_dtype(setup.output(0), DType::kUInt8);
    setup.expect_dtype(setup.output(1), DType::kFloat32);
    setup.expect_dtype(setup.output(2), DType::kUInt8);
    setup.expect(setup.output(1).count() == 1 && setup.output(2).count() == 1,
                 "scale and zero-point are not one number each");
    call_.op = kernels::ConvertOp::kQuantize;
    call_.per_channel = false;
    call_.pixels = x.count();
    x_ = x.index;
    for (size_t i = 0; i < 3; ++i) outputs_[i] = setup.output(i).index;
  }

  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t /*begin*/, int64_t /*end*/, int /*thread*/,
           std::byte* /*scratch*/) override {
    const auto* x = reinterpret_cast<const float*>(memory[x_]);
    const auto [low, high] = range(x);
    const float width = high - low;
    if (!(width < std::numeric_limits<float>::infinity()))
      fail(ErrorCode::kInvalidArgument, "step '{}': its input has elements that are not finite", name_);
    const float scale = width > 0 ? width / 255.0f : 1.0f;
    const int32_t zero = quantize_one(-low, scale, 0, int_limits(DType::kUInt8));
    float scales[64], offsets[64] = {};
    int32_t zeros[64];
    std::fill_n(scales, 64, scale);
    std::fill_n(zeros, 64, zero);
    kernels::ConvertCall call = call_;
    call.input = x;
    call.output = memory[outputs_[0]];
    call.scale = scales;
    call.zero_point = zeros;
    call.offset = offsets;
    kernel_.run(call, 0, kernel_.pieces(call));
    *reinterpret_cast<float*>(memory[outputs_[1]]) = scale;
    *reinterpret_cast<uint8_t*>(memory[outputs_[2]]) = static_cast<uint8_t>(zero);
  }

 private:
  // Of the elements and 0; NaN is passed over.
  std::pair<float, float> range(const float* x) const {
    float low[kLanes] = {}, high[kLanes] = {};
    const int64_t count = call_.pixels;
    const auto take = [&](int64_t lane, float v) {
      low[lane] = v < low[lane] ? v : low[lane];
      high[lane] = v > high[lane] ? v : high[lane];
    };
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) take(lane, x[i + lane]);
    for (; i < count; ++i) take(0, x[i]);
    return {*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
  }

  const kernels::ConvertKernel& kernel_;
  std::string name_;
  kernels::ConvertCall call_;
  int32_t x_ = -1, outputs_[3] = {-1, -1, -1};
};

}  // namespace

std::unique_ptr<Step> prepare_dynamic_quantize(const StepSetup& setup) {
  setup.expect_arity(1, 1, 3);
  return std::make_unique<DynamicQuantizeStep>(setup);
}

}  // namespace octet::engine
