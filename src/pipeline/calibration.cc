#include "pipeline/calibration.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/pages.h"
#include "build/build.h"
#include "calibrate/tensorrt_cache.h"
#include "data/preprocess.h"
#include "onnx/onnx.h"
#include "passes/canonicalize.h"
#include "pipeline/files.h"
#include "pipeline/text.h"

namespace octet {
namespace {

// Values that stand for what is computed; others are copies of them.
std::set<std::string> defining_values(const Graph& graph, const Placement& placement) {
  std::set<std::string> names;
  for (const auto& members : placement.groups)
    for (ValueId v : members) names.insert(graph.value(v).name);
  return names;
}

// The first samples of a data set that others hold, or all.
class FirstSamples final : public Dataset {
 public:
  FirstSamples(std::shared_ptr<const Dataset> all, int64_t most)
      : all_(std::move(all)), size_(most > 0 ? std::min(most, all_->size()) : all_->size()) {}
  int64_t size() const override { return size_; }
  const std::string& name(int64_t i) const override { return all_->name(i); }
  bool images() const override { return all_->images(); }
  Sample load(int64_t i) const override { return all_->load(i); }
  uint64_t content_hash() const override { return all_->content_hash(); }
  uint64_t sample_hash(int64_t i) const override { return all_->sample_hash(i); }

