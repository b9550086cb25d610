// octet quantize: calibrate, quantize, write Q/DQ ONNX, say what it cost.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "arguments.h"
#include "command.h"
#include "common.h"
#include "data/preprocess.h"
#include "loader_script.h"
#include "onnx/onnx.h"
#include "ops/op_def.h"
#include "pipeline/quantize_pipeline.h"
#include "quantize_report.h"

namespace octet::tools {
namespace {

// With what only the command has.
struct Arguments : QuantizeArguments {
  CommonArguments common;
  std::string loader;
  bool percentile_given = false;
  bool verbose = false;
};

void check_arguments(const Arguments& arguments) {
  const QuantizationArguments& q = arguments.quantization;
  check_percentile(q, arguments.percentile_given);
  if (arguments.data.data.empty() && arguments.loader.empty() && arguments.data.limit > 0)
    throw UsageError("--limit counts samples of --data or --data-loader-script, and neither is given");
  if (arguments.data.data.empty() && arguments.data.skip_bad)
    throw UsageError("--skip-bad-images is about --data, which is not given");
  if (q.weights == "int4" && q.weights_per_tensor)
    throw UsageError("--weights int4 has scales per channel: not with --weights-per-tensor");
  if (arguments.effort.rounding != "auto") {
    if (arguments.effort.effort == "fast")
      throw UsageError(
          fmt::format("--rounding {}: --effort fast rounds to the nearest", arguments.effort.rounding));
    if (arguments.effort.skips("gptq"))
      throw UsageError(
          fmt::format("--rounding {}: --skip gptq rounds to the nearest", arguments.effort.rounding));
  }
  if (q.activations == "float") {
    const char* other = q.quantize_outputs                 ? "--quantize-outputs"
                        : q.input_bytes                    ? "--input-bytes"
                        : q.activation_scales == "channel" ? "--activation-scales channel"
                                                           : nullptr;
    if (other != nullptr) throw UsageError(fmt::format("--activations float leaves nothing for {}", other));
  }
  if (q.input_bytes && !find_target(q.target).channel_scales && find_target(q.target).symmetric)
    throw UsageError(fmt::format("--input-bytes: target {} takes no unsigned bytes", q.target));
  if (q.weights == "int4" &&
      (arguments.effort.effort == "fast" || q.activations == "float" ||
       (!arguments.table.empty() && arguments.data.data.empty() && arguments.loader.empty())))
    throw UsageError(
        "--weights int4 needs data to correct the layers with, which --effort fast, --activations float and "
        "--table without --data do not use");
  check_writable(arguments.output, {arguments.model, arguments.table});
  if (!arguments.save_table.empty())
    check_writable(arguments.save_table, {arguments.model, arguments.table, arguments.output});
}

Json json_of(const Arguments& arguments, const Quantized& result, const std::vector<std::string>& warnings) {
  const CalibrationTable& table = result.calibrated.table;
  Json json{{"output", arguments.output},
            {"target", arguments.quantization.target},
            {"method", range_method_name(result.done.method)},
            {"preprocess", table.preprocess},
            {"samples", table.samples},
            {"synthetic", !arguments.data.given() && arguments.table.empty()},
            {"skipped", result.calibrated.skipped.size()},
            {"quantized_nodes", result.done.layers.size()},
            {"four_bit_layers", result.done.four_bits},
            {"corrected_biases", result.done.corrected},
            {"image_grid", result.done.image.has_value()},
            {"activation_scales", scales_json(result.done.scales)}};
  if (result.equalization)
    json["equalization"] = {
        {"layers", result.equalization->pairs},           {"caps", result.equalization->caps},
        {"sweeps", result.equalization->sweeps},          {"bits_before", result.equalization->bits_before},
        {"bits_after", result.equalization->bits_after},  {"absorbed_layers", result.absorption.layers},
        {"absorbed_channels", result.absorption.channels}};
  json["centered"] = Json::array();
  for (const CenteredTensor& t : result.centered)
    json["centered"].push_back(
        {{"value", t.value}, {"gain_db", t.gain_db}, {"folded", t.folded}, {"added", t.added}});
  json["float_tensors"] = float_tensors_json(result.float_tensors);
  json["smoothed"] = Json::array();
  for (const SmoothedTensor& t : result.smoothed)
    json["smoothed"].push_back(
        {{"value", t.value}, {"gain_db", t.gain_db}, {"folded", t.folded}, {"multiplied", t.multiplied}});
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
                    arguments.quantization.target, range_method_name(result.done.method),
                    plural(static_cast<int64_t>(table.samples), "sample"),
                    plural(result.done.corrected, "layer")));
  if (result.done.four_bits > 0)
    print(fmt::format("weights of {} in 4 bits\n", plural(result.done.four_bits, "layer")));
  print(scales_text(result.done.scales, arguments.verbose));
  if (result.done.image)
    print(arguments.quantization.input_bytes
              ? "the input takes the images' bytes\n"
              : "the input is quantized to the images' bytes: nothing is lost there\n");
  if (const auto& e = result.equalization)
    print(fmt::format(
        "weights equalized: channels of {} scaled for their readers; on average a channel stands {:.1f} bits "
        "below its tensor's largest ({:.1f} before); {} became caps per channel; {} absorbed\n",
        plural(e->pairs, "layer"), -e->bits_after, -e->bits_before, plural(e->caps, "clip"),
        plural(result.absorption.channels, "high-bias channel")));
  if (!result.smoothed.empty())
    print(fmt::format(
        "channels of {} evened out for one scale each, predicted to gain up to {:.1f} dB at their readers "
        "('{}')\n",
        plural(static_cast<int64_t>(result.smoothed.size()), "activation tensor"),
        result.smoothed.front().gain_db, result.smoothed.front().value));
  if (!result.centered.empty())
    print(fmt::format(
        "{} moved to the middle of the symmetric grid, which makes the steps up to {:.1f} dB finer\n",
        plural(static_cast<int64_t>(result.centered.size()), "activation tensor"),
        std::max_element(result.centered.begin(), result.centered.end(), [](const auto& a, const auto& b) {
          return a.gain_db < b.gain_db;
        })->gain_db));
  print(float_tensors_text(result.float_tensors));
  print(corrections_text(result.done));
  if (result.report) print(report_text(*result.report, arguments.verbose));
  if (result.float_nodes.empty()) return;
  print("in float:\n");
  std::vector<std::vector<std::string>> rows;
  for (const FloatNode& n : result.float_nodes) rows.push_back({n.node, n.op, n.reason});
  print(columns(rows, 3));
}

