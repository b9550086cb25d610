#include "kernels/lut/lut.h"

#include "engine/steps/pixels.h"

namespace octet::engine {
namespace {

class LutStep : public Step {
 public:
  explicit LutStep(const StepSetup& setup) : kernel_(kernels::choose_lut(setup.isa())) {
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_dtype(x, DType::kUInt8);
    setup.expect_dtype(y, DType::kUInt8);
    const PixelPair pixels = pixel_pair(setup, x, y);
    call_.table = reinterpret_cast<const uint8_t*>(setup.bytes(1, 256).data());
    call_.pixels = pixels.count;
    call_.channels = pixels.channels;
    call_.in_stride = pixels.in_stride;
    call_.out_stride = pixels.out_stride;
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return kernel_.pieces(call_); }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    kernels::LutCall call = call_;
    call.input = reinterpret_cast<const uint8_t*>(memory[x_]);
    call.output = reinterpret_cast<uint8_t*>(memory[y_]);
    kernel_.run(call, begin, end);
  }

 private:
  const kernels::LutKernel& kernel_;
  kernels::LutCall call_;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_lut(const StepSetup& setup) {
  setup.expect_arity(2, 2, 1);
  return std::make_unique<LutStep>(setup);
}

}  // namespace octet::engine
