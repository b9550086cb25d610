#include "engine/steps/epilogue.h"

#include "base/checked.h"
#include "kernels/conv/conv.h"

namespace octet::engine {

kernels::Function function_of(const StepSetup& setup) {
  return static_cast<kernels::Function>(
      setup.int_value("function", 0, 0, static_cast<int64_t>(kernels::Function::kClip)));
}

void EpilogueData::read_attributes(const StepSetup& setup, bool float_output) {
  epilogue.function = function_of(setup);
  epilogue.alpha = setup.float_value("alpha", 0);
  epilogue.beta = setup.float_value("beta", 0);
  epilogue.low = static_cast<uint8_t>(setup.int_value("low", 0, 0, 255));
  epilogue.high = static_cast<uint8_t>(setup.int_value("high", 255, 0, 255));
  setup.expect(epilogue.low <= epilogue.high, "'low' exceeds 'high'");
  setup.expect(!float_output || (epilogue.low == 0 && epilogue.high == 255),
               "a float output has no 'low' and 'high'");
}

void EpilogueData::read_scale(const StepSetup& setup, size_t input, int64_t channels) {
  scale_ = setup.channel_floats(input, channels);
  epilogue.scale = scale_.data();
}

void EpilogueData::read_bias(const StepSetup& setup, size_t input, int64_t channels) {
  bias_ = setup.channel_floats(input, channels);
  epilogue.bias = bias_.data();
}

void EpilogueData::read_out(const StepSetup& setup, size_t scale_input, size_t zero_input, int64_t channels) {
  if (!setup.has_input(scale_input)) return;
  out_scale_ = setup.channel_floats(scale_input, channels);
  out_zero_ = setup.channel_floats(zero_input, channels);
  epilogue.out_scale = out_scale_.data();
  epilogue.out_zero = out_zero_.data();
}

void EpilogueData::read_residual_scale(const StepSetup& setup, size_t input, int64_t channels) {
  residual_scale_ = setup.channel_floats(input, channels);
  epilogue.residual_scale = residual_scale_.data();
}

void EpilogueData::keep(int64_t first, int64_t count) {
  const auto cut = [&](std::vector<float>& values, const float*& pointer) {
    if (pointer == nullptr) return;
    values.erase(values.begin(), values.begin() + first);
    values.resize(static_cast<size_t>(round_up(count, kernels::kChannelPad)));
    pointer = values.data();
  };
  cut(scale_, epilogue.scale);
  cut(bias_, epilogue.bias);
  cut(out_scale_, epilogue.out_scale);
  cut(out_zero_, epilogue.out_zero);
  cut(residual_scale_, epilogue.residual_scale);
}

}  // namespace octet::engine
