// octet quantize: calibrate, quantize, write Q/DQ ONNX, say what it cost.
#include <CLI/CLI.hpp>

#include "build/build.h"
#include "calibration.h"
#include "command.h"
#include "common.h"
#include "data/preprocess.h"
#include "data/synthetic.h"
#include "onnx/onnx.h"
#include "quantize_report.h"
#include "recipe.h"

namespace octet::tools {
namespace {

constexpr int64_t kReportSamples = 16;

struct Arguments {
  CommonArguments common;
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output, table, save_table;
  EffortArguments effort;
  bool method_given = false;
  bool verbose = false;
  bool external_data = false;
};

// What --data would be, made up; the preprocessing is chosen where none is known.
std::unique_ptr<Dataset> stand_in(const Graph& graph, std::optional<std::string>& preprocess, int64_t most,
                                  bool explain) {
  const int64_t count = most > 0 ? std::min(most, kSyntheticSamples) : kSyntheticSamples;
  std::map<std::string, SyntheticInput> inputs;
  for (ValueId v : graph.inputs()) {
    SyntheticInput input{*graph.value(v).dtype, {}};
    for (const Dim& d : *graph.value(v).shape) input.shape.push_back(d.known() ? d.value() : 0);
    inputs.emplace(graph.value(v).name, std::move(input));
  }
  const bool one_float = inputs.size() == 1 && inputs.begin()->second.dtype == DType::kFloat32;
  const std::string guess = one_float ? guess_preprocess(inputs.begin()->second.shape) : "";
  if (!guess.empty() || preprocess) {
    if (explain && !preprocess)
      warn(fmt::format("guessed --preprocess \"{}\" from the input's shape: give the right one", guess));
    if (!preprocess) preprocess = guess;
    if (explain)
      note(
          fmt::format("no --data: {} synthetic images stand in; real ones give classifiers 1 to 4 dB "
                      "more, detectors up to 9",
                      count));
    return synthetic_images(*preprocess, count);
  }
  for (auto& [name, input] : inputs)
    std::replace(input.shape.begin(), input.shape.end(), int64_t{0}, int64_t{1});
  if (explain)
    note(
        "no --data: the inputs are standard normal noise (and ones where they are integers); ranges from "
        "real data are better, often by much");
  return synthetic_arrays(std::move(inputs), count);
}

// Everything between the command line and the report.
struct Quantized {
  Placement placement;
  Calibrated calibrated;
  RecipeResult done;
  std::optional<QuantizeReport> report;
  std::vector<FloatNode> float_nodes;
  bool written = false;  // and `graph` is empty
};

void check_arguments(const Arguments& arguments) {
  check_writable(arguments.output, {arguments.model, arguments.table});
  if (!arguments.save_table.empty())
    check_writable(arguments.save_table, {arguments.model, arguments.table, arguments.output});
}

// The table that the user gave, checked against this model and these options.
CalibrationTable reuse_table(const Arguments& arguments, const FloatModel& model) {
  CalibrationTable table = load_table(arguments.table);
  check_belongs(table, model.hash);
  const QuantizationArguments& wanted = arguments.quantization;
  if (arguments.method_given && table.method != parse_range_method(wanted.method))
    throw UsageError(fmt::format("--method {}: the ranges of '{}' were chosen by {}; calibrate again",
                                 wanted.method, arguments.table, range_method_name(table.method)));
  const RangeOptions options = wanted.range_options();
  if (table.options.dtype != options.dtype || table.options.symmetric != options.symmetric)
    warn(
        fmt::format("the ranges of '{}' were chosen for another target: calibrate with --target {} for the "
                    "best result",
                    arguments.table, wanted.target));
  return table;
}

void store_metadata(Graph& graph, const Arguments& arguments, const CalibrationTable& table) {
  if (!table.preprocess.empty()) graph.metadata[kPreprocessKey] = table.preprocess;
  graph.metadata["octet.version"] = OCTET_VERSION;
  graph.metadata["octet.target"] = arguments.quantization.target;
  const bool synthetic = arguments.data.data.empty() && arguments.table.empty();
  graph.metadata["octet.calibration"] =
      fmt::format("{} over {} {}samples, data {}", range_method_name(table.method), table.samples,
                  synthetic ? "synthetic " : "", hash_text(table.data_hash));
}

void refuse_nothing(const Placement& placement) {
  if (!placement.weighted.empty() || !placement.group_of.empty()) return;
  std::string why;
  if (!placement.left_out.empty()) why = ": " + placement.left_out.begin()->second;
  fail(ErrorCode::kInvalidArgument, "no node of this model can be quantized{}", why);
}

void write(const Arguments& arguments, const Quantized& result) {
  const HoldSignals hold;
  ExportOptions options;
  options.external_data = arguments.external_data;
  export_onnx(result.done.graph, arguments.output, options);
  if (!arguments.save_table.empty()) save_table(result.calibrated.table, arguments.save_table);
}

// A large model is written before the report, so that its weights need not be there twice.
bool is_large(const Graph& graph) {
  constexpr int64_t kLarge = int64_t{256} << 20;
  int64_t bytes = 0;
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    if (graph.is_constant(v)) bytes += graph.value(v).constant->bytes();
  return bytes > kLarge;
}

Quantized quantize(const Arguments& arguments, FloatModel& model, Progress& progress) {
  Quantized result;
  const QuantizeOptions options = arguments.quantization.options();
  result.placement = place(model.graph, options);
  refuse_nothing(result.placement);
  Metadata stored = model.graph.metadata;
  if (!arguments.table.empty()) {
    result.calibrated.table = reuse_table(arguments, model);
    if (const std::string& p = result.calibrated.table.preprocess; !p.empty()) stored[kPreprocessKey] = p;
  }
  auto preprocess = arguments.data.choose_preprocess({&stored});
  const engine::Engine float_engine(build_engine(model.graph));
  RecipeSetup setup{model,
                    float_engine,
                    result.placement,
                    arguments.quantization,
                    arguments.effort,
                    arguments.common,
                    progress,
                    {},
                    false};
  if (!arguments.data.data.empty())
    setup.data = [&](int64_t most) { return arguments.data.open(preprocess, most); };
  if (arguments.data.data.empty() && arguments.table.empty()) {
    setup.synthetic = true;
    setup.data = [&](int64_t most) { return stand_in(model.graph, preprocess, most, false); };
    stand_in(model.graph, preprocess, 0, true);
  }
  if (setup.data)
    note(fmt::format("effort {}: about {:.0f} s", arguments.effort.effort,
                     std::max(1.0, expected_seconds(setup, *setup.data(0)))));
  if (arguments.table.empty()) {
    const auto data = setup.data(0);
    result.calibrated = calibrate(model, float_engine, result.placement, arguments.quantization, *data,
                                  preprocess, arguments.common.runner(progress, "calibrating"));
  }
  const CalibrationTable& table = result.calibrated.table;
  result.done = quantize_by_recipe(setup, table);
  model.drop_pages();
  store_metadata(result.done.graph, arguments, table);
  if (arguments.effort.effort == "fast") {
    result.float_nodes = float_nodes(model.graph, result.placement, nullptr);
    return result;
  }
  const engine::Engine engine(build_engine(result.done.graph));
  result.float_nodes = float_nodes(model.graph, result.placement, &engine.model());
  if (!setup.data) return result;
  if (is_large(result.done.graph)) {
    write(arguments, result);
    result.written = true;
    result.done.graph = Graph();
  }
  model.drop_pages();
  const auto data = setup.data(kReportSamples);
  const Comparison comparison =
      compare_engines(float_engine, engine, *data, arguments.common.runner(progress, "comparing"));
  result.report = make_report(model.graph, result.done.layers, comparison);
  return result;
}

Json json_of(const Arguments& arguments, const Quantized& result, const std::vector<std::string>& warnings) {
  const CalibrationTable& table = result.calibrated.table;
  Json json{{"output", arguments.output},
            {"target", arguments.quantization.target},
            {"method", range_method_name(table.method)},
            {"preprocess", table.preprocess},
            {"samples", table.samples},
            {"synthetic", arguments.data.data.empty() && arguments.table.empty()},
            {"skipped", result.calibrated.skipped.size()},
            {"quantized_nodes", result.done.layers.size()},
            {"corrected_biases", result.done.corrected},
            {"image_grid", result.done.image_grid},
            {"activation_scales", scales_json(result.done.scales)}};
  if (result.report) {
    json["sqnr_db"] = db_json(result.report->all_outputs.sqnr_db());
    json["outputs"] = outputs_json(result.report->outputs);
    json["layers"] = layers_json(*result.report);
  }
  json["corrections"] = corrections_json(result.done);
  json["float_nodes"] = Json::array();
  for (const FloatNode& n : result.float_nodes)
    json["float_nodes"].push_back({{"name", n.node}, {"operator", n.op}, {"reason", n.reason}});
  json["warnings"] = warnings;
  return json;
}

void print_text(const Arguments& arguments, const Quantized& result) {
  const CalibrationTable& table = result.calibrated.table;
  print(fmt::format("{}: {} in 8 bits for {}; ranges by {} over {}; bias of {} corrected\n", arguments.output,
                    plural(static_cast<int64_t>(result.done.layers.size()), "node"),
                    arguments.quantization.target, range_method_name(table.method),
                    plural(static_cast<int64_t>(table.samples), "sample"),
                    plural(result.done.corrected, "layer")));
  print(scales_text(result.done.scales, arguments.verbose));
  if (result.done.image_grid)
    print(arguments.quantization.input_bytes
              ? "the input takes the images' bytes\n"
              : "the input is quantized to the images' bytes: nothing is lost there\n");
  print(corrections_text(result.done));
  if (result.report) print(report_text(*result.report, arguments.verbose));
  if (result.float_nodes.empty()) return;
  print("in float:\n");
  std::vector<std::vector<std::string>> rows;
  for (const FloatNode& n : result.float_nodes) rows.push_back({n.node, n.op, n.reason});
  print(columns(rows, 3));
}

void run(const Arguments& arguments) {
  check_arguments(arguments);
  if (arguments.data.preprocess) Preprocess::parse(*arguments.data.preprocess);
  FloatModel model = load_float_model(arguments.model);
  for (const MappedFile& file : model.files) {
    std::error_code error;
    if (std::filesystem::equivalent(file.path(), arguments.output + ".data", error))
      throw UsageError(
          fmt::format("'{}.data' holds the model's weights: give the result another name", arguments.output));
  }
  const auto progress = terminal_progress(true);
  const Quantized result = quantize(arguments, model, *progress);
  if (!result.written) write(arguments, result);

  warn_skipped(result.calibrated.skipped);
  std::vector<std::string> warnings = result.calibrated.problems;
  if (result.report)
    for (std::string& w : quality_warnings(*result.report)) warnings.push_back(std::move(w));
  if (arguments.common.json)
    print_json(json_of(arguments, result, warnings));
  else
    print_text(arguments, result);
  for (const std::string& w : warnings) warn(w);
}

}  // namespace

Command add_quantize(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "quantize", "Calibrate a float ONNX model, quantize it, and write it with Q/DQ nodes.");
  const auto a = std::make_shared<Arguments>();
  app->add_option("MODEL", a->model, "float ONNX model")->required();
  app->add_option("-o,--output", a->output, "the quantized ONNX model")->required()->type_name("OUT.onnx");
  a->data.add(*app, /*required=*/false);
  a->quantization.add(*app, /*whole=*/true);
  app->add_option("--table", a->table,
                  "take the ranges from this calibration table; --data is then only for "
                  "correcting biases and for the report")
      ->type_name("TABLE");
  app->add_option("--save-table", a->save_table, "also write the calibration table")->type_name("TABLE");
  app->add_flag("--external-data", a->external_data,
                "put the constants into OUT.onnx.data beside the model (always so above 2 GB)");
  a->effort.add(*app);
  app->add_flag("--verbose", a->verbose, "report on every layer, not only on the worst");
  a->common.add(*app);
  app->footer(
      "Example:\n  octet quantize demo/model.onnx --data demo/images/calib \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.int8.onnx");
  return {app, [app, a] {
            a->method_given = app->count("--method") > 0;
            run(*a);
          }};
}

}  // namespace octet::tools
