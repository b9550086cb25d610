// octet calibrate: only the calibration table.
#include <CLI/CLI.hpp>

#include "arguments.h"
#include "base/file.h"
#include "build/build.h"
#include "calibrate/tensorrt_cache.h"
#include "command.h"
#include "common.h"
#include "pipeline/calibration.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output, format = "octet";
};

// With the outputs, so that the table also serves quantize --quantize-outputs.
std::vector<std::string> with_outputs(const Graph& graph, QuantizeOptions options) {
  options.quantize_outputs = true;
  return placed_values(graph, place(graph, options));
}

// A cache has every tensor that is 8-bit: those that are only moved have the scale of their group.
void save_cache(CalibrationTable table, const Graph& graph, QuantizeOptions options,
                const std::string& path) {
  options.quantize_outputs = true;
  const Placement placement = place(graph, options);
  const ActivationParams params = tensor_params(graph, placement, options, [&](const std::string& value) {
    const auto found = table.tensors.find(value);
    return found == table.tensors.end() ? std::nullopt : std::optional(found->second.range);
  });
  for (const auto& [value, q] : params)
    table.tensors.try_emplace(graph.value(value).name).first->second.scale = q.scale[0];
  AtomicFile file(path);
  file.write(tensorrt_cache_text(cache_of(table)));
  file.commit();
}

void run(const Arguments& arguments) {
  check_writable(arguments.output, {arguments.model});
  FloatModel model = load_float_model(arguments.model);
  const QuantizeOptions options = arguments.quantization.options();
  const Placement placement = place(model.graph, options);
  const std::optional<std::string> preprocess =
      arguments.data.choose_preprocess({&model.graph.metadata}, terminal_log());
  const auto data = arguments.data.open(preprocess);
  const engine::Engine engine(build_engine(model.graph));
  const auto progress = terminal_progress(true);
  const Calibrated result =
      calibrate(model, engine, placement, arguments.quantization, *data, preprocess,
                arguments.common.runner(*progress, "calibrating"), with_outputs(model.graph, options));
  {
    const HoldSignals hold;
    if (arguments.format == "tensorrt")
      save_cache(result.table, model.graph, options, arguments.output);
    else
      save_table(result.table, arguments.output);
  }
  warn_skipped(result.skipped);
  if (arguments.common.json) {
    print_json({{"table", arguments.output},
                {"tensors", result.table.tensors.size()},
                {"samples", result.table.samples},
                {"skipped", result.skipped.size()},
                {"method", arguments.quantization.method},
                {"preprocess", result.table.preprocess},
                {"problems", result.problems}});
    return;
  }
  for (const std::string& problem : result.problems) warn(problem);
  print(fmt::format("{}: ranges of {} from {} by {}\n", arguments.output,
                    plural(static_cast<int64_t>(result.table.tensors.size()), "tensor"),
                    plural(static_cast<int64_t>(result.table.samples), "sample"),
                    arguments.quantization.method));
}

}  // namespace

Command add_calibrate(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("calibrate", "Run a float model over data and write a table of value ranges.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->model, "float ONNX model")->required();
  app->add_option("-o,--output", arguments->output, "the calibration table")->required()->type_name("TABLE");
  app->add_option("--format", arguments->format,
                  "octet: a table with all that was observed; tensorrt: a calibration cache as TensorRT's "
                  "calibrators write it, with the scales of --target tensorrt")
      ->check(CLI::IsMember({"octet", "tensorrt"}))
      ->capture_default_str();
  add_options(*app, arguments->data, /*required=*/true);
  add_options(*app, arguments->quantization, /*whole=*/false);
  arguments->common.add(*app);
  app->footer(
      "Example:\n  octet calibrate demo/model.onnx --data demo/images/calib \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.table.json");
  return {app, [app, arguments] {
            if (arguments->format == "tensorrt") {
              if (app->count("--target") > 0 && arguments->quantization.target != "tensorrt")
                throw UsageError("--format tensorrt: a cache has the scales of --target tensorrt");
              arguments->quantization.target = "tensorrt";
            }
            run(*arguments);
          }};
}

}  // namespace octet::tools
