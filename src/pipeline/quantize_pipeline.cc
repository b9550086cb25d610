#include "pipeline/quantize_pipeline.h"

#include <algorithm>

#include "build/build.h"
#include "calibrate/late_ranges.h"
#include "calibrate/tensorrt_cache.h"
#include "data/preprocess.h"
#include "data/synthetic.h"
#include "onnx/onnx.h"
#include "ops/op_def.h"
#include "pipeline/files.h"
#include "pipeline/recipe_search.h"
#include "pipeline/text.h"
#include "pipeline/trial_budget.h"

namespace octet {
namespace {

constexpr int64_t kReportSamples = 16;

// What --data would be, made up; the preprocessing is chosen where none is known.
std::unique_ptr<Dataset> stand_in(const Graph& graph, std::optional<std::string>& preprocess, int64_t most,
                                  bool explain, const Log& log) {
  const int64_t count = most > 0 ? std::min(most, kSyntheticSamples) : kSyntheticSamples;
  std::map<std::string, SyntheticInput> inputs;
  for (ValueId v : graph.inputs()) {
    if (graph.only_input() != kNoId && v != graph.only_input()) continue;
    const DType dtype = *graph.value(v).dtype;
    SyntheticInput input{is_half(dtype) ? DType::kFloat32 : dtype, {}};
    for (const Dim& d : *graph.value(v).shape) input.shape.push_back(d.known() ? d.value() : 0);
    inputs.emplace(graph.value(v).name, std::move(input));
  }
  const bool one_float = inputs.size() == 1 && inputs.begin()->second.dtype == DType::kFloat32;
  const std::string guess = one_float ? guess_preprocess(inputs.begin()->second.shape) : "";
  if (!guess.empty() || preprocess) {
    if (explain && !preprocess)
      warn(log, fmt::format("guessed --preprocess \"{}\" from the input's shape: give the right one", guess));
    if (!preprocess) preprocess = guess;
    if (explain)
      note(log, fmt::format("no --data: {} synthetic images stand in; real ones give classifiers 1 to 2 dB "
                            "more, detectors 2 to 8",
                            count));
    return synthetic_images(*preprocess, count);
  }
  for (auto& [name, input] : inputs)
    std::replace(input.shape.begin(), input.shape.end(), int64_t{0}, int64_t{1});
  if (explain)
    note(log,
         "no --data: the inputs are standard normal noise (and ones where they are integers); ranges from "
         "real data are better, often by much");
  return synthetic_arrays(std::move(inputs), count);
}

LoadedTable given_table(const QuantizeArguments& arguments) {
  return arguments.loaded ? *arguments.loaded : load_any_table(arguments.table);
}

// Whose a cache is only its names say: those that the model lacks, and those that the cache lacks.
void fit_cache(const QuantizeArguments& arguments, const FloatModel& model, CalibrationTable& table,
               const Log& log) {
  const Graph& graph = model.graph;
  for (const auto& [name, tensor] : table.tensors)
    if (model.values.count(name) == 0 && !graph.find_value(name))
      warn(log, fmt::format("{}: the model has no tensor '{}'", arguments.table, name));
  const Placement placement = place(graph, arguments.quantization.options());
  std::vector<std::string> missing;
  for (const auto& members : placement.groups) {
    // What is merely moved may stand for what it was moved from.
    std::optional<TableTensor> moved;
    for (const auto& [value, group] : placement.group_of)
      if (&placement.groups[static_cast<size_t>(group)] == &members)
        if (const auto found = table.tensors.find(graph.value(value).name); found != table.tensors.end())
          if (!moved || found->second.scale > moved->scale) moved = found->second;
    for (const ValueId v : members) {
      const std::string& name = graph.value(v).name;
      if (table.tensors.count(name) > 0) continue;
      if (moved) {
        table.tensors.emplace(name, *moved);
        continue;
      }
      missing.push_back(name);
    }
  }
  for (const std::string& name : missing)
    warn(log, fmt::format("{}: no scale for the tensor '{}'", arguments.table, name));
  if (!missing.empty())
    fail(ErrorCode::kInvalidArgument,
         "'{}' does not belong to this model: it lacks {} that are to be 8-bit: calibrate this model with "
         "'octet calibrate --format tensorrt', or leave nodes in float with --exclude",
         arguments.table, plural(static_cast<int64_t>(missing.size()), "tensor"));
  table.model_name = model.path.filename().string();
  table.model_hash = model.hash;
}

// The table that the user gave, checked against this model and these options.
CalibrationTable reuse_table(const QuantizeArguments& arguments, const FloatModel& model, const Log& log) {
  LoadedTable loaded = given_table(arguments);
  CalibrationTable& table = loaded.table;
  if (loaded.from_tensorrt)
    fit_cache(arguments, model, table, log);
  else
    check_belongs(table, model.hash);
  const QuantizationArguments& wanted = arguments.quantization;
  const RangeOptions options = wanted.range_options();
  if (arguments.method_given && loaded.from_tensorrt)
    throw UsageError(fmt::format("--method {}: '{}' is a TensorRT cache, whose scales are taken as they are",
                                 wanted.method, arguments.table));
  if (arguments.method_given) {
    const RangeMethod method = parse_range_method(wanted.method);
    if (method == RangeMethod::kPercentile && table.options.percentile != options.percentile)
      throw UsageError(fmt::format("--percentile {}: '{}' has ranges of {} %; give that, or calibrate again",
                                   options.percentile, arguments.table, table.options.percentile));
    choose_method(table, method);
  }
  if (table.options.dtype != options.dtype || table.options.symmetric != options.symmetric)
    warn(log,
         fmt::format("the ranges of '{}' were chosen for another target: calibrate with --target {} for the "
                     "best result",
                     arguments.table, wanted.target));
  return table;
}

void store_metadata(Graph& graph, const QuantizeArguments& arguments, const CalibrationTable& table,
                    RangeMethod method) {
  if (!table.preprocess.empty()) graph.metadata[kPreprocessKey] = table.preprocess;
  graph.metadata["octet.version"] = OCTET_VERSION;
  graph.metadata["octet.target"] = arguments.quantization.target;
  const bool synthetic = !arguments.data.given() && arguments.table.empty();
  graph.metadata["octet.calibration"] =
      fmt::format("{} over {} {}samples, data {}", range_method_name(method), table.samples,
                  synthetic ? "synthetic " : "", hash_text(table.data_hash));
}

void refuse_nothing(const Placement& placement) {
  if (!placement.weighted.empty() || !placement.group_of.empty()) return;
  std::string why;
  if (!placement.left_out.empty()) why = ": " + placement.left_out.begin()->second;
  fail(ErrorCode::kInvalidArgument, "no node of this model can be quantized{}", why);
}

// A large model is written before the report, so that its weights need not be there twice.
bool is_large(const Graph& graph) {
  constexpr int64_t kLarge = int64_t{256} << 20;
  int64_t bytes = 0;
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    if (graph.is_constant(v)) bytes += graph.value(v).constant->bytes();
  return bytes > kLarge;
}

// Weights with one scale per tensor need channels of like size. The graph is another one then, and so is the
// hash that tables are compared by.
void equalize(const QuantizeArguments& arguments, FloatModel& model, Quantized& result, const Log& log) {
  if (!arguments.quantization.weights_per_tensor || arguments.effort.skips("equalization")) return;
  if (!arguments.table.empty()) {
    const LoadedTable given = given_table(arguments);
    if (given.from_tensorrt || given.table.model_hash == model.hash) {
      warn(log,
           fmt::format("the ranges of '{}' are of the model before equalization, which is left out: without "
                       "--table it would take part",
                       arguments.table));
      return;
    }
  }
  result.equalization = equalize_weights(model.graph);
  infer_shapes(model.graph);
  model.hash = model.hash * 0x9e3779b97f4a7c15u + 1;
}

// For targets with one scale per tensor. The table that is kept stays that of the network before, so that it
// can serve again.
bool smooth(const QuantizeArguments& arguments, bool synthetic, FloatModel& model, Quantized& result) {
  const QuantizationArguments& q = arguments.quantization;
  const QuantizeOptions options = q.options();
  const CalibrationTable& table = result.calibrated.table;
  const ChannelScaleOptions scales = scale_options(q, synthetic);
  if (options.target->channel_scales || scales.scales == ActivationScales::kTensor || q.weights_per_tensor ||
      options.weights_only || table.samples < scales.fewest_images || arguments.effort.skips("smoothing"))
    return false;
  const ChosenParams chosen = choose_activation_params(model.graph, result.placement, options, table, scales);
  result.smoothed = smooth_channels(model.graph, result.placement, options, chosen);
  if (result.smoothed.empty()) return false;
  result.first_table = table;
  return true;
}

// For targets whose activations are symmetric.
bool center(const QuantizeArguments& arguments, FloatModel& model, Quantized& result) {
  const QuantizeOptions options = arguments.quantization.options();
  if (!options.target->symmetric || options.weights_only || arguments.effort.skips("centering")) return false;
  const CalibrationTable table = result.calibrated.table;
  result.centered = center_tensors(model.graph, result.placement, table);
  if (result.centered.empty()) return false;
  if (!result.first_table) result.first_table = table;
  return true;
}

// The tensors that 8 bits harm most, for targets with one scale each. Who brings scales wants those.
void keep_in_float(const QuantizeArguments& arguments, const RecipeSetup& setup,
                   QuantizationArguments& quantization, Quantized& result) {
  constexpr int kMost = 5, kMostOfBest = 10;
  const CalibrationTable& table = result.calibrated.table;
  const QuantizeOptions options = quantization.options();
  const bool given = std::any_of(table.tensors.begin(), table.tensors.end(),
                                 [](const auto& entry) { return entry.second.scale > 0; });
  if (options.target->channel_scales || options.weights_only || given || arguments.effort.effort == "fast" ||
      arguments.effort.skips("float-tensors"))
    return;
  result.float_tensors =
      choose_float_tensors(setup, table, arguments.effort.effort == "best" ? kMostOfBest : kMost);
  for (const FloatTensor& t : result.float_tensors.kept)
    quantization.exclude.insert(quantization.exclude.end(), t.layers.begin(), t.layers.end());
  const Graph& graph = setup.model.graph;
  result.placement = place(graph, quantization.options());
  for (auto& [id, reason] : result.placement.left_out)
    if (keeps_float(result.float_tensors, graph.node(id).name)) reason = "8 bits lose too much of its input";
}

// What is to be expected: --effort, its seconds, and what it tries.
void expect(const RecipeSetup& setup, const Log& log) {
  const auto data = setup.data(0);
  const int trials = trials_of_default(setup, *data);
  note(log, fmt::format("effort {}: about {:.0f} s{}", setup.effort.effort,
                        std::max(1.0, expected_seconds(setup, *data, trials)),
                        trials > 0 ? ", in which it tries other recipes" : ""));
  if (setup.effort.effort != "best" || setup.effort.rounding != "auto" || setup.effort.skips("gptq") ||
      data->size() < kFewestToSearch)
    return;
  const int steps = plan_best(setup, *data).iterations;
  if (steps == 0)
    note(log, "blocks are not learned: that would take too long here; --rounding brecq does it nonetheless");
  else if (steps < BlockOptions().iterations)
    note(log, fmt::format("blocks are learned with {} steps instead of {}, which would take too long; "
                          "--rounding brecq takes all",
                          steps, BlockOptions().iterations));
}

}  // namespace

void write_quantized(const QuantizeArguments& arguments, const Quantized& result) {
  const HoldSignals hold;
  ExportOptions options;
  options.external_data = arguments.external_data;
  export_onnx(result.done.graph, arguments.output, options);
  if (arguments.save_table.empty()) return;
  save_table(result.first_table ? *result.first_table : result.calibrated.table, arguments.save_table);
}

Quantized quantize(const QuantizeArguments& arguments, FloatModel& model, Progress& progress,
                   const Log& log) {
  Quantized result;
  equalize(arguments, model, result, log);
  QuantizationArguments quantization = arguments.quantization;  // and which tensors stay in float
  const QuantizeOptions options = arguments.quantization.options();
  result.placement = place(model.graph, options);
  refuse_nothing(result.placement);
  Metadata stored = model.graph.metadata;
  if (!arguments.table.empty()) {
    result.calibrated.table = reuse_table(arguments, model, log);
    if (const std::string& p = result.calibrated.table.preprocess; !p.empty()) stored[kPreprocessKey] = p;
  }
  auto preprocess = arguments.data.choose_preprocess({&stored}, only_input(model.graph), log);
  engine::Engine float_engine(build_engine(model.graph));
  RecipeSetup setup{model,
                    float_engine,
                    result.placement,
                    quantization,
                    arguments.effort,
                    arguments.threads,
                    progress,
                    {},
                    false,
                    {},
                    arguments.method_given};
  if (arguments.data.given())
    setup.data = [&](int64_t most) { return arguments.data.open(preprocess, most); };
  if (arguments.table.empty())
    setup.calibrate = [&](const Dataset& some) {
      CalibrationTable table = calibrate(model, float_engine, result.placement, arguments.quantization, some,
                                         preprocess, setup.runner("calibrating"))
                                   .table;
      if (setup.synthetic && !table.preprocess.empty()) widen_late_ranges(model.graph, table);
      return table;
    };
  if (!arguments.data.given() && arguments.table.empty()) {
    setup.synthetic = true;
    setup.data = [&](int64_t most) { return stand_in(model.graph, preprocess, most, false, log); };
    stand_in(model.graph, preprocess, 0, true, log);
  }
  if (setup.data) expect(setup, log);
  if (arguments.table.empty()) {
    const auto data = setup.data(0);
    const auto run = [&] {
      result.calibrated = calibrate(model, float_engine, result.placement, arguments.quantization, *data,
                                    preprocess, setup.runner("calibrating"));
      CalibrationTable& table = result.calibrated.table;
      if (setup.synthetic && !table.preprocess.empty()) widen_late_ranges(model.graph, table);
    };
    const auto again = [&] {  // the graph has changed
      infer_shapes(model.graph);
      result.placement = place(model.graph, options);
      float_engine = engine::Engine(build_engine(model.graph));
      run();
    };
    run();
    // A table that is kept is of the network before absorption, so that it can serve again.
    if (result.equalization && arguments.save_table.empty() && !setup.synthetic &&
        !arguments.effort.skips("absorption"))
      result.absorption = absorb_high_biases(model.graph, result.calibrated.table);
    if (result.absorption.layers > 0) again();
    if (smooth(arguments, setup.synthetic, model, result)) again();
    if (center(arguments, model, result)) again();
  }
  const CalibrationTable& table = result.calibrated.table;
  keep_in_float(arguments, setup, quantization, result);
  result.done = quantize_by_recipe(setup, table, log);
  if (options.target->quantized_sums) spell_softmax_of_two_as_sigmoid(result.done.graph);
  model.drop_pages();
  store_metadata(result.done.graph, arguments, table, result.done.method);
  if (arguments.effort.effort == "fast") {
    result.float_nodes = float_nodes(model.graph, result.placement, nullptr);
    return result;
  }
  const engine::Engine engine(build_engine(result.done.graph));
  result.float_nodes = float_nodes(model.graph, result.placement, &engine.model());
  if (!setup.data) return result;
  if (!arguments.output.empty() && is_large(result.done.graph)) {
    write_quantized(arguments, result);
    result.written = true;
    result.done.graph = Graph();
  }
  model.drop_pages();
  const auto data = setup.data(kReportSamples);
  const Comparison comparison = compare_engines(float_engine, engine, *data, setup.runner("comparing"));
  result.report = make_report(model.graph, result.done.layers, comparison);
  return result;
}

}  // namespace octet
