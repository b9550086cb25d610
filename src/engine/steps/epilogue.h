// The epilogue of a step, checked and with its arrays padded for the kernels.
#pragma once

#include <vector>

#include "engine/steps/step.h"
#include "kernels/epilogue.h"

namespace octet::engine {

// Owns what a kernels::Epilogue points to. Not copyable: the pointers are into it.
class EpilogueData {
 public:
  EpilogueData() = default;
  EpilogueData(const EpilogueData&) = delete;
  EpilogueData& operator=(const EpilogueData&) = delete;

  // Reads `function`, `alpha`, `beta`, `low`, `high`.
  void read_attributes(const StepSetup& setup, bool float_output);
  // Each takes the constant input of that index, one entry or one per channel.
  void read_scale(const StepSetup& setup, size_t input, int64_t channels);
  void read_bias(const StepSetup& setup, size_t input, int64_t channels);
  void read_out(const StepSetup& setup, size_t scale_input, size_t zero_input, int64_t channels);
  void read_residual_scale(const StepSetup& setup, size_t input, int64_t channels);

  // Keeps only these channels of what was read.
  void keep(int64_t first, int64_t count);

  kernels::Epilogue epilogue;

 private:
  std::vector<float> scale_, bias_, out_scale_, out_zero_, residual_scale_;
};

// The function of a step's attributes; Error when there is no such one.
kernels::Function function_of(const StepSetup& setup);

}  // namespace octet::engine
