// octet bench: latency and throughput.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "arguments.h"
#include "base/cpu.h"
#include "bench_inputs.h"
#include "command.h"
#include "common.h"
#include "kernels/simd/peak.h"
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

// What the steps took beside what they could have taken.
struct Profile {
  const engine::Model& model;
  std::vector<std::string> kernels;
  std::vector<int64_t> work;    // multiply-adds
  std::vector<double> seconds;  // median of each step
  std::vector<double> fastest;
  double peak;  // multiply-adds per second of all threads together; 0: not known

  double gops(size_t step) const { return 2e-9 * static_cast<double>(work[step]) / seconds[step]; }
  // Part of the INT8 peak, for a step of integers.
  bool has_share(size_t step) const {
    return peak > 0 && work[step] > 0 && model.steps[step].precision == "int8";
  }
  double share(size_t step) const { return static_cast<double>(work[step]) / seconds[step] / peak; }
};

Json profile_json(const Profile& profile) {
  Json list = Json::array();
  for (size_t i = 0; i < profile.seconds.size(); ++i) {
    const engine::StepDef& s = profile.model.steps[i];
    Json step{{"name", s.name},
              {"kind", step_kind(s)},
              {"ms", profile.seconds[i] * 1e3},
              {"min_ms", profile.fastest[i] * 1e3},
              {"kernel", profile.kernels[i]},
              {"precision", s.precision},
              {"reason", s.reason},
              {"multiply_adds", profile.work[i]}};
    if (profile.work[i] > 0) step["gops"] = profile.gops(i);
    if (profile.has_share(i)) step["of_int8_peak"] = profile.share(i);
    list.push_back(std::move(step));
  }
  return list;
}

std::string profile_text(const Profile& profile) {
  double total = 0;
  for (double s : profile.seconds) total += s;
  std::vector<std::vector<std::string>> rows{{"step, slowest first", "kind", "kernel", "precision", "ms",
                                              "share", "GOPS", "of peak", "why not int8"}};
  for (const auto& [i, time] : slowest_first(profile.seconds)) {
    const engine::StepDef& s = profile.model.steps[i];
    rows.push_back({s.name, step_kind(s), profile.kernels[i], s.precision, fmt::format("{:.4f}", time * 1e3),
                    fmt::format("{:.1f} %", total > 0 ? 100 * time / total : 0),
                    profile.work[i] > 0 ? fmt::format("{:.1f}", profile.gops(i)) : "",
                    profile.has_share(i) ? fmt::format("{:.0f} %", 100 * profile.share(i)) : "", s.reason});
  }
  const std::string peak =
      profile.peak > 0 ? fmt::format("  INT8 peak {:.0f} GOPS, measured\n", 2e-9 * profile.peak) : "";
  return peak + columns(rows, 4);
}

// "batch = 1, length = 128"
std::string sizes_of(const engine::Model& model, const std::vector<Tensor>& inputs) {
  std::string text;
  for (const auto& [name, size] : shapes_for(model, inputs))
    text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", name, size);
  return text;
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

  try {
    context.run(inputs);
  } catch (const Error& e) {
    if (engine.model().symbols.empty()) throw;
    fail(e.code(), "{} (at {}, which --shapes can change)", e.message(), sizes_of(engine.model(), inputs));
  }
  std::vector<double> times = time_runs(context, inputs, arguments.warmup, arguments.duration);
  double total = 0;
  for (double t : times) total += t;
  const double rate = static_cast<double>(batch) * static_cast<double>(times.size()) / total;
  std::sort(times.begin(), times.end());
  const auto ms = [&](double part) { return quantile(times, part) * 1e3; };
  Profile profile{engine.model(), {}, {}, {}, {}, 0};
  if (arguments.profile) {
    profile.peak = kernels::measure_int8_peak(options.isa) * pool.threads();
    for (const auto& t : time_each_step(context, inputs, engine.model().steps.size(), arguments.duration)) {
      profile.seconds.push_back(quantile(t, 0.5));
      profile.fastest.push_back(t.front());
    }
    profile.kernels = context.step_kernels();
    profile.work = context.step_multiply_adds();
  }

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
    if (arguments.profile) {
      json["steps"] = profile_json(profile);
      json["int8_peak_gops"] = 2e-9 * profile.peak;
    }
    print_json(json);
    return;
  }
  print(fmt::format("{} on {}, {}, batch {}\n", isa_name(options.isa), plural(pool.threads(), "thread"),
                    plural(static_cast<int64_t>(times.size()), "run"), batch));
  print(fmt::format("  min {:.3f} ms, median {:.3f} ms, 90 % {:.3f} ms, 99 % {:.3f} ms; {:.1f} images/s\n",
                    times.front() * 1e3, ms(0.5), ms(0.9), ms(0.99), rate));
  if (arguments.profile) print(profile_text(profile));
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
  app->add_flag("--profile", arguments->profile,
                "of each step: time, GOPS, part of the measured INT8 peak, kernel, why it is not int8");
  arguments->common.add(*app);
  arguments->common.add_deterministic(*app);
  app->footer("Example:\n  octet bench demo/model.onnx --threads 1 --duration 1");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
