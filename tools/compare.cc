// octet compare: two engines or models of one network, layer by layer.
#include "report/compare.h"

#include <CLI/CLI.hpp>

#include "arguments.h"
#include "command.h"
#include "common.h"
#include "quantize_report.h"

namespace octet::tools {
namespace {

constexpr size_t kShown = 15;

struct Arguments {
  CommonArguments common;
  DataArguments data;
  std::string a, b;
  bool verbose = false;
};

Json json_of(const Comparison& comparison) {
  PairSums all;
  for (const LayerComparison& o : comparison.outputs) all += o.sums;
  Json json{{"samples", comparison.samples},
            {"skipped", comparison.skipped.size()},
            {"sqnr_db", db_json(all.sqnr_db())},
            {"cosine", all.cosine()},
            {"outputs", outputs_json(comparison.outputs)},
            {"layers", Json::array()}};
  for (const LayerComparison& l : comparison.layers)
    json["layers"].push_back({{"name", l.name},
                              {"sqnr_db", db_json(l.sums.sqnr_db())},
                              {"cosine", l.sums.cosine()},
                              {"precision", l.precision}});
  return json;
}

void print_text(const Comparison& comparison, bool verbose) {
  std::vector<std::vector<std::string>> rows{{"layer, worst first", "B runs as", "SQNR", "cosine"}};
  const size_t count = comparison.layers.size();
  const size_t shown = verbose ? count : std::min(kShown, count);
  for (size_t i = 0; i < shown; ++i) {
    const LayerComparison& l = comparison.layers[i];
    rows.push_back({l.name, l.precision, db_text(l.sums.sqnr_db()), fmt::format("{:.5f}", l.sums.cosine())});
  }
  print(columns(rows, 2));
  if (shown < count)
    print(fmt::format("  ... and {} (--verbose shows all)\n",
                      plural(static_cast<int64_t>(count - shown), "better layer")));
  print(fmt::format("outputs, {}:\n", plural(comparison.samples, "sample")));
  rows.clear();
  for (const LayerComparison& o : comparison.outputs)
    rows.push_back({o.name, db_text(o.sums.sqnr_db()), fmt::format("cosine {:.5f}", o.sums.cosine())});
  print(columns(rows, 1));
}

void run(const Arguments& arguments) {
  const engine::Engine a = open_engine(arguments.a), b = open_engine(arguments.b);
  const auto preprocess = arguments.data.choose_preprocess({&b.model().metadata, &a.model().metadata},
                                                           only_input(a.model()), terminal_log());
  const auto data = arguments.data.open(preprocess);
  const auto progress = terminal_progress(true);
  const Comparison comparison = compare_engines(a, b, *data, arguments.common.runner(*progress, "comparing"));
  warn_skipped(comparison.skipped);
  if (comparison.samples == 0)
    fail(ErrorCode::kInvalidArgument, "none of the {} samples could be read", data->size());
  if (arguments.common.json)
    print_json(json_of(comparison));
  else
    print_text(comparison, arguments.verbose);
}

}  // namespace

Command add_compare(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "compare", "Run two forms of one network side by side and compare them layer by layer.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("A", arguments->a, "reference: engine or ONNX model")->required();
  app->add_option("B", arguments->b, "what is compared with it: engine or ONNX model")->required();
  add_options(*app, arguments->data, /*required=*/true);
  app->add_flag("--verbose", arguments->verbose, "show every layer, not only the worst");
  arguments->common.add(*app);
  app->footer(
      "Example:\n  octet compare demo/model.onnx build/demo/model.int8.onnx --data demo/images/calib\n"
      "(make demo writes the second model)");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
