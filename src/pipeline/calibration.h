// What quantize and calibrate share: from a float model and data to a table of ranges.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/file.h"
#include "calibrate/channel_scales.h"
#include "calibrate/dataset_runner.h"
#include "calibrate/part.h"
#include "data/dataset.h"
#include "graph/graph.h"
#include "octet/log.h"
#include "passes/quantize.h"

namespace octet {

using Metadata = std::map<std::string, std::string>;

// Where samples come from: a path as open_data takes it, or a data set that is there already.
struct DataArguments {
  std::string data;
  std::shared_ptr<const Dataset> samples;  // goes before `data`
  std::optional<std::string> preprocess;
  int64_t limit = 0;
  bool skip_bad = false;

  bool given() const { return samples != nullptr || !data.empty(); }
  // The canonical preprocessing: `preprocess`, or else what the first of these has stored, in the layout of
  // the network's `input` (only_input). A note when both are there and differ.
  std::optional<std::string> choose_preprocess(std::initializer_list<const Metadata*> stored,
                                               const Shape& input, const Log& log) const;
  // `most` above 0 limits the samples further.
  std::unique_ptr<Dataset> open(const std::optional<std::string>& chosen, int64_t most = 0) const;
};

// As only_input of dataset_runner.h.
Shape only_input(const Graph& graph);

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

  QuantizeOptions options() const;
  RangeOptions range_options() const;
  ChannelScaleOptions scale_options() const;
};

// A float model in the form that placement expects. Throws Error when it is already quantized.
struct FloatModel {
  std::filesystem::path path;
  uint64_t hash = 0;
  Graph graph;
  std::vector<MappedFile> files;              // in which its constants lie
  std::set<std::string, std::less<>> values;  // names in the file

  // Gives back the memory of the constants that were read, and what was freed.
  void drop_pages() const;
};
FloatModel load_float_model(const std::filesystem::path& path);
// From a graph as it was imported.
FloatModel float_model(Graph imported, const std::filesystem::path& path, uint64_t hash,
                       std::vector<MappedFile> files);
// Of the model's file and what lies beside it.
uint64_t model_hash(const std::vector<MappedFile>& files);

// Whether it has Q/DQ nodes.
bool is_quantized(const Graph& graph);

// Observes what `placement` stores in 8 bits (and `also`, by name) while `engine`, built from the model, runs
// over these samples of the data. Checkpoints are parts too.
struct PartCheckpoint {
  std::chrono::steady_clock::duration every{};
  std::function<void(const CalibrationPart&)> save;
};
CalibrationPart observe_part(const FloatModel& model, const engine::Engine& engine,
                             const Placement& placement, const QuantizationArguments& arguments,
                             const Dataset& data, const std::vector<int64_t>& samples,
                             const std::optional<std::string>& preprocess, const RunnerOptions& runner,
                             const std::vector<std::string>& also = {},
                             const PartCheckpoint& checkpoint = {});

// The same over all samples, and the table of it. Throws Error when no input varies.
Calibrated calibrate(const FloatModel& model, const engine::Engine& engine, const Placement& placement,
                     const QuantizationArguments& arguments, const Dataset& data,
                     const std::optional<std::string>& preprocess, const RunnerOptions& runner,
                     const std::vector<std::string>& also = {});

// What a table that serves every use of a model has in addition: the network's outputs, and what other
// targets want in 8 bits. Left out is what the float engine computes inside of a step (a convolution's sums
// before a residual, which the target "onnxruntime" wants).
std::vector<std::string> whole_values(const Graph& graph, QuantizeOptions options);
// The table that serves every use of a model.
Calibrated calibrate_whole(const FloatModel& model, const QuantizationArguments& arguments,
                           const Dataset& data, const std::optional<std::string>& preprocess,
                           const RunnerOptions& runner);
// The target of an engine of ours that is made from a TensorRT cache.
inline constexpr const char* kOctetSymmetric = "octet-symmetric";

// A TensorRT cache with the scales of a table for the target "tensorrt". It has every tensor that is 8-bit:
// those that are only moved have the scale of their group. `algorithm` empty: the one of the table's method.
std::string tensorrt_cache_of(const FloatModel& model, CalibrationTable table, QuantizeOptions options,
                              const std::string& algorithm = {});

// Names of the values whose ranges a placement needs.
std::vector<std::string> placed_values(const Graph& graph, const Placement& placement);

}  // namespace octet
