#include <algorithm>

#include "base/checked.h"
#include "engine/steps/step.h"
#include "kernels/convert/convert.h"

namespace octet::engine {
namespace {

using kernels::ConvertCall;

// Each pixel of the input becomes block x block pixels of the output. Its channels are [row][column][channel]
// (ONNX's DCR), so that those of one output row lie together.
class DepthToSpaceStep : public Step {
 public:
  explicit DepthToSpaceStep(const StepSetup& setup) : kernel_(kernels::choose_convert(setup.isa())) {
    setup.expect_arity(1, 1, 1);
    const Operand &x = setup.input(0), &y = setup.output();
    const bool floats = x.def->dtype == DType::kFloat32;
    setup.expect_nhwc(x, floats ? DType::kFloat32 : DType::kUInt8);
    setup.expect_nhwc(y, x.def->dtype);
    element_ = floats ? 4 : 1;
    block_ = setup.attributes().get_int("block", 0);
    setup.expect(block_ >= 1 && block_ < 32768, "'block' is out of range");
    const Shape &in = x.shape, &out = y.shape;
    setup.expect(in[0] == out[0] && in[1] == checked_mul(out[1], block_ * block_) &&
                     out[2] == checked_mul(in[2], block_) && out[3] == checked_mul(in[3], block_),
                 "the shapes do not fit the blocks");
    setup.expect(x.def->quant == y.def->quant && !x.def->quant.per_channel(),
                 "the pixels move between quantizations");
    call_.op = floats ? kernels::ConvertOp::kCopy32 : kernels::ConvertOp::kCopy8;
    call_.in_layout = call_.out_layout = Layout::kNhwc;
    call_.pixels = in[3];
    call_.in_stride = x.pixel_stride;
    rows_ = checked_mul(in[0], in[2]);
    channels_ = out[1];
    out_stride_ = y.pixel_stride;
    together_ = out_stride_ == channels_;
    call_.channels = together_ ? block_ * channels_ : channels_;
    call_.out_stride = block_ * out_stride_;
    // The padding of a whole tensor's pixels is zeroed; behind a view lie other channels.
    if (!floats && !together_ && y.def->parent < 0) call_.fill = out_stride_;
    constexpr int64_t kPieceBytes = 1 << 15;
    piece_rows_ = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, element_ * in[1] * in[3]));
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return (rows_ + piece_rows_ - 1) / piece_rows_; }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    const int64_t last = std::min(rows_, end * piece_rows_);
    const std::byte* x = memory[x_];
    std::byte* y = memory[y_];
    ConvertCall call = call_;
    for (int64_t row = begin * piece_rows_; row < last; ++row)
      for (int64_t i = 0; i < block_; ++i)
        for (int64_t j = 0; j < (together_ ? 1 : block_); ++j) {
          call.input = x + element_ * (row * call.pixels * call.in_stride + (i * block_ + j) * channels_);
          call.output = y + element_ * ((row * block_ + i) * call.pixels * block_ + j) * out_stride_;
          kernel_.run(call, 0, kernel_.pieces(call));
        }
  }

 private:
  const kernels::ConvertKernel& kernel_;
  ConvertCall call_;  // of the channels that go to one output row, or of one output pixel
  int64_t element_ = 1, block_ = 1, rows_ = 0, piece_rows_ = 1, channels_ = 0, out_stride_ = 0;
  bool together_ = false;  // output pixels follow each other without gaps
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_depth_to_space(const StepSetup& setup) {
  return std::make_unique<DepthToSpaceStep>(setup);
}

}  // namespace octet::engine
