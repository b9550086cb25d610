#include "kernels/norm/norm.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "engine/steps/matrices.h"

namespace octet::engine {
namespace {

constexpr int64_t kElements = 8192;  // of a piece, about

enum Input : size_t { kX, kResidual, kScale, kBias, kInputs };

class NormStep : public Step {
 public:
  explicit NormStep(const StepSetup& setup) : kernel_(kernels::choose_norm(setup.isa())) {
    const Operand& x = setup.input(kX);
    expect_floats(setup, x);
    const int64_t axes = setup.int_value("axes", 1, 1, 16);
    setup.expect(axes <= static_cast<int64_t>(x.shape.size()),
                 "it normalizes more dimensions than there are");
    const auto split = x.shape.end() - axes;
    call_.width = checked_product(Shape(split, x.shape.end()));
    call_.rows = checked_product(Shape(x.shape.begin(), split));
    setup.expect(call_.width > 0, "a row is empty");
    call_.rms = setup.int_value("rms", 0, 0, 1) != 0;
    call_.epsilon = setup.float_value("epsilon", 0);
    setup.expect(std::isfinite(call_.epsilon) && call_.epsilon >= 0, "'epsilon' is not a small number");
    call_.scale = setup.floats(kScale, call_.width).data();
    if (setup.has_input(kBias)) {
      setup.expect(!call_.rms, "the root mean square takes no bias");
      call_.bias = setup.floats(kBias, call_.width).data();
    }
    x_ = x.index;
    if (setup.has_input(kResidual)) {
      expect_floats(setup, setup.input(kResidual));
      setup.expect_same_shape(x, setup.input(kResidual));
      residual_ = setup.input(kResidual).index;
    }
    bind_outputs(setup, x);
    piece_rows_ = std::max<int64_t>(1, kElements / call_.width);
  }

  int64_t pieces() const override { return ceil_div(call_.rows, piece_rows_); }
  int64_t scratch_bytes() const override { return checked_mul(call_.width, 4); }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    const auto floats = [&](int32_t t) { return t < 0 ? nullptr : reinterpret_cast<float*>(memory[t]); };
    kernels::NormCall call = call_;
    call.input = floats(x_);
    call.residual = floats(residual_);
    call.sum = floats(sum_);
    call.output = floats(y_);
    if (bytes_ >= 0) call.bytes = reinterpret_cast<uint8_t*>(memory[bytes_]);
    kernel_.run(call, begin * piece_rows_, std::min(end * piece_rows_, call.rows),
                reinterpret_cast<float*>(scratch));
  }

 private:
  static void expect_floats(const StepSetup& setup, const Operand& o) {
    setup.expect_dtype(o, DType::kFloat32);
    setup.expect(!o.nhwc(), "it takes plain tensors");
  }

  // `sum`, `output` and `bytes` say which outputs there are, in this order.
  void bind_outputs(const StepSetup& setup, const Operand& x) {
    size_t next = 0;
    const auto take = [&](const char* name, DType dtype) {
      if (setup.int_value(name, 0, 0, 1) == 0) return int32_t{-1};
      const Operand& o = setup.output(next++);
      setup.expect_dtype(o, dtype);
      setup.expect(!o.nhwc(), "it makes plain tensors");
      setup.expect_same_shape(x, o);
      return o.index;
    };
    sum_ = take("sum", DType::kFloat32);
    y_ = take("output", DType::kFloat32);
    bytes_ = take("bytes", DType::kUInt8);
    setup.expect(next == setup.outputs().size() && next > 0, "its outputs are not those that it names");
    if (bytes_ < 0) return;
    const QuantParams& params = setup.output(next - 1).def->quant;
    if (params.per_channel() && params.scale.size() > 1) return bind_scales(setup, params, x.shape);
    const ScalarQuant q = scalar_quant(setup, setup.output(next - 1));
    call_.out_scale = static_cast<float>(q.scale);
    call_.out_zero = q.zero;
  }

  void bind_scales(const StepSetup& setup, const QuantParams& q, const Shape& shape) {
    const auto width = static_cast<size_t>(call_.width);
    setup.expect(q.axis + 1 == static_cast<int>(shape.size()) && q.scale.size() == width &&
                     q.zero_point.size() == width && shape.back() == call_.width,
                 "its 8-bit output has scales along another axis than the normalized one");
    out_scales_ = q.scale;
    for (int32_t zero : q.zero_point) {
      setup.expect(zero >= 0 && zero <= 255, "a zero-point is no byte");
      out_zeros_.push_back(static_cast<float>(zero));
    }
    call_.out_scales = out_scales_.data();
    call_.out_zeros = out_zeros_.data();
  }

  const kernels::NormKernel& kernel_;
  kernels::NormCall call_;
  int64_t piece_rows_ = 1;
  std::vector<float> out_scales_, out_zeros_;
  int32_t x_ = -1, residual_ = -1, sum_ = -1, y_ = -1, bytes_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_norm(const StepSetup& setup) {
  setup.expect_arity(kScale + 1, kInputs, setup.outputs().size());
  return std::make_unique<NormStep>(setup);
}

}  // namespace octet::engine
