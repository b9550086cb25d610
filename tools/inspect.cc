// octet inspect: what is inside a model, a table or an engine.
#include <CLI/CLI.hpp>

#include "arguments.h"
#include "command.h"
#include "common.h"
#include "inspect_files.h"
#include "inspect_operators.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  std::string file;
  bool operators = false;
};

Inspection inspect(const std::string& file) {
  switch (file_kind(file)) {
    case FileKind::kEngine:
      return inspect_engine(file);
    case FileKind::kTable:
      return inspect_table(file);
    default:
      return inspect_model(file);
  }
}

void run(const Arguments& arguments) {
  if (arguments.operators == !arguments.file.empty()) throw UsageError("FILE or --operators is required");
  const Inspection found = arguments.operators ? inspect_operators() : inspect(arguments.file);
  if (arguments.common.json)
    print_json(found.json);
  else
    print(found.text);
}

}  // namespace

Command add_inspect(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("inspect", "Show what is inside a model, a calibration table or an engine.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("FILE", arguments->file, "ONNX model, table or engine");
  app->add_flag("--operators", arguments->operators, "the operators that Octet knows, as Markdown");
  arguments->common.add(*app, /*with_threads=*/false);
  app->footer("Example:\n  octet inspect demo/model.onnx");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
