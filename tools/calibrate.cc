// octet calibrate: only the calibration table.
#include <CLI/CLI.hpp>

#include "build/build.h"
#include "calibration.h"
#include "command.h"
#include "common.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output;
};

// With the outputs, so that the table also serves quantize --quantize-outputs.
std::vector<std::string> with_outputs(const Graph& graph, QuantizeOptions options) {
  options.quantize_outputs = true;
  return placed_values(graph, place(graph, options));
}

void run(const Arguments& arguments) {
  check_writable(arguments.output, {arguments.model});
  FloatModel model = load_float_model(arguments.model);
  const QuantizeOptions options = arguments.quantization.options();
  const Placement placement = place(model.graph, options);
  const std::optional<std::string> preprocess = arguments.data.choose_preprocess({&model.graph.metadata});
  const auto data = arguments.data.open(preprocess);
  const engine::Engine engine(build_engine(model.graph));
  const auto progress = terminal_progress(true);
  const Calibrated result =
      calibrate(model, engine, placement, arguments.quantization, *data, preprocess,
                arguments.common.runner(*progress, "calibrating"), with_outputs(model.graph, options));
  {
    const HoldSignals hold;
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
  arguments->data.add(*app, /*required=*/true);
  arguments->quantization.add(*app, /*whole=*/false);
  arguments->common.add(*app);
  app->footer(
      "Example:\n  octet calibrate demo/model.onnx --data demo/images/calib \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.table.json");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
