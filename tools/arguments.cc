#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "common.h"
#include "quant/range/range.h"
#include "tensor/tensor.h"

namespace octet::tools {
namespace {

const std::vector<std::string> kStages{"equalization",  "absorption",      "smoothing", "centering",
                                       "float-tensors", "bias-correction", "gptq",      "refit"};

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (RangeMethod method : kRangeMethods) names.emplace_back(range_method_name(method));
  return names;
}

}  // namespace

void CommonArguments::add(CLI::App& app, bool with_threads) {
  app.add_flag("--json", json, "print one JSON object and nothing else to standard output");
  if (with_threads)
    app.add_option("--threads", threads, "number of threads; 0: one per available CPU")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
  app.add_option("--memory-limit", memory_limit_,
                 "most memory for tensors, e.g. 500M or 4G; default: the machine's")
      ->type_name("SIZE")
      ->each([](const std::string& text) { set_memory_limit(parse_size(text)); });
}

void CommonArguments::add_deterministic(CLI::App& app) {
  app.add_flag("--deterministic", deterministic,
               "float convolutions and products give the same bits on every CPU, slower");
}

RunnerOptions CommonArguments::runner(Progress& progress, std::string label) const {
  return {threads, &progress, std::move(label)};
}

void add_options(CLI::App& app, DataArguments& a, bool required) {
  app.add_option("--data", a.data, "folder of images, .txt list, .npy or .npz arrays")
      ->required(required)
      ->type_name("PATH");
  app.add_option("--preprocess", a.preprocess,
                 "how an image becomes a tensor, e.g. \"short=256 crop=224 rgb mean=127.5 std=127.5\"; steps "
                 "short= stretch= crop= letterbox= multiple= interp= rgb bgr gray mean= std= scale= nhwc. "
                 "Default: what the "
                 "model or engine has stored")
      ->type_name("STEPS");
  app.add_option("--limit", a.limit, "use the first N samples")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->type_name("N");
  app.add_flag("--skip-bad-images", a.skip_bad, "go on without images that cannot be read, and count them");
}

void add_loader(CLI::App& app, std::string& script) {
  app.add_option(
         "--data-loader-script", script,
         "Python script whose function load_data() (or the one behind the colon) yields dicts of arrays "
         "by input name; runs in python3, or what OCTET_PYTHON names")
      ->excludes("--data")
      ->type_name("FILE.py[:FUNCTION]");
}

void add_options(CLI::App& app, QuantizationArguments& a, bool whole) {
  app.add_option("--method", a.method, "how ranges are chosen")
      ->check(CLI::IsMember(method_names()))
      ->capture_default_str();
  app.add_option("--percentile", a.percentile, "percent of values inside the range, for --method percentile")
      ->check(CLI::Range(50.0, 100.0))
      ->capture_default_str();
  app.add_option("--target", a.target, "what the result is for: octet, tensorrt, onnxruntime or openvino")
      ->check(CLI::IsMember({"octet", "tensorrt", "onnxruntime", "openvino"}))
      ->capture_default_str();
  const auto names = [&](const std::string& flag, std::vector<std::string>& list, const std::string& help) {
    app.add_option(flag, list, help)->allow_extra_args(false)->type_name("NODE");
  };
  names("--include", a.include, "quantize only nodes of this name or operator type; may be repeated");
  names("--exclude", a.exclude, "leave nodes of this name or operator type in float; may be repeated");
  if (!whole) return;
  app.add_option("--activation-scales", a.activation_scales,
                 "one scale per activation tensor, or one per channel wherever that helps; auto: per channel "
                 "where it gains 6 dB or more (3 where a fifth of all tensors do) and the target takes it")
      ->check(CLI::IsMember({"auto", "tensor", "channel"}))
      ->capture_default_str();
  app.add_option(
         "--activations", a.activations,
         "float: only weights and embeddings become 8 bits, which makes the file a quarter; layers compute "
         "in float")
      ->check(CLI::IsMember({"int8", "float"}))
      ->capture_default_str();
  app.add_option(
         "--weights", a.weights,
         "int4: weights of 4 bits, except in the first and the last layers and in depthwise ones; the "
         "engine multiplies them as 8 bits")
      ->check(CLI::IsMember({"int8", "int4"}))
      ->capture_default_str();
  app.add_flag("--weights-per-tensor", a.weights_per_tensor,
               "one scale per weight tensor, not per channel; the channels are equalized before");
  app.add_flag("--input-bytes", a.input_bytes,
               "the model takes images as uint8 in the layout of its float input, before mean, std and scale "
               "of the preprocessing");
  app.add_flag("--quantize-outputs", a.quantize_outputs,
               "the network's outputs are 8-bit too, for build --int8-only");
}

void check_percentile(const QuantizationArguments& arguments, bool given) {
  if (given && arguments.method != "percentile")
    throw UsageError(fmt::format("--percentile belongs to --method percentile, not to {}", arguments.method));
}

void add_options(CLI::App& app, EffortArguments& a) {
  app.add_option(
         "--effort", a.effort,
         "fast: biases alone, matched on at most 48 samples, no report on each layer; default: each layer "
         "refitted, rounded and its bias matched behind its activation, in small networks by the best "
         "of a few recipes; best: the best of many, by held-back samples")
      ->check(CLI::IsMember({"fast", "default", "best"}))
      ->capture_default_str();
  app.add_option(
         "--rounding", a.rounding,
         "how weights are rounded, where that beats the nearest on held-back samples: gptq; adaround, which "
         "learns it, no better and four times slower; brecq: gptq, then roundings, steps, biases and "
         "activations' scales (LSQ) learned block by block, for minutes; auto: gptq")
      ->check(CLI::IsMember({"auto", "gptq", "adaround", "brecq"}))
      ->capture_default_str();
  app.add_option("--skip", a.skip,
                 "leave out stages, e.g. gptq,refit: any of equalization and absorption (of weights with one "
                 "scale per tensor), smoothing, centering and float-tensors (of activations, for targets "
                 "with one scale per tensor), bias-correction, gptq, refit")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(kStages))
      ->type_name("STAGE,...");
  app.add_flag("!--no-bias-correction", a.bias_correction, "the same as --skip bias-correction");
}

int64_t parse_size(const std::string& text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const std::string_view suffix(stop, static_cast<size_t>(end - stop));
  constexpr std::string_view kUnits = "KMG";
  int shift = 0;
  bool good = error == std::errc() && value > 0 && suffix.size() <= 1;
  if (good && !suffix.empty()) {
    const size_t unit = kUnits.find(suffix[0]);
    good = unit != std::string_view::npos;
    if (good) shift = 10 * (static_cast<int>(unit) + 1);
  }
  if (!good || value > INT64_MAX >> shift)
    throw UsageError(fmt::format("--memory-limit: '{}' is no size; expected e.g. 500M or 4G", text));
  return value << shift;
}

std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& option) {
  const size_t at = text.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size())
    throw UsageError(fmt::format("{}: '{}' has not the form NAME=VALUE", option, text));
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace octet::tools