// --dynamic: no data, no table, no report on layers.
void run_dynamic(const Arguments& arguments) {
  if (!arguments.data.data.empty() || !arguments.loader.empty() || !arguments.table.empty() ||
      !arguments.save_table.empty())
    throw UsageError(
        "--dynamic: scales of activations are chosen at run time, it takes no --data and no table");
  FloatModel model = load_float_model(arguments.model);
  const auto nodes = quantize_dynamic(model.graph, arguments.quantization.options());
  if (nodes.empty())
    fail(ErrorCode::kInvalidArgument,
         "no node of this model can be quantized: --dynamic takes products by "
         "constant matrices (MatMul, Gemm)");
  infer_shapes(model.graph);
  model.graph.metadata["octet.version"] = OCTET_VERSION;
  ExportOptions options;
  options.external_data = arguments.external_data;
  const HoldSignals hold;
  export_onnx(model.graph, arguments.output, options);
  if (arguments.common.json)
    print_json({{"output", arguments.output}, {"dynamic", true}, {"quantized_nodes", nodes.size()}});
  else
    print(fmt::format("{}: {} in 8 bits, with scales of activations that each run chooses\n",
                      arguments.output, plural(static_cast<int64_t>(nodes.size()), "node")));
}

void run(Arguments arguments) {
  check_arguments(arguments);
  if (arguments.dynamic) return run_dynamic(arguments);
  if (arguments.data.preprocess) Preprocess::parse(*arguments.data.preprocess);
  FloatModel model = load_float_model(arguments.model);
  for (const MappedFile& file : model.files) {
    std::error_code error;
    if (std::filesystem::equivalent(file.path(), arguments.output + ".data", error))
      throw UsageError(
          fmt::format("'{}.data' holds the model's weights: give the result another name", arguments.output));
  }
  if (!arguments.loader.empty())
    arguments.data.samples = run_loader_script(arguments.loader, model.graph, arguments.data.limit);
  const auto progress = terminal_progress(true);
  const Quantized result = quantize(arguments, model, *progress, terminal_log());
  if (!result.written) write_quantized(arguments, result);

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
  add_options(*app, a->data, /*required=*/false);
  add_loader(*app, a->loader);
  add_options(*app, a->quantization, /*whole=*/true);
  app->add_option("--table", a->table,
                  "take the ranges from this calibration table or TensorRT cache; --data is then only for "
                  "correcting biases and for the report")
      ->type_name("TABLE");
  app->add_option("--save-table", a->save_table, "also write the calibration table")->type_name("TABLE");
  app->add_flag("--external-data", a->external_data,
                "put the constants into OUT.onnx.data beside the model (always so above 2 GB)");
  app->add_flag("--dynamic", a->dynamic,
                "write DynamicQuantizeLinear and MatMulInteger: 8-bit products whose activations get their "
                "scales at run time; needs no data");
  add_options(*app, a->effort);
  app->add_flag("--verbose", a->verbose, "report on every layer, not only on the worst");
  a->common.add(*app);
  app->footer(
      "Example:\n  octet quantize demo/model.onnx --data demo/images/calib \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.int8.onnx");
  return {app, [app, a] {
            a->method_given = app->count("--method") > 0;
            a->percentile_given = app->count("--percentile") > 0;
            a->threads = a->common.threads;
            run(*a);
          }};
}

}  // namespace octet::tools
