// What an engine consists of, in numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common.h"
#include "engine/model.h"

namespace octet::tools {

struct KindCount {
  std::string kind, precision;
  int64_t steps = 0;
};

struct EngineSummary {
  std::vector<KindCount> kinds;  // most frequent first
  int64_t steps = 0, int8_steps = 0, float_steps = 0;
  int64_t constant_bytes = 0;
  // Multiplications of convolutions and matrix products, at the optimum of each dimension.
  int64_t macs = 0, int8_macs = 0;
};

EngineSummary summarize(const engine::Model& model);

// Kind of a step; a generic one is named after its operator.
std::string step_kind(const engine::StepDef& step);
// "1x3x224x224 float32"
std::string tensor_text(const engine::TensorDef& def);
std::string summary_text(const EngineSummary& summary);
Json summary_json(const EngineSummary& summary);
std::string shape_text(const Dims& dims);

}  // namespace octet::tools
