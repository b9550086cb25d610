#include "calibration.h"

#include <CLI/CLI.hpp>
#include <set>

#include "base/pages.h"
#include "common.h"
#include "onnx/onnx.h"
#include "passes/canonicalize.h"

namespace octet::tools {
namespace {

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (RangeMethod method : kRangeMethods) names.emplace_back(range_method_name(method));
  return names;
}

void refuse_quantized(const Graph& graph, const std::filesystem::path& path) {
  for (NodeId id = 0; id < graph.node_slots(); ++id) {
    const Node& node = graph.node(id);
    if (node.alive && (node.is("QuantizeLinear") || node.is("DequantizeLinear")))
      fail(ErrorCode::kInvalidArgument,
           "'{}' is already quantized (node '{}' is a {}): build it, or start from the float model",
           path.string(), node.name, node.op);
  }
}

// Values that others only copy are often views that no step makes; nobody needs their ranges.
void drop_copies(ValueStatistics& values, const Graph& graph, const Placement& placement) {
  std::set<std::string> defining;
  for (const auto& members : placement.groups)
    for (ValueId v : members) defining.insert(graph.value(v).name);
  std::erase_if(values, [&](const auto& entry) {
    return entry.second.count() == 0 && defining.count(entry.first) == 0;
  });
}

}  // namespace

void QuantizationArguments::add(CLI::App& app, bool whole) {
  app.add_option("--method", method, "how ranges are chosen")
      ->check(CLI::IsMember(method_names()))
      ->capture_default_str();
  app.add_option("--percentile", percentile, "percent of values inside the range, for --method percentile")
      ->check(CLI::Range(50.0, 100.0))
      ->capture_default_str();
  app.add_option("--target", target, "what the result is for: octet, tensorrt or onnxruntime")
      ->check(CLI::IsMember({"octet", "tensorrt", "onnxruntime"}))
      ->capture_default_str();
  const auto names = [&](const std::string& flag, std::vector<std::string>& list, const std::string& help) {
    app.add_option(flag, list, help)->allow_extra_args(false)->type_name("NODE");
  };
  names("--include", include, "quantize only nodes of this name or operator type; may be repeated");
  names("--exclude", exclude, "leave nodes of this name or operator type in float; may be repeated");
  if (!whole) return;
  app.add_option("--activation-scales", activation_scales,
                 "one scale per activation tensor, or one per channel wherever that helps; auto: per channel "
                 "where it gains 6 dB or more and the target takes it")
      ->check(CLI::IsMember({"auto", "tensor", "channel"}))
      ->capture_default_str();
  app.add_option(
         "--activations", activations,
         "float: only weights and embeddings become 8 bits, which makes the file a quarter; layers compute "
         "in float")
      ->check(CLI::IsMember({"int8", "float"}))
      ->capture_default_str();
  app.add_option(
         "--weights", weights,
         "int4: weights of 4 bits, except in the first and the last layers and in depthwise ones; the "
         "engine multiplies them as 8 bits")
      ->check(CLI::IsMember({"int8", "int4"}))
      ->capture_default_str();
  app.add_flag("--weights-per-tensor", weights_per_tensor,
               "one scale per weight tensor, not per channel; the channels are equalized before");
  app.add_flag("--input-bytes", input_bytes,
               "the model takes images as uint8 [N,C,H,W], before mean, std and scale of the preprocessing");
  app.add_flag("--quantize-outputs", quantize_outputs,
               "the network's outputs are 8-bit too, for build --int8-only");
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

FloatModel load_float_model(const std::filesystem::path& path) {
  if (const FileKind kind = file_kind(path); kind != FileKind::kModel)
    fail(ErrorCode::kBadFile, "'{}' is {}: expected an ONNX model", path.string(),
         kind == FileKind::kEngine ? "an engine" : "no model");
  FloatModel model{path, 0, {}, {}};
  ImportOptions options;
  options.files = &model.files;
  model.graph = import_onnx(path, options);
  model.hash = file_hash(path);
  // Weights beside the model are part of it.
  for (size_t i = 1; i < model.files.size(); ++i)
    model.hash = model.hash * 0x9e3779b97f4a7c15u + content_hash(model.files[i]);
  refuse_quantized(model.graph, path);
  canonicalize(model.graph);
  return model;
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

}  // namespace octet::tools
