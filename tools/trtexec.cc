// octet trtexec: the phases, in trtexec's order.
#include "trtexec.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>

#include "command.h"
#include "summary.h"

namespace octet::tools {
namespace {

constexpr char kVersion[] = "TensorRT.trtexec [TensorRT v8601]";

void print_options(const TrtexecOptions& o) {
  const auto shown = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
  std::string precision = "FP32";
  if (o.fp16 || o.best) precision += "+FP16";
  if (o.bf16) precision += "+BF16";
  if (o.int8 || o.best) precision += "+INT8";
  trtexec_log("=== Model Options ===");
  trtexec_log(fmt::format("Format: {}", o.onnx.empty() ? "*" : "ONNX"));
  trtexec_log(fmt::format("Model: {}", o.onnx));
  trtexec_log("=== Build Options ===");
  trtexec_log(fmt::format("Precision: {}", precision));
  trtexec_log(fmt::format("Calibration: {}", o.calib.empty() && !o.int8 ? "" : shown(o.calib)));
  trtexec_log(fmt::format("Save engine: {}", o.save_engine));
  trtexec_log(fmt::format("Load engine: {}", o.load_engine));
  trtexec_log("=== Inference Options ===");
  trtexec_log("Batch: Explicit");
  trtexec_log(fmt::format("Iterations: {}", o.iterations));
  trtexec_log(fmt::format("Duration: {}s (+ {:.0f}ms warm up)", o.duration_s, o.warm_up_ms));
  trtexec_log(fmt::format("Inference Streams: {}", o.streams));
  trtexec_log("=== Device Information ===");
  trtexec_log(fmt::format("Selected Device: CPU, {}", isa_name(engine::default_options().isa)));
}

}  // namespace

void trtexec_log(const std::string& text) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  localtime_r(&now, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%m/%d/%Y-%H:%M:%S", &local);
  print(fmt::format("[{}] [I] {}\n", stamp, text));
}

void run_trtexec(const std::vector<std::string>& words) {
  const TrtexecOptions options = parse_trtexec(words);
  if (options.help) {
    print(trtexec_help());
    return;
  }
  if (!options.save_engine.empty()) check_writable(options.save_engine, {options.onnx});
  print(fmt::format("&&&& RUNNING {} # trtexec {}\n", kVersion, options.line));
  try {
    print_options(options);
    if (!options.ignored.empty()) {
      std::string all;
      for (const std::string& flag : options.ignored) all += (all.empty() ? "" : ", ") + flag;
      warn(fmt::format("without a meaning on this hardware: {}", all));
    }
    if (options.verbose)
      for (const std::string& text : options.notes) trtexec_log(text);
    const auto start = std::chrono::steady_clock::now();
    const engine::Engine engine = options.onnx.empty() ? engine::Engine::load(options.load_engine)
                                                       : engine::Engine(build_for_trtexec(options));
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    trtexec_log(fmt::format("Engine {} in {:.3f} sec.", options.onnx.empty() ? "loaded" : "built", seconds));
    if (!options.save_engine.empty()) {
      const HoldSignals hold;
      engine::save(engine.model(), options.save_engine);
    }
    if (options.verbose) print(summary_text(summarize(engine.model())));
    if (options.build_only) {
      if (options.dump_layers || !options.export_layers.empty())
        report_layers(options, engine.model(), std::vector<std::string>(engine.model().steps.size()));
      trtexec_log("Skipped inference phase since --buildOnly is added.");
    } else {
      run_inference(options, engine);
    }
  } catch (...) {
    print(fmt::format("&&&& FAILED {} # trtexec {}\n", kVersion, options.line));
    throw;
  }
  print(fmt::format("&&&& PASSED {} # trtexec {}\n", kVersion, options.line));
}

Command add_trtexec(CLI::App& root) {
  // Its flags are not CLI11's: main() gives the words to run_trtexec(). This is for the list of commands.
  return {root.add_subcommand("trtexec", "Take the flags of TensorRT's trtexec, and do what they ask for."),
          [] {}};
}

}  // namespace octet::tools
