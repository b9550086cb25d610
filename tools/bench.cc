// octet bench: latency and throughput.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "arguments.h"
#include "base/cpu.h"
#include "bench_inputs.h"
#include "command.h"
#include "common.h"
#include "summary.h"
#include "timing.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  std::string engine;
  std::vector<std::string> shapes;
  double duration = 3, warmup = 0.3;
  bool profile = false;
};

struct StepTime {
  size_t step;
  double seconds;
};

std::vector<StepTime> slowest_first(const std::vector<double>& seconds) {
  std::vector<StepTime> order;
  for (size_t i = 0; i < seconds.size(); ++i) order.push_back({i, seconds[i]});
  std::stable_sort(order.begin(), order.end(),
                   [](const StepTime& a, const StepTime& b) { return a.seconds > b.seconds; });
  return order;
}

Json profile_json(const engine::Model& model, const std::vector<std::string>& kernels,
                  const std::vector<double>& seconds) {
  Json list = Json::array();
  for (size_t i = 0; i < seconds.size(); ++i) {
    const engine::StepDef& s = model.steps[i];
    list.push_back({{"name", s.name},
                    {"kind", step_kind(s)},
                    {"ms", seconds[i] * 1e3},
                    {"kernel", kernels[i]},
                    {"precision", s.precision},
                    {"reason", s.reason}});
  }
  return list;
}

std::string profile_text(const engine::Model& model, const std::vector<std::string>& kernels,
                         const std::vector<double>& seconds) {
  double total = 0;
  for (double s : seconds) total += s;
  std::vector<std::vector<std::string>> rows{
      {"step, slowest first", "kind", "kernel", "precision", "ms", "share", "why not int8"}};
  for (const auto& [i, time] : slowest_first(seconds)) {
    const engine::StepDef& s = model.steps[i];
    rows.push_back({s.name, step_kind(s), kernels[i], s.precision, fmt::format("{:.4f}", time * 1e3),
                    fmt::format("{:.1f} %", total > 0 ? 100 * time / total : 0), s.reason});
  }
  return columns(rows, 4);
}

void run(const Arguments& arguments) {
  const engine::Engine engine = open_engine(arguments.engine, arguments.common.deterministic);
  ThreadPool pool(arguments.common.threads);
  engine::ContextOptions options = engine::default_options();
  options.pool = &pool;
  const std::map<std::string, Shape> shapes = parse_shapes(engine.model(), arguments.shapes);
  options.shapes = dimensions_for(engine.model(), shapes);
  engine::Context context(engine, options);
  const std::vector<Tensor> inputs = random_inputs(engine.model(), context, shapes);
  const int64_t batch = inputs.empty() || inputs[0].rank() == 0 ? 1 : inputs[0].shape()[0];

  std::vector<double> times = time_runs(context, inputs, arguments.warmup, arguments.duration);
  double total = 0;
  for (double t : times) total += t;
  const double rate = static_cast<double>(batch) * static_cast<double>(times.size()) / total;
  std::sort(times.begin(), times.end());
  const auto ms = [&](double part) { return quantile(times, part) * 1e3; };
  std::vector<double> steps;
  if (arguments.profile) steps = time_steps(context, inputs, engine.model().steps.size(), arguments.duration);

  if (arguments.common.json) {
    Json json{{"min_ms", times.front() * 1e3},
              {"median_ms", ms(0.5)},
              {"p90_ms", ms(0.9)},
              {"p99_ms", ms(0.99)},
              {"images_per_second", rate},
              {"threads", pool.threads()},
              {"isa", isa_name(options.isa)},
              {"runs", times.size()},
              {"batch", batch},
              {"memory_bytes", context.memory_bytes()}};
    if (arguments.profile) json["steps"] = profile_json(engine.model(), context.step_kernels(), steps);
    print_json(json);
    return;
  }
  print(fmt::format("{} on {}, {}, batch {}\n", isa_name(options.isa), plural(pool.threads(), "thread"),
                    plural(static_cast<int64_t>(times.size()), "run"), batch));
  print(fmt::format("  min {:.3f} ms, median {:.3f} ms, 90 % {:.3f} ms, 99 % {:.3f} ms; {:.1f} images/s\n",
                    times.front() * 1e3, ms(0.5), ms(0.9), ms(0.99), rate));
  if (arguments.profile) print(profile_text(engine.model(), context.step_kernels(), steps));
}

}  // namespace

Command add_bench(CLI::App& root) {
  CLI::App* app = root.add_subcommand("bench", "Time an engine or a model on random inputs.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->engine, "engine or ONNX model")->required();
  app->add_option("--duration", arguments->duration, "seconds of measurement")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app->add_option("--warmup", arguments->warmup, "seconds before it")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app->add_option("--shapes", arguments->shapes, "shapes of inputs with dynamic dimensions; may be repeated")
      ->allow_extra_args(false)
      ->type_name("INPUT:1x3x224x224,...");
  app->add_flag("--profile", arguments->profile, "time of each step, its kernel, and why it is not int8");
  arguments->common.add(*app);
  arguments->common.add_deterministic(*app);
  app->footer("Example:\n  octet bench demo/model.onnx --threads 1 --duration 1");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
