// octet calibrate: only the calibration table.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <csignal>

#include "arguments.h"
#include "base/file.h"
#include "build/build.h"
#include "calibrate/part.h"
#include "command.h"
#include "common.h"
#include "loader_script.h"
#include "pipeline/calibration.h"

namespace octet::tools {
namespace {

struct Arguments {
  CommonArguments common;
  DataArguments data;
  QuantizationArguments quantization;
  std::string model, output, loader, format = "octet", shard;
  std::vector<std::string> merge;
  bool resume = false;
  bool method_given = false, percentile_given = false;
};

constexpr std::chrono::seconds kSaveEvery(20);

void report(const Arguments& arguments, const Calibrated& result) {
  warn_skipped(result.skipped);
  const std::string_view method = range_method_name(result.table.method);
  if (arguments.common.json) {
    print_json({{"table", arguments.output},
                {"tensors", result.table.tensors.size()},
                {"samples", result.table.samples},
                {"skipped", result.skipped.size()},
                {"method", method},
                {"preprocess", result.table.preprocess},
                {"problems", result.problems}});
    return;
  }
  for (const std::string& problem : result.problems) warn(problem);
  print(fmt::format("{}: ranges of {} from {} by {}\n", arguments.output,
                    plural(static_cast<int64_t>(result.table.tensors.size()), "tensor"),
                    plural(static_cast<int64_t>(result.table.samples), "sample"), method));
}

// ---- parts

// "2/4": every fourth sample from the second on.
std::vector<int64_t> shard_samples(const std::string& text, int64_t total) {
  int64_t part = 1, parts = 1;
  if (!text.empty()) {
    const auto number = [&](std::string_view digits, int64_t& value) {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      return error == std::errc() && end == digits.data() + digits.size();
    };
    const size_t slash = text.find('/');
    if (slash == std::string::npos || !number(std::string_view(text).substr(0, slash), part) ||
        !number(std::string_view(text).substr(slash + 1), parts) || part < 1 || parts < part)
      throw UsageError(
          fmt::format("--shard: '{}' is no part; expected I/N with I from 1 to N, e.g. 2/4", text));
    if (parts > total)
      throw UsageError(fmt::format("--shard {}: the data has {}, which make at most as many parts", text,
                                   plural(total, "sample")));
  }
  std::vector<int64_t> samples;
  for (int64_t i = part - 1; i < total; i += parts) samples.push_back(i);
  return samples;
}

std::string state_path(const Arguments& arguments) {
  return arguments.output + ".part";
}

// Whether a held signal waits that would end the process.
bool interrupted() {
  sigset_t pending;
  if (sigpending(&pending) != 0) return false;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    if (sigismember(&pending, number) == 1 && sigaction(number, nullptr, &action) == 0 &&
        action.sa_handler != SIG_IGN)
      return true;
  }
  return false;
}

// What an interrupted run left, if this one may go on with it.
std::optional<CalibrationPart> saved_state(const Arguments& arguments, uint64_t model_hash,
                                           const Dataset& data, const std::vector<int64_t>& samples) {
  const std::string path = state_path(arguments);
  if (!arguments.resume || !std::filesystem::exists(path)) return {};
  CalibrationPart state = load_part(path);
  if (state.model_hash != model_hash || state.total != data.size() || state.names_hash != names_hash(data))
    fail(ErrorCode::kInvalidArgument,
         "'{}' was begun with another model or other data ('{}', {} samples): resume with the options that "
         "it was begun with, or delete it",
         path, state.model_name, state.total);
  for (const PartSample& s : state.samples) {
    if (s.index >= data.size() || !std::binary_search(samples.begin(), samples.end(), s.index))
      fail(ErrorCode::kInvalidArgument,
           "'{}' has sample {}, which this run does not: resume with the options that it was begun with, or "
           "delete it",
           path, s.index + 1);
    if (data.sample_hash(s.index) != s.content_hash || name_hash(data.name(s.index)) != s.name_hash)
      fail(ErrorCode::kInvalidArgument,
           "'{}' has changed since it was calibrated with: start again without --resume", data.name(s.index));
  }
  return state;
}

// Only what is a state is deleted.
void forget_state(const Arguments& arguments) {
  std::error_code ignored;
  const std::string path = state_path(arguments);
  if (!std::filesystem::is_regular_file(path, ignored)) return;
  if (is_part(MappedFile(path).bytes())) std::filesystem::remove(path, ignored);
}

// All statistics that are wanted, those of an interrupted run too. When this run is interrupted, they are
// saved and the process ends by the signal.
CalibrationPart observe(const Arguments& arguments, const FloatModel& model) {
  const QuantizeOptions options = arguments.quantization.options();
  const Placement placement = place(model.graph, options);
  DataArguments from = arguments.data;
  if (!arguments.loader.empty()) from.samples = run_loader_script(arguments.loader, model.graph, from.limit);
  const auto preprocess =
      from.choose_preprocess({&model.graph.metadata}, only_input(model.graph), terminal_log());
  const auto data = from.open(preprocess);
  const std::vector<int64_t> samples = shard_samples(arguments.shard, data->size());
  const std::string path = state_path(arguments);
  check_writable(path, {arguments.model});
  std::optional<CalibrationPart> state = saved_state(arguments, model.hash, *data, samples);
  std::vector<int64_t> rest;
  for (const int64_t i : samples)
    if (!state ||
        !std::binary_search(state->samples.begin(), state->samples.end(), PartSample{i, 0, 0, false, {}, {}},
                            [](const PartSample& a, const PartSample& b) { return a.index < b.index; }))
      rest.push_back(i);
  if (state)
    note(fmt::format("going on behind {} of {} samples", samples.size() - rest.size(), samples.size()));
  const auto whole = [&](CalibrationPart part) {
    if (state) merge_part(part, *state, "this run", "'" + path + "'");
    return part;
  };

  const engine::Engine engine(build_engine(model.graph));
  const auto progress = terminal_progress(true);
  const HoldSignals hold;
  RunnerOptions runner = arguments.common.runner(*progress, "calibrating");
  runner.stop = interrupted;
  PartCheckpoint checkpoint;
  checkpoint.every = kSaveEvery;
  checkpoint.save = [&](const CalibrationPart& part) { save_part(whole(part), path); };
  CalibrationPart part =
      whole(observe_part(model, engine, placement, arguments.quantization, *data, rest, preprocess, runner,
                         whole_values(model.graph, options), checkpoint));
  if (part.samples.size() == samples.size()) return part;
  if (!part.samples.empty()) {
    save_part(part, path);
    note(fmt::format("interrupted: {} of {} samples are kept in '{}'; the same command with --resume goes on",
                     part.samples.size(), samples.size(), path));
  }
  // The signal ends the process where `hold` lets it through.
  fail(ErrorCode::kIo, "interrupted");
}

void run_merge(const Arguments& arguments) {
  for (const std::string& path : arguments.merge) check_writable(arguments.output, {path});
  CalibrationPart all = load_part(arguments.merge[0]);
  std::string name = "'" + arguments.merge[0] + "'";
  for (size_t i = 1; i < arguments.merge.size(); ++i) {
    merge_part(all, load_part(arguments.merge[i]), name, "'" + arguments.merge[i] + "'");
    name = "the parts before";
  }
  // Everything is there to choose from.
  if (arguments.method_given) all.method = parse_range_method(arguments.quantization.method);
  if (arguments.percentile_given) all.options.percentile = arguments.quantization.percentile;
  const Calibrated result = table_of_part(all);
  {
    const HoldSignals hold;
    save_table(result.table, arguments.output);
  }
  report(arguments, result);
}

void run(const Arguments& arguments) {
  if (!arguments.merge.empty()) return run_merge(arguments);
  check_writable(arguments.output, {arguments.model});
  const FloatModel model = load_float_model(arguments.model);
  const CalibrationPart part = observe(arguments, model);
  if (!arguments.shard.empty()) {
    {
      const HoldSignals hold;
      save_part(part, arguments.output);
    }
    forget_state(arguments);
    const auto skipped = std::count_if(part.samples.begin(), part.samples.end(),
                                       [](const PartSample& s) { return s.skipped; });
    if (arguments.common.json)
      print_json({{"part", arguments.output},
                  {"shard", arguments.shard},
                  {"samples", part.samples.size() - static_cast<size_t>(skipped)},
                  {"skipped", skipped},
                  {"total", part.total},
                  {"tensors", part.tensors.size()}});
    else
      print(fmt::format("{}: statistics of {} of {}; octet calibrate --merge makes a table of all parts\n",
                        arguments.output, part.samples.size(), plural(part.total, "sample")));
    return;
  }
  const Calibrated result = table_of_part(part);
  {
    const HoldSignals hold;
    if (arguments.format == "tensorrt") {
      AtomicFile file(arguments.output);
      file.write(tensorrt_cache_of(model, result.table, arguments.quantization.options()));
      file.commit();
    } else {
      save_table(result.table, arguments.output);
    }
  }
  forget_state(arguments);
  report(arguments, result);
}

}  // namespace

