#include "kernels/conv/unfold_rows.h"

#include <algorithm>

#include "base/checked.h"
#include "engine/steps/step.h"

namespace octet::engine {
namespace {

class UnfoldStep : public Step {
 public:
  explicit UnfoldStep(const StepSetup& setup) {
    setup.expect_arity(1, 1, 1);
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_nhwc(x, DType::kUInt8);
    setup.expect_nhwc(y, DType::kUInt8);
    const Shape &in = x.shape, &out = y.shape;
    constexpr int64_t kMost = 1 << 20;
    setup.expect(in[1] > 0 && in[1] <= 64 && in[3] > 0 && in[3] <= kMost && out[3] > 0 && out[3] <= kMost &&
                     out[1] % in[1] == 0 && out[1] <= kMost && in[0] == out[0] && in[2] == out[2],
                 "the output is no row of windows");
    setup.expect(y.def->parent < 0, "it writes no view");
    call_.channels = in[1];
    call_.in_w = in[3];
    call_.out_w = out[3];
    call_.taps = out[1] / in[1];
    call_.stride = setup.int_value("stride", 1, 1, kMost);
    call_.left = setup.int_value("left", 0, 0, kMost);
    call_.in_stride = x.pixel_stride;
    call_.out_stride = y.pixel_stride;
    outside_ = setup.zero_points(x, in[1]);
    call_.outside = outside_.data();
    scratch_ = round_up(kernels::unfold_scratch(call_), 64);
    rows_ = checked_mul(in[0], in[2]);
    piece_rows_ = std::max<int64_t>(1, (1 << 15) / checked_mul(out[3], y.pixel_stride));
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return ceil_div(rows_, piece_rows_); }
  int64_t scratch_bytes() const override { return scratch_; }
  std::string kernel() const override { return "sse2"; }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    const auto* x = reinterpret_cast<const uint8_t*>(memory[x_]);
    auto* y = reinterpret_cast<uint8_t*>(memory[y_]);
    for (int64_t row = begin * piece_rows_; row < std::min(rows_, end * piece_rows_); ++row)
      kernels::unfold_row(call_, x + row * call_.in_w * call_.in_stride,
                          y + row * call_.out_w * call_.out_stride, reinterpret_cast<uint8_t*>(scratch));
  }

 private:
  kernels::UnfoldCall call_;
  std::vector<uint8_t> outside_;
  int64_t scratch_ = 0, rows_ = 0, piece_rows_ = 1;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_unfold_rows(const StepSetup& setup) {
  return std::make_unique<UnfoldStep>(setup);
}

}  // namespace octet::engine
