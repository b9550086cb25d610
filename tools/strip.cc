// octet strip: a quantized model without its Q/DQ.
#include <CLI/CLI.hpp>

#include "command.h"
#include "common.h"
#include "onnx/onnx.h"
#include "passes/lint.h"

namespace octet::tools {
namespace {

struct Arguments {
  std::string model, output;
  bool json = false;
};

void run(const Arguments& arguments) {
  check_writable(arguments.output, {arguments.model});
  Graph graph = import_onnx(arguments.model);
  const StripResult result = strip_qdq(graph);
  std::erase_if(graph.metadata, [](const auto& entry) {
    return entry.first == "octet.target" || entry.first == "octet.calibration";
  });
  {
    const HoldSignals hold;
    export_onnx(graph, arguments.output);
  }
  if (arguments.json) {
    print_json({{"output", arguments.output},
                {"activations", result.activations},
                {"constants", result.constants},
                {"left", result.left}});
    return;
  }
  print(fmt::format("{}: Q/DQ of {} taken out, {} made float\n", arguments.output,
                    plural(result.activations, "activation"), plural(result.constants, "constant")));
  for (const std::string& node : result.left) warn("stays: " + node);
}

}  // namespace

Command add_strip(CLI::App& root) {
  CLI::App* app = root.add_subcommand("strip", "Take all Q/DQ out of a model: a float model again.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->model, "ONNX model with Q/DQ")->required();
  app->add_option("-o,--output", arguments->output, "the float model")->required()->type_name("OUT.onnx");
  app->add_flag("--json", arguments->json, "print one JSON object and nothing else to standard output");
  app->footer("Example:\n  octet strip model.int8.onnx -o model.float.onnx");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
