#include "pipeline/calibration.h"

#include <algorithm>
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

// Values that others only copy are often views that no step makes; nobody needs their ranges.
void drop_copies(ValueStatistics& values, const Graph& graph, const Placement& placement) {
  std::set<std::string> defining;
  for (const auto& members : placement.groups)
    for (ValueId v : members) defining.insert(graph.value(v).name);
  std::erase_if(values, [&](const auto& entry) {
    return entry.second.count() == 0 && defining.count(entry.first) == 0;
  });
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

 private:
  std::shared_ptr<const Dataset> all_;
  int64_t size_;
};

}  // namespace

std::optional<std::string> DataArguments::choose_preprocess(std::initializer_list<const Metadata*> stored,
                                                            const Log& log) const {
  std::optional<std::string> found;
  for (const Metadata* metadata : stored) {
    const auto entry = metadata->find(kPreprocessKey);
    if (!found && entry != metadata->end() && !entry->second.empty())
      found = Preprocess::parse(entry->second).text();
  }
  if (!preprocess) return found;
  const std::string given = Preprocess::parse(*preprocess).text();
  if (found && *found != given)
    note(log, fmt::format("--preprocess \"{}\" differs from the stored \"{}\"", given, *found));
  return given;
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

Calibrated calibrate(const FloatModel& model, const engine::Engine& engine, const Placement& placement,
                     const QuantizationArguments& arguments, const Dataset& data,
                     const std::optional<std::string>& preprocess, const RunnerOptions& runner,
                     const std::vector<std::string>& also) {
  std::vector<std::string> names = placed_values(model.graph, placement);
  names.insert(names.end(), also.begin(), also.end());
  Observed observed = observe_values(engine, data, names, runner,
                                     channel_values(model.graph, placement, arguments.options()));
  drop_copies(observed.values, model.graph, placement);

  Calibrated result;
  CalibrationTable& table = result.table;
  table.octet_version = OCTET_VERSION;
  table.model_name = model.path.filename().string();
  table.model_hash = model.hash;
  table.data_hash = data.content_hash();
  table.samples = observed.samples;
  table.method = parse_range_method(arguments.method);
  table.options = arguments.range_options();
  if (data.images()) table.preprocess = preprocess.value_or("");
  table.isa = isa_name(current_isa());
  table.tensors = choose_ranges(observed.values, table.method, table.options, reader_energies(model.graph));
  result.problems = problems(observed.values);
  result.skipped = observed.skipped;
  return result;
}

Calibrated calibrate_whole(const FloatModel& model, const QuantizationArguments& arguments,
                           const Dataset& data, const std::optional<std::string>& preprocess,
                           const RunnerOptions& runner) {
  QuantizeOptions options = arguments.options();
  const Placement placement = place(model.graph, options);
  options.quantize_outputs = true;
  const engine::Engine engine(build_engine(model.graph));
  return calibrate(model, engine, placement, arguments, data, preprocess, runner,
                   placed_values(model.graph, place(model.graph, options)));
}

std::string tensorrt_cache_of(const FloatModel& model, CalibrationTable table, QuantizeOptions options,
                              const std::string& algorithm) {
  options.quantize_outputs = true;
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
