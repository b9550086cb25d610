// From a float model to a quantized one with a report, as the command, the library and the Python module do
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/tensorrt_cache.h"
#include "correct/centering.h"
#include "correct/equalization.h"
#include "correct/smoothing.h"
#include "octet/log.h"
#include "pipeline/calibration.h"
#include "pipeline/float_tensors.h"
#include "pipeline/quantize_report.h"
#include "pipeline/recipe.h"

namespace octet {

// What the user asked for. Without data and table, made-up samples stand in for data.
struct QuantizeArguments {
  int threads = 0;  // 0: one worker per available CPU
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output, save_table;
  std::string table;                  // a file, or the name
  std::optional<LoadedTable> loaded;  // of this one
  EffortArguments effort;
  bool method_given = false;
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
  std::vector<SmoothedTensor> smoothed;
  FloatTensors float_tensors;
  std::vector<CenteredTensor> centered;
  std::optional<CalibrationTable> first_table;  // of the network before both
  std::optional<QuantizeReport> report;
  std::vector<FloatNode> float_nodes;
  bool written = false;  // and `graph` is empty
};

// Notes and warnings go to `log`. A large model is written to `output`, if there
// is one, on the way. Throws Error.
Quantized quantize(const QuantizeArguments& arguments, FloatModel& model, Progress& progress, const Log& log);

// The graph to `output`, the table to `save_table` where one is wanted.
void write_quantized(const QuantizeArguments& arguments, const Quantized& result);

}  // namespace octet
