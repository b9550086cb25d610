// octet eval: accuracy over labels, agreement with a reference.
#include <CLI/CLI.hpp>

#include "arguments.h"
#include "command.h"
#include "common.h"
#include "data/labels.h"
#include "report/evaluate.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  DataArguments data;
  std::string engine, labels, reference;
  int64_t class_offset = 0;
};

// Mean of the outputs' cosines.
double mean_cosine(const Evaluation& e) {
  double sum = 0;
  for (double c : e.cosine) sum += c;
  return e.cosine.empty() ? 1 : sum / static_cast<double>(e.cosine.size());
}

Json json_of(const Evaluation& e) {
  Json json{{"images", e.images}};
  if (e.top1) json["top1"] = *e.top1;
  if (e.top5) json["top5"] = *e.top5;
  if (e.agreement) {
    json["agreement"] = *e.agreement;
    json["cosine"] = mean_cosine(e);
    json["sqnr_db"] = db_json(e.all().sqnr_db());
    json["outputs"] = Json::object();
    for (size_t i = 0; i < e.outputs.size(); ++i)
      json["outputs"][e.names[i]] = {{"cosine", e.cosine[i]}, {"sqnr_db", db_json(e.outputs[i].sqnr_db())}};
  }
  json["skipped"] = e.skipped.size();
  return json;
}

void print_text(const Evaluation& e) {
  std::vector<std::vector<std::string>> rows{{"images", std::to_string(e.images)}};
  if (!e.skipped.empty()) rows.push_back({"skipped", std::to_string(e.skipped.size())});
  if (e.top1) rows.push_back({"top-1", fmt::format("{:.2f} %", *e.top1)});
  if (e.top5) rows.push_back({"top-5", fmt::format("{:.2f} %", *e.top5)});
  if (e.agreement) {
    rows.push_back({"agreement with the reference's top-1", fmt::format("{:.2f} %", *e.agreement)});
    rows.push_back({"cosine", fmt::format("{:.6f}", mean_cosine(e))});
    rows.push_back({"SQNR", db_text(e.all().sqnr_db())});
    for (size_t i = 0; e.outputs.size() > 1 && i < e.outputs.size(); ++i)
      rows.push_back({fmt::format("output '{}'", e.names[i]),
                      fmt::format("{}, cosine {:.6f}", db_text(e.outputs[i].sqnr_db()), e.cosine[i])});
  }
  print(columns(rows, 1, 0));
}

void run(const Arguments& arguments) {
  if (arguments.labels.empty() && arguments.reference.empty())
    throw UsageError("nothing to measure: give --labels, --reference or both");
  std::vector<Label> labels;
  if (!arguments.labels.empty()) labels = read_labels(arguments.labels);
  const engine::Engine engine = open_engine(arguments.engine, arguments.common.deterministic);
  std::optional<engine::Engine> reference;
  Metadata reference_metadata;
  if (!arguments.reference.empty()) {
    reference = open_engine(arguments.reference, arguments.common.deterministic);
    reference_metadata = reference->model().metadata;
  }
  const auto preprocess = arguments.data.choose_preprocess({&engine.model().metadata, &reference_metadata},
                                                           only_input(engine.model()), terminal_log());
  const auto data = arguments.data.open(preprocess);
  std::vector<int64_t> classes;
  if (!labels.empty()) classes = match_labels(*data, labels);
  const auto progress = terminal_progress(true);
  const Evaluation evaluation =
      evaluate_engine(engine, reference ? &*reference : nullptr, *data, classes, arguments.class_offset,
                      arguments.common.runner(*progress, "evaluating"));
  warn_skipped(evaluation.skipped);
  if (arguments.common.json)
    print_json(json_of(evaluation));
  else
    print_text(evaluation);
}

}  // namespace

Command add_eval(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "eval", "Measure accuracy over labelled data, and agreement with a reference model.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->engine, "engine or ONNX model")->required();
  add_options(*app, arguments->data, /*required=*/true);
  app->add_option("--labels", arguments->labels, "lines of: file class-number")->type_name("FILE");
  app->add_option("--class-offset", arguments->class_offset,
                  "index in the output of class 0, e.g. 1 where index 0 is background")
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--reference", arguments->reference,
                  "engine or ONNX model to compare with: agreement, cosine, SQNR")
      ->type_name("MODEL");
  arguments->common.add(*app);
  arguments->common.add_deterministic(*app);
  app->footer(
      "Example:\n  octet eval demo/model.onnx --data demo/images/val --labels demo/images/val/labels.txt \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\"");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
