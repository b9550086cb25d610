#include <algorithm>

#include "base/checked.h"
#include "engine/steps/step.h"
#include "kernels/depthwise/repeat.h"

namespace octet::engine {
namespace {

class RepeatStep : public Step {
 public:
  explicit RepeatStep(const StepSetup& setup) {
    setup.expect_arity(1, 1, 1);
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_nhwc(x, DType::kUInt8);
    setup.expect_nhwc(y, DType::kUInt8);
    const Shape &in = x.shape, &out = y.shape;
    setup.expect(in[1] > 0 && out[1] % in[1] == 0 && in[0] == out[0] && in[2] == out[2] && in[3] == out[3],
                 "the output's channels are no multiple of the input's");
    call_.channels = in[1];
    call_.times = out[1] / in[1];
    call_.in_stride = x.pixel_stride;
    call_.out_stride = y.pixel_stride;
    pixels_ = checked_mul(checked_mul(in[0], in[2]), in[3]);
    constexpr int64_t kPieceBytes = 1 << 15;
    piece_ = std::max<int64_t>(1, kPieceBytes / out[1]);
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return ceil_div(pixels_, piece_); }
  std::string kernel() const override { return "sse2"; }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    kernels::RepeatCall call = call_;
    const int64_t first = begin * piece_;
    call.pixels = std::min(pixels_, end * piece_) - first;
    call.input = reinterpret_cast<const uint8_t*>(memory[x_]) + first * call.in_stride;
    call.output = reinterpret_cast<uint8_t*>(memory[y_]) + first * call.out_stride;
    kernels::repeat_channels(call);
  }

 private:
  kernels::RepeatCall call_;
  int64_t pixels_ = 0, piece_ = 1;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_repeat_channels(const StepSetup& setup) {
  return std::make_unique<RepeatStep>(setup);
}

}  // namespace octet::engine