Command add_calibrate(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("calibrate", "Run a float model over data and write a table of value ranges.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->model, "float ONNX model; not with --merge");
  app->add_option("-o,--output", arguments->output, "the calibration table")->required()->type_name("TABLE");
  app->add_option("--format", arguments->format,
                  "octet: a table with all that was observed; tensorrt: a calibration cache as TensorRT's "
                  "calibrators write it, with the scales of --target tensorrt")
      ->check(CLI::IsMember({"octet", "tensorrt"}))
      ->capture_default_str();
  app->add_option("--shard", arguments->shard,
                  "observe only every N-th sample from the I-th on, and write a part of a calibration for "
                  "--merge; every process gets the same model, data and options")
      ->type_name("I/N");
  app->add_option("--merge", arguments->merge,
                  "make the table of these parts, in any order: the same bytes as of one run; --method may "
                  "choose another method than the parts were made with")
      ->type_name("PART...");
  app->add_flag("--resume", arguments->resume,
                "go on where an interrupted run with this output stopped (TABLE.part beside it)");
  add_options(*app, arguments->data, /*required=*/false);
  add_loader(*app, arguments->loader);
  add_options(*app, arguments->quantization, /*whole=*/false);
  arguments->common.add(*app);
  app->footer(
      "Example:\n  octet calibrate demo/model.onnx --data demo/images/calib \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\" -o model.table.json");
  return {app, [app, arguments] {
            const auto given = [app](const char* name) { return app->count(name) > 0; };
            if (!arguments->merge.empty()) {
              for (const char* name :
                   {"MODEL", "--data", "--preprocess", "--limit", "--shard", "--resume", "--target",
                    "--include", "--exclude", "--format", "--skip-bad-images", "--data-loader-script"})
                if (given(name))
                  throw UsageError(fmt::format("--merge with {}: the parts have all that is needed", name));
            } else {
              if (!given("MODEL")) throw UsageError("MODEL is required");
              if (!given("--data") && !given("--data-loader-script"))
                throw UsageError(
                    "--data is required: a folder of images, .npy or .npz arrays, or --data-loader-script");
            }
            if (arguments->merge.empty() || given("--method"))
              check_percentile(arguments->quantization, given("--percentile"));
            if (arguments->format == "tensorrt") {
              if (given("--shard"))
                throw UsageError("--shard writes a part of a table, not --format tensorrt");
              if (given("--target") && arguments->quantization.target != "tensorrt")
                throw UsageError("--format tensorrt: a cache has the scales of --target tensorrt");
              arguments->quantization.target = "tensorrt";
            }
            arguments->method_given = given("--method");
            arguments->percentile_given = given("--percentile");
            run(*arguments);
          }};
}

}  // namespace octet::tools
