#include "kernels/eltwise/eltwise.h"

#include "base/checked.h"
#include "engine/steps/epilogue.h"
#include "engine/steps/pixels.h"

namespace octet::engine {
namespace {

using kernels::Broadcast;
using kernels::EltwiseCall;
using kernels::EltwiseOp;

class EltwiseStep : public Step {
 public:
  EltwiseStep(const StepSetup& setup, EltwiseOp op) : kernel_(kernels::choose_eltwise(setup.isa())) {
    const Operand &a = setup.input(0), &b = setup.input(1), &y = setup.output();
    setup.expect_nhwc(a, DType::kUInt8);
    setup.expect_nhwc(b, DType::kUInt8);
    call_.float_output = y.def->dtype == DType::kFloat32;
    setup.expect_nhwc(y, call_.float_output ? DType::kFloat32 : DType::kUInt8);
    setup.expect_same_shape(a, y);
    const int64_t channels = y.shape[1];
    call_.op = op;
    call_.threads = setup.threads();
    call_.images = y.shape[0];
    call_.channels = channels;
    call_.pixels = checked_mul(y.shape[2], y.shape[3]);
    call_.a_stride = a.pixel_stride;
    call_.b_stride = b.pixel_stride;
    call_.out_stride = y.pixel_stride;
    if (b.shape != y.shape) {
      setup.expect(b.shape == Shape({y.shape[0], channels, 1, 1}),
                   "the second operand has neither the output's shape nor one pixel per image");
      call_.broadcast = Broadcast::kImage;
    }
    a_ = a.index;
    b_ = b.index;
    y_ = y.index;
    epilogue_.read_attributes(setup, call_.float_output);
    epilogue_.read_scale(setup, 2, channels);
    if (op == EltwiseOp::kAdd) {
      b_scale_ = setup.channel_floats(3, channels);
      call_.b_scale = b_scale_.data();
      epilogue_.read_bias(setup, 4, channels);
      epilogue_.read_out(setup, 5, 6, channels);
    } else {
      read_mul(setup, channels);
    }
    const bool late = epilogue_.epilogue.function != kernels::Function::kNone && !call_.float_output;
    setup.expect(!late || epilogue_.epilogue.out_scale != nullptr,
                 "a function before an 8-bit output needs out_scale and out_zero");
    call_.epilogue = epilogue_.epilogue;
  }

  int64_t pieces() const override { return kernel_.pieces(call_); }
  std::optional<kernels::PixelRange> writes(int64_t piece) const override {
    return kernel_.pixels(call_, piece);
  }
  std::optional<kernels::PixelRange> reads(int32_t tensor, int64_t piece) const override {
    if (tensor == b_ && call_.broadcast != Broadcast::kNone) return std::nullopt;
    return with_overread(kernel_.pixels(call_, piece), std::min(call_.a_stride, call_.b_stride));
  }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    EltwiseCall call = call_;
    call.a = reinterpret_cast<const uint8_t*>(memory[a_]);
    call.b = reinterpret_cast<const uint8_t*>(memory[b_]);
    call.output = memory[y_];
    kernel_.run(call, begin, end);
  }

 private:
  // Input 3 is the zero of the output: behind the function where there is one, else in place of the bias.
  void read_mul(const StepSetup& setup, int64_t channels) {
    for (size_t i = 0; i < 2; ++i) {
      const auto& found = setup.input(i).def->quant.zero_point;
      setup.expect(found.size() == 1 || found.size() == static_cast<size_t>(channels),
                   "an input has the wrong number of zero-points");
      zeros_[i].assign(round_up(channels, 64), 0);
      for (int64_t c = 0; c < channels; ++c) zeros_[i][c] = found[found.size() == 1 ? 0 : c];
    }
    call_.a_zero = zeros_[0].data();
    call_.b_zero = zeros_[1].data();
    if (setup.has_input(4)) {
      epilogue_.read_out(setup, 4, 3, channels);
      no_bias_.assign(round_up(channels, 64), 0.0f);
      epilogue_.epilogue.bias = no_bias_.data();
    } else {
      epilogue_.read_bias(setup, 3, channels);
    }
  }

  const kernels::EltwiseKernel& kernel_;
  EltwiseCall call_;
  EpilogueData epilogue_;
  std::vector<float> b_scale_, no_bias_;
  std::vector<int32_t> zeros_[2];
  int32_t a_ = -1, b_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_add(const StepSetup& setup) {
  setup.expect_arity(5, 7, 1);
  return std::make_unique<EltwiseStep>(setup, EltwiseOp::kAdd);
}

std::unique_ptr<Step> prepare_mul(const StepSetup& setup) {
  setup.expect_arity(4, 5, 1);
  return std::make_unique<EltwiseStep>(setup, EltwiseOp::kMul);
}

}  // namespace octet::engine
