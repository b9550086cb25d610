#include "kernels/pool/pool.h"

#include <algorithm>

#include "base/checked.h"
#include "engine/steps/window.h"

namespace octet::engine {
namespace {

using kernels::PoolCall;
using kernels::PoolOp;

class PoolStep : public Step {
 public:
  PoolStep(const StepSetup& setup, PoolOp op, const Window& window)
      : kernel_(kernels::choose_pool(setup.isa())) {
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_nhwc(x, DType::kUInt8);
    call_.float_output = op == PoolOp::kAverage && y.def->dtype == DType::kFloat32;
    setup.expect_nhwc(y, call_.float_output ? DType::kFloat32 : DType::kUInt8);
    call_.op = op;
    call_.images = x.shape[0];
    set_geometry(call_, setup, window);
    call_.in_stride = x.pixel_stride;
    call_.out_stride = y.pixel_stride;
    x_ = x.index;
    y_ = y.index;
    // The exact sum of a window has 32 bits.
    const int64_t taps =
        checked_mul(std::min(call_.kernel_h, call_.in_h), std::min(call_.kernel_w, call_.in_w));
    setup.expect(op == PoolOp::kMax || taps <= INT32_MAX / 255, "the window is too large for an exact sum");
    if (op == PoolOp::kMax)
      setup.expect(x.def->quant == y.def->quant, "max_pool changes the quantization");
    else
      read_scales(setup);
  }

  int64_t pieces() const override { return kernel_.pieces(call_); }
  int64_t scratch_bytes() const override { return kernel_.scratch_bytes(call_); }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    PoolCall call = call_;
    call.input = reinterpret_cast<const uint8_t*>(memory[x_]);
    call.output = memory[y_];
    kernel_.run(call, begin, end, scratch);
  }

 private:
  void read_scales(const StepSetup& setup) {
    const Operand &x = setup.input(0), &y = setup.output();
    const QuantParams& from = x.def->quant;
    const size_t channels = static_cast<size_t>(call_.channels);
    const auto zeros = setup.zero_points(x, call_.channels);
    setup.expect(from.scale.size() == 1 || from.scale.size() == channels,
                 "the input has the wrong number of scales");
    const int64_t padded = round_up(std::max<int64_t>(call_.channels, 1), 64);
    zero_point_.assign(padded, 0);
    scale_.assign(padded, 0);
    bias_.assign(padded, 0);
    for (size_t c = 0; c < channels; ++c) {
      zero_point_[c] = zeros[c];
      scale_[c] = from.scale[from.scale.size() == 1 ? 0 : c];
    }
    if (!call_.float_output) {
      const QuantParams& to = y.def->quant;
      const auto to_zeros = setup.zero_points(y, call_.channels);
      setup.expect(to.scale.size() == 1 || to.scale.size() == channels,
                   "the output has the wrong number of scales");
      for (size_t c = 0; c < channels; ++c) {
        scale_[c] =
            static_cast<float>(static_cast<double>(scale_[c]) / to.scale[to.scale.size() == 1 ? 0 : c]);
        bias_[c] = to_zeros[c];
      }
    }
    call_.zero_point = zero_point_.data();
    call_.scale = scale_.data();
    call_.bias = bias_.data();
  }

  const kernels::PoolKernel& kernel_;
  PoolCall call_;
  std::vector<int32_t> zero_point_;
  std::vector<float> scale_, bias_;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_max_pool(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<PoolStep>(setup, PoolOp::kMax, read_window(setup));
}

std::unique_ptr<Step> prepare_average_pool(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<PoolStep>(setup, PoolOp::kAverage, read_window(setup));
}

std::unique_ptr<Step> prepare_global_average_pool(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<PoolStep>(setup, PoolOp::kAverage, whole_image_window(setup));
}

}  // namespace octet::engine
