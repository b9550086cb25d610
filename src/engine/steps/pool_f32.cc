#include "kernels/float/pool_f32.h"

#include "base/checked.h"
#include "engine/steps/window.h"

namespace octet::engine {
namespace {

using kernels::PoolF32Call;

enum class Kind { kMax, kAverage, kGlobalAverage };

class PoolF32Step : public Step {
 public:
  PoolF32Step(const StepSetup& setup, Kind kind, const Window& window) : kind_(kind), isa_(setup.isa()) {
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_nhwc(x, DType::kFloat32);
    setup.expect_nhwc(y, DType::kFloat32);
    call_.batch = x.shape[0];
    set_geometry(call_, setup, window);
    call_.in_pixel_stride = x.pixel_stride;
    call_.out_pixel_stride = y.pixel_stride;
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override {
    return kind_ == Kind::kGlobalAverage
               ? call_.batch * ceil_div(call_.channels, kernels::kGlobalPoolChannels)
               : call_.batch * call_.out_h;
  }
  std::string kernel() const override { return std::string(isa_name(isa_)); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    const auto* x = reinterpret_cast<const float*>(memory[x_]);
    auto* y = reinterpret_cast<float*>(memory[y_]);
    switch (kind_) {
      case Kind::kMax:
        return run_max_pool_f32(call_, isa_, begin, end, x, y);
      case Kind::kAverage:
        return run_average_pool_f32(call_, isa_, begin, end, x, y);
      case Kind::kGlobalAverage:
        return run_global_average_pool_f32(call_, isa_, begin, end, x, y);
    }
  }

 private:
  Kind kind_;
  Isa isa_;
  PoolF32Call call_;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_max_pool_f32(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<PoolF32Step>(setup, Kind::kMax, read_window(setup));
}

std::unique_ptr<Step> prepare_average_pool_f32(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<PoolF32Step>(setup, Kind::kAverage, read_window(setup));
}

std::unique_ptr<Step> prepare_global_average_pool_f32(const StepSetup& setup) {
  setup.expect_arity(1, 1, 1);
  return std::make_unique<PoolF32Step>(setup, Kind::kGlobalAverage, whole_image_window(setup));
}

}  // namespace octet::engine
