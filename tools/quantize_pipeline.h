// From a float model to a quantized one with a report, as `quantize` and `trtexec` do it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibration.h"
#include "common.h"
#include "correct/equalization.h"
#include "quantize_report.h"
#include "recipe.h"

namespace octet::tools {

// What the user asked for. Without data and table, made-up samples stand in for data.
struct QuantizeArguments {
  CommonArguments common;
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output, table, save_table;
  EffortArguments effort;
  bool method_given = false;
  bool verbose = false;
  bool external_data = false;
  bool dynamic = false;
};

// Everything between the command line and the report.
struct Quantized {
  Placement placement;
  Calibrated calibrated;
  RecipeResult done;
  std::optional<EqualizationReport> equalization;
  AbsorptionReport absorption;
  std::optional<QuantizeReport> report;
  std::vector<FloatNode> float_nodes;
  bool written = false;  // and `graph` is empty
};

// Notes and warnings go to standard error. A large model is written to `output`, if there
// is one, on the way. Throws Error.
Quantized quantize(const QuantizeArguments& arguments, FloatModel& model, Progress& progress);

// The graph to `output`, the table to `save_table` where one is wanted.
void write_quantized(const QuantizeArguments& arguments, const Quantized& result);

}  // namespace octet::tools
