#include "kernels/float/conv_f32.h"

#include <limits>

#include "engine/steps/convolution.h"
#include "engine/steps/epilogue.h"
#include "kernels/float/fixed_f32.h"
#include "kernels/float/gemm_in_place.h"

namespace octet::engine {
namespace {

// Weights above this stay where they are; smaller ones are worth a copy that oneDNN reads faster.
constexpr int64_t kLargeWeights = int64_t{32} << 20;

// ConvF32 or FixedConvF32.
template <typename Conv>
class ConvF32Step : public Step {
 public:
  ConvF32Step(Conv conv, int32_t x, int32_t residual, int32_t y)
      : conv_(std::move(conv)), x_(x), residual_(residual), y_(y) {}

  int64_t pieces() const override { return conv_.pieces(); }
  int64_t scratch_bytes() const override { return conv_.scratch_bytes(); }
  std::string kernel() const override { return conv_.kernel(); }

  void run(Memory memory, int64_t begin, int64_t end, int thread, std::byte* scratch) override {
    const auto* residual = residual_ < 0 ? nullptr : reinterpret_cast<const float*>(memory[residual_]);
    conv_.run(begin, end, thread, reinterpret_cast<const float*>(memory[x_]), residual,
              reinterpret_cast<float*>(memory[y_]), scratch);
  }

 private:
  Conv conv_;
  int32_t x_, residual_, y_;
};

class GemmInPlaceStep : public Step {
 public:
  GemmInPlaceStep(const kernels::GemmInPlaceOptions& options, Isa isa, int32_t x, int32_t y)
      : gemm_(options, isa), x_(x), y_(y) {}

  int64_t pieces() const override { return gemm_.pieces(); }
  std::string kernel() const override { return "oneDNN sgemm"; }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    gemm_.run(begin, end, reinterpret_cast<const float*>(memory[x_]), reinterpret_cast<float*>(memory[y_]));
  }

 private:
  kernels::GemmInPlaceF32 gemm_;
  int32_t x_, y_;
};

std::unique_ptr<Step> make_step(const StepSetup& setup, const kernels::ConvF32Options& options, int32_t x,
                                int32_t residual, int32_t y) {
  if (setup.deterministic())
    return std::make_unique<ConvF32Step<kernels::FixedConvF32>>(kernels::FixedConvF32(options, setup.isa()),
                                                                x, residual, y);
  return std::make_unique<ConvF32Step<kernels::ConvF32>>(kernels::ConvF32(options), x, residual, y);
}

void read_function(const StepSetup& setup, kernels::ConvF32Options& options) {
  options.function = function_of(setup);
  options.alpha = setup.float_value("alpha", 0);
  options.beta = setup.float_value("beta", 0);
  options.threads = setup.threads();
  options.bf16 = setup.input(1).constant() && setup.input(1).def->constant.dtype() == DType::kBFloat16 &&
                 kernels::has_bf16();
}

// Weights [OC, inner] and bias from inputs 1 and 2.
void read_weights(const StepSetup& setup, int64_t inner, kernels::ConvF32Options& options) {
  options.weights = setup.floats(1, checked_mul(options.shape.out_c, inner)).data();
  if (setup.has_input(2)) options.bias = setup.floats(2, options.shape.out_c).data();
}

}  // namespace

std::unique_ptr<Step> prepare_conv_f32(const StepSetup& setup) {
  setup.expect_arity(2, 4, 1);
  const Operand &x = setup.input(0), &y = setup.output();
  setup.expect_nhwc(x, DType::kFloat32);
  setup.expect_nhwc(y, DType::kFloat32);
  kernels::ConvF32Options options;
  const kernels::ConvShape& s = options.shape = read_convolution(setup);
  read_weights(setup, checked_mul(checked_mul(s.in_c / s.groups, s.kernel_h), s.kernel_w), options);
  read_function(setup, options);
  options.in_pixel_stride = x.pixel_stride;
  options.out_pixel_stride = y.pixel_stride;
  int32_t residual = -1;
  if (setup.has_input(3)) {
    const Operand& r = setup.input(3);
    setup.expect_nhwc(r, DType::kFloat32);
    setup.expect_same_shape(r, y);
    residual = r.index;
    options.residual = true;
    options.residual_first = setup.int_value("residual_first", 0, 0, 1) != 0;
    options.residual_pixel_stride = r.pixel_stride;
  }
  return make_step(setup, options, x.index, residual, y.index);
}

std::unique_ptr<Step> prepare_gemm_f32(const StepSetup& setup) {
  setup.expect_arity(2, 3, 1);
  const Operand &x = setup.input(0), &y = setup.output();
  setup.expect_dtype(x, DType::kFloat32);
  setup.expect_dtype(y, DType::kFloat32);
  setup.expect(!x.nhwc() && !y.nhwc() && x.shape.size() >= 2 && x.shape.size() == y.shape.size(),
               "input and output are not plain matrices");
  const int64_t k = x.shape.back(), channels = y.shape.back();
  setup.expect(x.count() > 0 && y.count() > 0, "a matrix is empty");
  const int64_t rows = x.count() / k;
  setup.expect(rows == y.count() / channels, "input and output differ in rows");
  kernels::ConvF32Options options;
  options.shape = kernels::gemm_f32_shape(rows, k, channels);
  read_weights(setup, k, options);
  read_function(setup, options);
  options.weights_in_out = setup.int_value("transposed", 0, 0, 1) != 0;
  const Tensor& stored = setup.input(1).def->constant;
  if (setup.deterministic() || stored.dtype() != DType::kFloat32 || stored.bytes() < kLargeWeights)
    return make_step(setup, options, x.index, -1, y.index);
  kernels::GemmInPlaceOptions large{.rows = rows,
                                    .depth = k,
                                    .columns = channels,
                                    .weights = options.weights,
                                    .transposed = !options.weights_in_out,
                                    .bias = options.bias,
                                    .function = options.function,
                                    .alpha = options.alpha,
                                    .beta = options.beta,
                                    .threads = options.threads};
  return std::make_unique<GemmInPlaceStep>(large, setup.isa(), x.index, y.index);
}

}  // namespace octet::engine
