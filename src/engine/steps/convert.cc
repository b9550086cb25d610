#include "kernels/convert/convert.h"

#include <cmath>

#include "base/checked.h"
#include "engine/steps/pixels.h"

namespace octet::engine {
namespace {

using kernels::ConvertCall;
using kernels::ConvertOp;

class ConvertStep : public Step {
 public:
  ConvertStep(const StepSetup& setup, ConvertOp op, bool flip_sign = false)
      : kernel_(kernels::choose_convert(setup.isa())) {
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_same_shape(x, y);
    call_.op = op;
    call_.flip_sign = flip_sign;
    call_.in_layout = x.def->layout;
    call_.out_layout = y.def->layout;
    call_.in_stride = x.pixel_stride;
    call_.out_stride = y.pixel_stride;
    x_ = x.index;
    y_ = y.index;
    call_.out_plane_stride = y.def->plane_stride;
    const bool images = x.nhwc() || y.nhwc() || call_.out_plane_stride > 0;
    if (images) {
      setup.expect(x.shape.size() == 4, "an image has rank 4");
      call_.images = x.shape[0];
      call_.channels = x.shape[1];
      call_.pixels = checked_mul(x.shape[2], x.shape[3]);
    } else {
      call_.pixels = x.count();
    }
    // The padding of a whole tensor's pixels is zeroed; behind a view lie other channels.
    if (y.nhwc() && dtype_bits(y.def->dtype) == 8 && y.def->parent < 0) call_.fill = y.pixel_stride;
  }

  // Parameters of the 8-bit side; with `with_offset` constant input 1 is added to the values before, one
  // number per channel (axis 1).
  void read_quantization(const StepSetup& setup, const Operand& bytes, bool with_offset = false) {
    const QuantParams& q = bytes.def->quant;
    const bool is_signed = bytes.def->dtype == DType::kInt8;
    setup.expect(!q.scale.empty(), "the 8-bit tensor has no scale");
    const bool several = q.per_channel() && q.scale.size() > 1;
    setup.expect(several || q.scale.size() == 1, "a tensor with one scale has several");
    if (several || with_offset) {
      const int axis = several ? q.axis : 1;
      setup.expect(static_cast<size_t>(axis) < bytes.shape.size(), "there is no axis for the channels");
      setup.expect(!several || bytes.shape[axis] == static_cast<int64_t>(q.scale.size()),
                   "the scales do not fit the tensor's axis");
      if (call_.in_layout == Layout::kNhwc || call_.out_layout == Layout::kNhwc || with_offset)
        setup.expect(axis == 1, "a channels-last tensor has scales along its channels");
      if (call_.in_layout == Layout::kPlain && call_.out_layout == Layout::kPlain)
        split_at(bytes.shape, axis);
    } else {
      call_.per_channel = false;
    }
    if (with_offset)
      offset_ = setup.channel_floats(1, call_.channels);
    else
      offset_.assign(round_up(std::max<int64_t>(call_.channels, 1), 64), 0.0f);
    for (float v : offset_) setup.expect(std::isfinite(v), "an offset is not finite");
    call_.offset = offset_.data();
    const int64_t padded = round_up(std::max<int64_t>(call_.channels, 1), 64);
    for (int64_t c = 0; c < padded; ++c) {
      const size_t i = q.scale.size() == 1 ? 0 : static_cast<size_t>(std::min(c, call_.channels - 1));
      scale_.push_back(q.scale[i]);
      zero_point_.push_back(q.zero_point[i] + (is_signed ? 128 : 0));
    }
    call_.scale = scale_.data();
    call_.zero_point = zero_point_.data();
    call_.flip_sign = is_signed;
  }

  int64_t pieces() const override { return kernel_.pieces(call_); }
  std::optional<kernels::PixelRange> writes(int64_t piece) const override {
    return kernel_.pixels(call_, piece);
  }
  std::optional<kernels::PixelRange> reads(int32_t tensor, int64_t piece) const override {
    if (tensor != x_ || call_.in_layout == Layout::kPlain) return std::nullopt;
    return with_overread(kernel_.pixels(call_, piece), call_.in_stride);
  }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    ConvertCall call = call_;
    call.input = memory[x_];
    call.output = memory[y_];
    kernel_.run(call, begin, end);
  }

 private:
  void split_at(const Shape& shape, int axis) {
    const auto begin = shape.begin();
    call_.images = checked_product(Shape(begin, begin + axis));
    call_.channels = shape[axis];
    call_.pixels = checked_product(Shape(begin + axis + 1, shape.end()));
  }

  const kernels::ConvertKernel& kernel_;
  ConvertCall call_;
  std::vector<float> scale_, offset_;
  std::vector<int32_t> zero_point_;
  int32_t x_ = -1, y_ = -1;
};

bool eight_bit(const Operand& o) {
  return o.def->dtype == DType::kUInt8 || o.def->dtype == DType::kInt8;
}

std::unique_ptr<ConvertStep> prepare_move(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  const Operand &x = setup.input(0), &y = setup.output();
  const bool flip = eight_bit(x) && eight_bit(y) && x.def->dtype != y.def->dtype;
  if (!flip) setup.expect_dtype(y, x.def->dtype);
  const int bits = dtype_bits(x.def->dtype);
  setup.expect(bits == 8 || bits == 32, "only 8-bit and 32-bit tensors are copied");
  return std::make_unique<ConvertStep>(setup, bits == 8 ? ConvertOp::kCopy8 : ConvertOp::kCopy32, flip);
}

}  // namespace

std::unique_ptr<Step> prepare_copy(const StepSetup& setup) {
  setup.expect(setup.input(0).nhwc() == setup.output().nhwc(), "copy changes the layout");
  return prepare_move(setup);
}

std::unique_ptr<Step> prepare_layout(const StepSetup& setup) {
  setup.expect(setup.input(0).shape.size() == 4, "only rank-4 tensors have another layout");
  return prepare_move(setup);
}

std::unique_ptr<Step> prepare_quantize(const StepSetup& setup) {
  setup.expect_arity(1, 2, 1);
  setup.expect_dtype(setup.input(0), DType::kFloat32);
  setup.expect(eight_bit(setup.output()), "the output is not an 8-bit tensor");
  auto step = std::make_unique<ConvertStep>(setup, ConvertOp::kQuantize);
  step->read_quantization(setup, setup.output(), setup.has_input(1));
  return step;
}

std::unique_ptr<Step> prepare_dequantize(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  setup.expect(eight_bit(setup.input(0)), "the input is not an 8-bit tensor");
  setup.expect_dtype(setup.output(), DType::kFloat32);
  auto step = std::make_unique<ConvertStep>(setup, ConvertOp::kDequantize);
  step->read_quantization(setup, setup.input(0));
  return step;
}

}  // namespace octet::engine
