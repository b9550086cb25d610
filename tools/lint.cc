// octet lint: what a target has against the Q/DQ of a model.
#include "passes/lint.h"

#include <CLI/CLI.hpp>

#include "command.h"
#include "common.h"
#include "onnx/onnx.h"
#include "pipeline/calibration.h"

namespace octet::tools {
namespace {

struct Arguments {
  std::string model, output, target = "tensorrt";
  bool fix = false, json = false;
};

Json findings_json(const std::vector<LintFinding>& findings) {
  Json list = Json::array();
  for (const LintFinding& f : findings)
    list.push_back({{"node", f.node}, {"rule", f.rule}, {"text", f.text}, {"fixable", f.fixable}});
  return list;
}

std::string lines(const std::vector<LintFinding>& findings) {
  std::string text;
  for (const LintFinding& f : findings)
    text += fmt::format("{}: {}: {}{}\n", f.node, f.rule, f.text, f.fixable ? " (--fix)" : "");
  return text;
}

void run(const Arguments& arguments) {
  if (arguments.fix == arguments.output.empty()) throw UsageError("--fix and -o OUT.onnx belong together");
  if (arguments.fix) check_writable(arguments.output, {arguments.model});
  const LintTarget target = parse_lint_target(arguments.target);
  Graph graph = import_onnx(arguments.model);
  if (!is_quantized(graph)) warn(fmt::format("'{}' has no Q/DQ: there is nothing to judge", arguments.model));
  const std::vector<LintFinding> findings = lint_qdq(graph, target);
  Json json{{"target", arguments.target}, {"findings", findings_json(findings)}};
  std::string text = lines(findings);
  text += fmt::format("{}: {} for {}\n", arguments.model,
                      plural(static_cast<int64_t>(findings.size()), "finding"), arguments.target);
  if (arguments.fix) {
    fix_qdq(graph, target);
    const std::vector<LintFinding> left = lint_qdq(graph, target);
    const HoldSignals hold;
    export_onnx(graph, arguments.output);
    json["output"] = arguments.output;
    json["left"] = findings_json(left);
    text +=
        fmt::format("{}: {} left\n", arguments.output, plural(static_cast<int64_t>(left.size()), "finding")) +
        lines(left);
  }
  if (arguments.json)
    print_json(json);
  else
    print(text);
}

}  // namespace

Command add_lint(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "lint", "Say which Q/DQ of a model a target rejects or cannot fuse, one line each, and rewrite them.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->model, "ONNX model with Q/DQ")->required();
  app->add_option("--target", arguments->target, "whose rules: tensorrt, onnxruntime or openvino")
      ->check(CLI::IsMember({"tensorrt", "onnxruntime", "openvino"}))
      ->capture_default_str();
  app->add_flag("--fix", arguments->fix, "rewrite what can be rewritten");
  app->add_option("-o,--output", arguments->output, "the rewritten model")->type_name("OUT.onnx");
  app->add_flag("--json", arguments->json, "print one JSON object and nothing else to standard output");
  app->footer("Example:\n  octet lint model.int8.onnx --target tensorrt --fix -o model.trt.onnx");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