 private:
  std::shared_ptr<const Dataset> all_;
  int64_t size_;
};

}  // namespace

std::optional<std::string> DataArguments::choose_preprocess(std::initializer_list<const Metadata*> stored,
                                                            const Shape& input, const Log& log) const {
  const auto canonical = [&](const std::string& text) {
    Preprocess parsed = Preprocess::parse(text);
    parsed.fit(input);
    return parsed.text();
  };
  std::optional<std::string> found;
  for (const Metadata* metadata : stored) {
    const auto entry = metadata->find(kPreprocessKey);
    if (!found && entry != metadata->end() && !entry->second.empty()) found = canonical(entry->second);
  }
  if (!preprocess) return found;
  const std::string given = canonical(*preprocess);
  if (found && *found != given)
    note(log, fmt::format("--preprocess \"{}\" differs from the stored \"{}\"", given, *found));
  return given;
}

Shape only_input(const Graph& graph) {
  const ValueId input = graph.only_input();
  return input != kNoId && graph.value(input).shape ? known_sizes(*graph.value(input).shape) : Shape();
}

std::unique_ptr<Dataset> DataArguments::open(const std::optional<std::string>& chosen, int64_t most) const {
  const int64_t count = limit > 0 && most > 0 ? std::min(limit, most) : std::max(limit, most);
  if (samples != nullptr) return std::make_unique<FirstSamples>(samples, count);
  DataOptions options;
  options.preprocess = chosen;
  options.skip_bad = skip_bad;
  options.limit = count;
  return open_data(data, options);
}

QuantizeOptions QuantizationArguments::options() const {
  QuantizeOptions options;
  options.target = &find_target(target);
  options.weights_only = activations == "float";
  options.weights_per_tensor = weights_per_tensor;
  options.quantize_outputs = quantize_outputs;
  options.include = include;
  options.exclude = exclude;
  return options;
}

RangeOptions QuantizationArguments::range_options() const {
  const TargetRules& rules = find_target(target);
  RangeOptions options;
  options.dtype = rules.activation;
  options.symmetric = rules.symmetric;
  options.percentile = percentile;
  return options;
}

ChannelScaleOptions QuantizationArguments::scale_options() const {
  ChannelScaleOptions options;
  options.scales = parse_activation_scales(activation_scales);
  return options;
}

void FloatModel::drop_pages() const {
  for (const MappedFile& file : files) octet::drop_pages(file.bytes());
  return_freed_memory();
}

bool is_quantized(const Graph& graph) {
  for (NodeId id = 0; id < graph.node_slots(); ++id) {
    const Node& node = graph.node(id);
    if (node.alive && (node.is("QuantizeLinear") || node.is("DequantizeLinear"))) return true;
  }
  return false;
}

uint64_t model_hash(const std::vector<MappedFile>& files) {
  uint64_t hash = content_hash(files[0]);
  // Weights beside the model are part of it.
  for (size_t i = 1; i < files.size(); ++i) hash = hash * 0x9e3779b97f4a7c15u + content_hash(files[i]);
  return hash;
}

FloatModel float_model(Graph imported, const std::filesystem::path& path, uint64_t hash,
                       std::vector<MappedFile> files) {
  FloatModel model{path, hash, std::move(imported), std::move(files), {}};
  for (NodeId id = 0; id < model.graph.node_slots(); ++id) {
    const Node& node = model.graph.node(id);
    if (node.alive && (node.is("QuantizeLinear") || node.is("DequantizeLinear")))
      fail(ErrorCode::kInvalidArgument,
           "'{}' is already quantized (node '{}' is a {}): build it, or start from the float model",
           path.string(), node.name, node.op);
  }
  for (ValueId v = 0; v < model.graph.value_slots(); ++v) model.values.insert(model.graph.value(v).name);
  canonicalize(model.graph);
  return model;
}

FloatModel load_float_model(const std::filesystem::path& path) {
  if (const FileKind kind = file_kind(path); kind != FileKind::kModel)
    fail(ErrorCode::kBadFile, "'{}' is {}: expected an ONNX model", path.string(),
         kind == FileKind::kEngine ? "an engine" : "no model");
  std::vector<MappedFile> files;
  ImportOptions options;
  options.files = &files;
  Graph graph = import_onnx(path, options);
  const uint64_t hash = model_hash(files);
  return float_model(std::move(graph), path, hash, std::move(files));
}

std::vector<std::string> placed_values(const Graph& graph, const Placement& placement) {
  std::vector<std::string> names;
  for (const auto& members : placement.groups)
    for (ValueId value : members) names.push_back(graph.value(value).name);
  return names;
}

namespace {

// Of these names, those that no step of the engine makes: what it computes inside of a step.
std::vector<std::string> hidden_values(const engine::Model& model, const std::vector<std::string>& names) {
  std::set<std::string> hidden(names.begin(), names.end());
  for (const int32_t t : model.inputs) hidden.erase(model.tensors[t].name);
  for (const engine::StepDef& step : model.steps)
    for (const int32_t t : step.outputs) hidden.erase(model.tensors[t].name);
  return {hidden.begin(), hidden.end()};
}

// An engine that shows them all, where `engine` does not: what is hidden becomes an output of the network.
// Then another value of the same sum may go into a step, so there are several rounds.
std::optional<engine::Engine> showing_engine(const FloatModel& model, const engine::Engine& engine,
                                             const std::vector<std::string>& names) {
  constexpr int kRounds = 4;
  std::optional<engine::Engine> shows;
  Graph graph = model.graph;
  for (int round = 0; round < kRounds; ++round) {
    const auto hidden = hidden_values(shows ? shows->model() : engine.model(), names);
    if (hidden.empty()) break;
    for (const std::string& name : hidden)
      if (const auto value = graph.find_value(name); value && !graph.is_output(*value))
        graph.mark_output(*value);
    shows.emplace(build_engine(graph));
  }
  return shows;
}

// Data that say nothing about any input give ranges that mean nothing.
void refuse_constant_data(const Graph& graph, const CalibrationTable& table) {
  std::string inputs;
  for (const ValueId input : graph.inputs()) {
    const auto found = table.tensors.find(graph.value(input).name);
    if (found == table.tensors.end()) continue;
    const TableTensor& t = found->second;
    const bool finite = t.nan + t.infinite < t.count;
    if (finite && t.min < t.max) return;
    inputs += fmt::format("{}'{}' is {} everywhere", inputs.empty() ? "" : ", ", found->first,
                          finite      ? fmt::format("{}", t.min)
                          : t.nan > 0 ? "not a number"
                                      : "infinite");
  }
  if (!inputs.empty())
    fail(ErrorCode::kInvalidArgument, "the calibration data are constant: {} in {} samples; give real data",
         inputs, table.samples);
}

}  // namespace

CalibrationPart observe_part(const FloatModel& model, const engine::Engine& engine,
                             const Placement& placement, const QuantizationArguments& arguments,
                             const Dataset& data, const std::vector<int64_t>& samples,
                             const std::optional<std::string>& preprocess, const RunnerOptions& runner,
                             const std::vector<std::string>& also, const PartCheckpoint& checkpoint) {
  CalibrationPart frame;
  frame.octet_version = OCTET_VERSION;
  frame.model_name = model.path.filename().string();
  frame.model_hash = model.hash;
  frame.names_hash = names_hash(data);
  frame.total = data.size();
  frame.target = arguments.target;
  frame.method = parse_range_method(arguments.method);
  frame.options = arguments.range_options();
  if (data.images()) frame.preprocess = preprocess.value_or("");
  frame.isa = isa_name(current_isa());
  const std::set<std::string> defining = defining_values(model.graph, placement);
  const Energies energies = reader_energies(model.graph);
  const auto part_of = [&](const Observed& observed) {
    CalibrationPart part = frame;
    for (const int64_t i : observed.done)
      part.samples.push_back({i, name_hash(data.name(i)), data.sample_hash(i), false, {}, {}});
    for (const SkippedSample& s : observed.skipped)
      part.samples.push_back({s.index, name_hash(s.name), data.sample_hash(s.index), true, s.name, s.reason});
    std::sort(part.samples.begin(), part.samples.end(),
              [](const PartSample& a, const PartSample& b) { return a.index < b.index; });
    for (const auto& [name, statistics] : observed.values) {
      PartTensor& tensor = part.tensors[name];
      tensor.statistics = statistics.data();
      tensor.copied = defining.count(name) == 0;
      const auto found = energies.find(name);
      if (found != energies.end() && found->second.size() == tensor.statistics.channels.size())
        tensor.energies = found->second;
    }
    return part;
  };
  Checkpoint plain;
  plain.every = checkpoint.every;
  if (checkpoint.save) plain.save = [&](const Observed& observed) { checkpoint.save(part_of(observed)); };
  std::vector<std::string> names = placed_values(model.graph, placement);
  const auto showing = showing_engine(model, engine, names);
  names.insert(names.end(), also.begin(), also.end());
  return part_of(observe_values(showing ? *showing : engine, data, samples, names, runner,
                                channel_values(model.graph, placement, arguments.options()), plain));
}

Calibrated calibrate(const FloatModel& model, const engine::Engine& engine, const Placement& placement,
                     const QuantizationArguments& arguments, const Dataset& data,
                     const std::optional<std::string>& preprocess, const RunnerOptions& runner,
                     const std::vector<std::string>& also) {
  std::vector<int64_t> all(static_cast<size_t>(data.size()));
  std::iota(all.begin(), all.end(), 0);
  Calibrated result =
      table_of_part(observe_part(model, engine, placement, arguments, data, all, preprocess, runner, also));
  refuse_constant_data(model.graph, result.table);
  return result;
}

std::vector<std::string> whole_values(const Graph& graph, QuantizeOptions options) {
  options.quantize_outputs = true;
  options.every_target = true;
  return placed_values(graph, place(graph, options));
}

Calibrated calibrate_whole(const FloatModel& model, const QuantizationArguments& arguments,
                           const Dataset& data, const std::optional<std::string>& preprocess,
                           const RunnerOptions& runner) {
  const QuantizeOptions options = arguments.options();
  const engine::Engine engine(build_engine(model.graph));
  return calibrate(model, engine, place(model.graph, options), arguments, data, preprocess, runner,
                   whole_values(model.graph, options));
}

std::string tensorrt_cache_of(const FloatModel& model, CalibrationTable table, QuantizeOptions options,
                              const std::string& algorithm) {
  options.quantize_outputs = true;
  TargetRules rules = options.target != nullptr ? *options.target : find_target("tensorrt");
  rules.tensor_cores = false;
  options.target = &rules;
  const Placement placement = place(model.graph, options);
  const ActivationParams params =
      tensor_params(model.graph, placement, options, [&](const std::string& value) {
        const auto found = table.tensors.find(value);
        return found == table.tensors.end() ? std::nullopt : std::optional(found->second.range);
      });
  for (const auto& [value, q] : params)
    table.tensors.try_emplace(model.graph.value(value).name).first->second.scale = q.scale[0];
  TensorRtCache cache = cache_of(table);
  if (!algorithm.empty()) cache.algorithm = algorithm;
  return tensorrt_cache_text(cache);
}

}  // namespace octet
