// octet build: an engine file from a float or Q/DQ model.
#include "build/build.h"

#include <CLI/CLI.hpp>

#include "arguments.h"
#include "command.h"
#include "common.h"
#include "onnx/onnx.h"
#include "shapes.h"
#include "summary.h"
#include "tuning.h"

namespace octet::tools {
namespace {

constexpr double kTuningSeconds = 10;

struct Arguments {
  CommonArguments common;
  std::string model, output, tuning;
  ProfileArguments shapes;
  bool int8_only = false, verbose = false, fp16 = false, bf16 = false, deterministic = false, retime = false;
  bool allow_float = false;
};

engine::Model build_model(const Arguments& arguments, const std::vector<std::string>& float_layers) {
  if (const FileKind kind = file_kind(arguments.model); kind != FileKind::kModel)
    fail(ErrorCode::kBadFile, "'{}' is {}: expected an ONNX model", arguments.model,
         kind == FileKind::kEngine ? "an engine already" : "no model");
  BuildOptions options;
  options.int8_only = arguments.int8_only && float_layers.empty();
  options.profiles = arguments.shapes.profiles();
  options.deterministic = arguments.deterministic;
  options.float_layers = float_layers;
  if (arguments.fp16) options.weights = DType::kFloat16;
  if (arguments.bf16) options.weights = DType::kBFloat16;
  return build_engine(import_onnx(arguments.model), options);
}

Json steps_json(const engine::Model& model) {
  Json list = Json::array();
  for (const engine::StepDef& s : model.steps)
    list.push_back(
        {{"name", s.name}, {"kind", step_kind(s)}, {"precision", s.precision}, {"reason", s.reason}});
  return list;
}

void print_steps(const engine::Model& model, bool all) {
  std::vector<std::vector<std::string>> rows;
  for (const engine::StepDef& s : model.steps)
    if (all || !s.reason.empty()) rows.push_back({s.name, step_kind(s), s.precision, s.reason});
  if (rows.empty()) return;
  print(all ? "steps:\n" : "not int8:\n");
  print(columns(rows, 4));
}

void note_float(const std::vector<FasterInFloat>& layers, bool allowed) {
  if (layers.empty()) return;
  std::string list;
  for (const FasterInFloat& layer : layers)
    list +=
        fmt::format("{}{} ({} % of the time in 8 bits)", list.empty() ? "" : ", ", layer.name, layer.percent);
  note(fmt::format("{} faster in float on this CPU: {}; {}",
                   plural(static_cast<int64_t>(layers.size()), "layer"), list,
                   allowed ? "computed in float" : "--allow-float computes them in float"));
}

// What cannot run is not written. Where nobody chose sizes, the likely ones prove nothing.
void try_out(const engine::Engine& engine) {
  const engine::Model& model = engine.model();
  try {
    const engine::Context works(engine, engine::default_options());
  } catch (const Error& e) {
    if (model.symbols.empty() || !model.profiles.empty()) throw;
    std::string sizes;
    for (const engine::Symbol& s : model.symbols)
      sizes += fmt::format("{}{} = {}", sizes.empty() ? "" : ", ", s.name, s.optimum);
    note(fmt::format("the engine does not run with {} ({}); --opt-shapes tries it with others", sizes,
                     e.message()));
  }
}

void run(const Arguments& arguments) {
  check_writable(arguments.output, {arguments.model});
  if (!arguments.tuning.empty()) check_writable(arguments.tuning, {arguments.model, arguments.output});
  engine::Model made = build_model(arguments, {});
  if (!arguments.tuning.empty()) {
    const auto build = [&](const std::vector<std::string>& floats) { return build_model(arguments, floats); };
    const Tuned tuned =
        tune(made, build, arguments.tuning, arguments.retime, arguments.allow_float, kTuningSeconds);
    note(fmt::format("{}: {} measured", arguments.tuning, plural(tuned.measured, "step")));
    note_float(tuned.faster_in_float, arguments.allow_float);
  }
  const engine::Engine engine(std::move(made));
  const engine::Model& model = engine.model();
  try_out(engine);
  {
    const HoldSignals hold;
    engine::save(model, arguments.output);
  }
  const EngineSummary summary = summarize(model);
  std::error_code error;
  const auto size = std::filesystem::file_size(arguments.output, error);
  const auto bytes = error ? 0 : static_cast<int64_t>(size);
  if (arguments.common.json) {
    Json json{{"output", arguments.output}, {"bytes", bytes}, {"producer", model.producer}};
    json.update(summary_json(summary));
    json["layers"] = steps_json(model);
    print_json(json);
    return;
  }
  print(fmt::format("{}: {}\n{}", arguments.output, size_text(bytes), summary_text(summary)));
  print_steps(model, arguments.verbose);
}

}  // namespace

Command add_build(CLI::App& root) {
  CLI::App* app = root.add_subcommand("build", "Make an engine from a float or a Q/DQ ONNX model.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->model, "ONNX model")->required();
  app->add_option("-o,--output", arguments->output, "the engine")->required()->type_name("ENGINE.octet");
  app->add_flag("--int8-only", arguments->int8_only,
                "integer inputs, outputs and steps only; refuse what stands in the way");
  arguments->shapes.add(*app);
  app->add_flag("--fp16", arguments->fp16, "store float weights as float16: half the size");
  app->add_flag("--bf16", arguments->bf16,
                "store float weights as bfloat16, and compute in it where the CPU can")
      ->excludes("--fp16");
  app->add_flag("--deterministic", arguments->deterministic,
                "float convolutions and products give the same bits on every CPU, slower");
  CLI::Option* tuning =
      app->add_option("--tuning", arguments->tuning,
                      "choose tactics by measurement and keep them here; the same file gives the same engine")
          ->type_name("FILE");
  app->add_flag("--retime", arguments->retime, "measure again where the tuning file is of another CPU")
      ->needs(tuning);
  app->add_flag(
         "--allow-float", arguments->allow_float,
         "compute layers in float where the tuning file says that this is faster; results change a little")
      ->needs(tuning)
      ->excludes("--int8-only");
  app->add_flag("--verbose", arguments->verbose, "show every step");
  arguments->common.add(*app, /*with_threads=*/false);
  app->footer(
      "Example:\n  octet build demo/model.onnx -o model.octet\n"
      "  octet build detector.onnx -o detector.octet --min-shapes input:1x3x160x160 \\\n"
      "      --opt-shapes input:1x3x320x320 --max-shapes input:4x3x640x640");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
