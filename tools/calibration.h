// What quantize and calibrate share: from a float model and data to a table of ranges.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "base/file.h"
#include "calibrate/calibrate.h"
#include "calibrate/channel_scales.h"
#include "graph/graph.h"
#include "passes/quantize.h"

namespace octet::tools {

struct QuantizationArguments {
  std::string method = "mse";
  double percentile = RangeOptions().percentile;
  std::string target = "octet";
  std::string activation_scales = "auto";
  std::string activations = "int8";
  std::string weights = "int8";
  bool weights_per_tensor = false;
  bool quantize_outputs = false;
  bool input_bytes = false;  // of quantize
  std::vector<std::string> include, exclude;

  // calibrate has no use for the options on the form of the result.
  void add(CLI::App& app, bool whole);
  QuantizeOptions options() const;
  RangeOptions range_options() const;
  ChannelScaleOptions scale_options() const;
};

// A float model in the form that placement expects. Throws Error when it is already quantized.
struct FloatModel {
  std::filesystem::path path;
  uint64_t hash = 0;
  Graph graph;
  std::vector<MappedFile> files;  // in which its constants lie

  // Gives back the memory of the constants that were read.
  void drop_pages() const;
};
FloatModel load_float_model(const std::filesystem::path& path);

struct Calibrated {
  CalibrationTable table;
  std::vector<std::string> problems;
  std::vector<SkippedSample> skipped;
};

// Observes what `placement` stores in 8 bits (and `also`, by name) while `engine`, built from the model, runs
// over the data.
Calibrated calibrate(const FloatModel& model, const engine::Engine& engine, const Placement& placement,
                     const QuantizationArguments& arguments, const Dataset& data,
                     const std::optional<std::string>& preprocess, const RunnerOptions& runner,
                     const std::vector<std::string>& also = {});

// Names of the values whose ranges a placement needs.
std::vector<std::string> placed_values(const Graph& graph, const Placement& placement);

}  // namespace octet::tools
