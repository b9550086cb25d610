#include <algorithm>

#include "engine/steps/epilogue.h"
#include "engine/steps/pixels.h"
#include "kernels/simd/function.h"

namespace octet::engine {
namespace {

constexpr int64_t kBlock = 4096;  // elements of a plain tensor that are one piece
constexpr int64_t kPixels = 64;   // pixels that are one piece

class FunctionF32Step : public Step {
 public:
  explicit FunctionF32Step(const StepSetup& setup)
      : function_(function_of(setup)),
        alpha_(setup.float_value("alpha", 0)),
        beta_(setup.float_value("beta", 0)),
        isa_(setup.isa()) {
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_dtype(x, DType::kFloat32);
    setup.expect_dtype(y, DType::kFloat32);
    pixels_ = pixel_pair(setup, x, y);
    // Rows without gaps are one array.
    if (pixels_.in_stride == pixels_.channels && pixels_.out_stride == pixels_.channels) {
      pixels_.channels *= pixels_.count;
      pixels_.count = 1;
    }
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override {
    return pixels_.count == 1 ? ceil_div(pixels_.channels, kBlock) : ceil_div(pixels_.count, kPixels);
  }
  std::string kernel() const override { return std::string(isa_name(isa_)); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    const auto* x = reinterpret_cast<const float*>(memory[x_]);
    auto* y = reinterpret_cast<float*>(memory[y_]);
    const kernels::FunctionKernel function = kernels::choose_function(isa_);
    if (pixels_.count == 1) {
      const int64_t from = begin * kBlock, to = std::min(end * kBlock, pixels_.channels);
      function(function_, alpha_, beta_, x + from, y + from, to - from);
      return;
    }
    for (int64_t p = begin * kPixels; p < std::min(end * kPixels, pixels_.count); ++p)
      function(function_, alpha_, beta_, x + p * pixels_.in_stride, y + p * pixels_.out_stride,
               pixels_.channels);
  }

 private:
  kernels::Function function_;
  float alpha_, beta_;
  Isa isa_;
  PixelPair pixels_;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_function_f32(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<FunctionF32Step>(setup);
}

}  // namespace octet::engine
