// octet calibrate: only the calibration table.
#include <CLI/CLI.hpp>

#include "arguments.h"
#include "base/file.h"
#include "command.h"
#include "common.h"
#include "loader_script.h"
#include "pipeline/calibration.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output, loader, format = "octet";
};

void run(Arguments arguments) {
  check_writable(arguments.output, {arguments.model});
  const FloatModel model = load_float_model(arguments.model);
  if (!arguments.loader.empty())
    arguments.data.samples = run_loader_script(arguments.loader, model.graph, arguments.data.limit);
  const std::optional<std::string> preprocess =
      arguments.data.choose_preprocess({&model.graph.metadata}, terminal_log());
  const auto data = arguments.data.open(preprocess);
  const auto progress = terminal_progress(true);
  const Calibrated result = calibrate_whole(model, arguments.quantization, *data, preprocess,
                                            arguments.common.runner(*progress, "calibrating"));
  {
    const HoldSignals hold;
    if (arguments.format == "tensorrt") {
      AtomicFile file(arguments.output);
      file.write(tensorrt_cache_of(model, result.table, arguments.quantization.options()));
      file.commit();
    } else {
      save_table(result.table, arguments.output);
    }
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
  add_options(*app, arguments->data, /*required=*/false);
  add_loader(*app, arguments->loader);
  add_options(*app, arguments->quantization, /*whole=*/false);
  arguments->common.add(*app);
  app->footer(
      "Example:\n  octet calibrate demo/model.onnx --data demo/images/calib \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.table.json");
  return {app, [app, arguments] {
            if (arguments->data.data.empty() && arguments->loader.empty())
              throw UsageError(
                  "--data is required: a folder of images, .npy or .npz arrays, or --data-loader-script");
            if (arguments->format == "tensorrt") {
              if (app->count("--target") > 0 && arguments->quantization.target != "tensorrt")
                throw UsageError("--format tensorrt: a cache has the scales of --target tensorrt");
              arguments->quantization.target = "tensorrt";
            }
            run(*arguments);
          }};
}

}  // namespace octet::tools
