// The flags of trtexec.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "trtexec.h"

namespace octet::tools {
namespace {

using Options = TrtexecOptions;
using Setter = std::function<void(Options&, const std::string& flag, const std::string& value)>;

// Of other hardware, or of parts that Octet does not have: accepted with a warning.
const std::set<std::string, std::less<>> kIgnoredFlags{"useCudaGraph",
                                                       "noDataTransfers",
                                                       "useSpinWait",
                                                       "versionCompatible",
                                                       "useManagedMemory",
                                                       "exposeDMA",
                                                       "allowGPUFallback",
                                                       "refit",
                                                       "safe",
                                                       "consistency",
                                                       "directIO",
                                                       "excludeLeanRuntime",
                                                       "timeDeserialize",
                                                       "timeRefit",
                                                       "heuristic",
                                                       "errorOnTimingCacheMiss",
                                                       "noCompilationCache",
                                                       "noBuilderCache",
                                                       "restricted",
                                                       "stripWeights",
                                                       "allowWeightStreaming",
                                                       "markUnfusedTensorsAsDebugTensors",
                                                       "skipCompatCheck"};
const std::set<std::string, std::less<>> kIgnoredValues{"device",
                                                        "tacticSources",
                                                        "sparsity",
                                                        "hardwareCompatibilityLevel",
                                                        "minTiming",
                                                        "avgTiming",
                                                        "batch",
                                                        "maxBatch",
                                                        "plugins",
                                                        "dynamicPlugins",
                                                        "staticPlugins",
                                                        "setPluginsToSerialize",
                                                        "useRuntime",
                                                        "leanDLLPath",
                                                        "maxAuxStreams",
                                                        "persistentCacheRatio",
                                                        "previewFeatures",
                                                        "preview",
                                                        "tempdir",
                                                        "tempfileControls",
                                                        "weightStreamingBudget",
                                                        "runtimePlatform",
                                                        "computeCapabilities",
                                                        "tilingOptimizationLevel",
                                                        "l2LimitForTiling",
                                                        "remoteAutoTuningConfig",
                                                        "sleepTime",
                                                        "idleTime",
                                                        "layerDeviceTypes",
                                                        "allocationStrategy"};
// Where going on would not be what was asked for.
const std::map<std::string, std::string, std::less<>> kRefused{
    {"useDLACore",
     "there is no DLA here: leave out --useDLACore and --allowGPUFallback, and the model runs on the CPU"},
    {"deploy", "Caffe models are not supported: convert the model to ONNX and give it as --onnx"},
    {"model", "Caffe models are not supported: convert the model to ONNX and give it as --onnx"},
    {"uff", "UFF models are not supported: convert the model to ONNX and give it as --onnx"},
    {"fp8", "there are no 8-bit floats here: --int8 or --fp16"},
    {"int4", "there is no 4-bit quantization here: --int8"}};

[[noreturn]] void wrong(const std::string& flag, const std::string& value, const std::string& expected) {
  throw UsageError(fmt::format("--{}: '{}' is wrong, expected {}", flag, value, expected));
}

double number(const std::string& flag, const std::string& value, double low, double high,
              const std::string& expected) {
  char* end = nullptr;
  const double result = std::strtod(value.c_str(), &end);
  if (value.empty() || *end != '\0' || !(result >= low && result <= high)) wrong(flag, value, expected);
  return result;
}

int64_t whole(const std::string& flag, const std::string& value, int64_t low, int64_t high) {
  int64_t result = 0;
  const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc() || stop != value.data() + value.size() || result < low || result > high)
    wrong(flag, value, fmt::format("a whole number from {} to {}", low, high));
  return result;
}

std::vector<std::string> parts(const std::string& text) {
  std::vector<std::string> list;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    list.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return list;
}

// "workspace:1024MiB": a number and M, G, MiB ...; a plain one counts MiB. The arena is exact, so that the
// limit is checked and not used.
void check_pools(const std::string& flag, const std::string& value) {
  static const std::set<std::string, std::less<>> kPools{"workspace", "dlaSRAM", "dlaLocalDRAM",
                                                         "dlaGlobalDRAM", "tacticSharedMem"};
  static const std::set<std::string, std::less<>> kUnits{"",   "B",   "K", "KB", "KiB", "M",
                                                         "MB", "MiB", "G", "GB", "GiB"};
  for (const std::string& part : parts(value)) {
    const size_t colon = part.find(':');
    const std::string size = colon == std::string::npos ? "" : part.substr(colon + 1);
    const size_t unit = size.find_first_not_of("0123456789.");
    if (colon == std::string::npos || !kPools.contains(part.substr(0, colon)) || unit == 0 || size.empty() ||
        !kUnits.contains(unit == std::string::npos ? "" : size.substr(unit)))
      wrong(flag, part, "POOL:SIZE with one of workspace, tacticSharedMem, for instance workspace:1024MiB");
  }
}

Setter text(std::string Options::*field) {
  return [field](Options& o, const std::string& flag, const std::string& value) {
    if (value.empty()) wrong(flag, value, "a value");
    o.*field = value;
  };
}

Setter choice(std::string Options::*field, std::vector<std::string> choices) {
  return [field, choices](Options& o, const std::string& flag, const std::string& value) {
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      std::string all;
      for (const std::string& c : choices) all += (all.empty() ? "" : ", ") + c;
      wrong(flag, value, "one of " + all);
    }
    o.*field = value;
  };
}

Setter shapes(ProfileArguments Options::*field, std::vector<std::string> ProfileArguments::*which) {
  return [field, which](Options& o, const std::string& flag, const std::string& value) {
    parse_input_shapes(value, "--" + flag);
    (o.*field.*which).push_back(value);
  };
}

Setter real(double Options::*field, double low, double high, const std::string& expected) {
  return [=](Options& o, const std::string& flag, const std::string& value) {
    o.*field = number(flag, value, low, high, expected);
  };
}

Setter count(int64_t Options::*field, int64_t low, int64_t high) {
  return [=](Options& o, const std::string& flag, const std::string& value) {
    o.*field = whole(flag, value, low, high);
  };
}

const std::map<std::string, Setter, std::less<>>& values() {
  static const std::map<std::string, Setter, std::less<>> kValues{
      {"onnx", text(&Options::onnx)},
      {"saveEngine", text(&Options::save_engine)},
      {"loadEngine", text(&Options::load_engine)},
      {"calib", text(&Options::calib)},
      {"preprocess", [](Options& o, const auto&, const std::string& v) { o.preprocess = v; }},
      {"minShapes", shapes(&Options::shapes, &ProfileArguments::minimum)},
      {"optShapes", shapes(&Options::shapes, &ProfileArguments::optimum)},
      {"maxShapes", shapes(&Options::shapes, &ProfileArguments::maximum)},
      {"minShapesCalib", shapes(&Options::calib_shapes, &ProfileArguments::minimum)},
      {"optShapesCalib", shapes(&Options::calib_shapes, &ProfileArguments::optimum)},
      {"maxShapesCalib", shapes(&Options::calib_shapes, &ProfileArguments::maximum)},
      {"shapes",
       [](Options& o, const std::string& flag, const std::string& v) {
         parse_input_shapes(v, "--" + flag);
         o.run_shapes = v;
       }},
      {"profile", [](Options&, const std::string& f, const std::string& v) { whole(f, v, 0, 1000); }},
      {"calibProfile",
       [](Options& o, const std::string& f, const std::string& v) {
         o.calib_profile = static_cast<size_t>(whole(f, v, 0, 1000));
       }},
      {"workspace",
       [](Options&, const std::string& f, const std::string& v) { number(f, v, 0, 1e12, "megabytes"); }},
      {"memPoolSize", [](Options&, const std::string& f, const std::string& v) { check_pools(f, v); }},
      {"inputIOFormats", text(&Options::input_formats)},
      {"outputIOFormats", text(&Options::output_formats)},
      {"precisionConstraints", choice(&Options::precision_constraints, {"none", "prefer", "obey"})},
      {"layerPrecisions", text(&Options::layer_precisions)},
      {"layerOutputTypes",
       [](Options& o, const std::string& f, const std::string& v) {
         if (v.find(':') == std::string::npos) wrong(f, v, "LAYER:TYPE");
         o.notes.push_back(
             "--layerOutputTypes: 8-bit readers of such an output round it themselves, to the same values");
       }},
      {"timingCacheFile",
       [](Options& o, const auto&, const auto&) {
         o.notes.push_back(
             "--timingCacheFile: kernels are chosen without timing, nothing is read or written");
       }},
      {"builderOptimizationLevel",
       [](Options&, const std::string& f, const std::string& v) { whole(f, v, 0, 5); }},
      {"loadInputs", text(&Options::load_inputs)},
      {"loadRefOutputs", text(&Options::ref_outputs)},
      {"accuracyAlgorithm", choice(&Options::accuracy, {"elementwise", "cos", "l2"})},
      {"accuracyThreshold", real(&Options::threshold, -1, 1e9, "a number")},
      {"atol", real(&Options::atol, 0, 1e30, "a number that is not negative")},
      {"rtol", real(&Options::rtol, 0, 1e30, "a number that is not negative")},
      {"iterations", count(&Options::iterations, 0, int64_t{1} << 40)},
      {"warmUp", real(&Options::warm_up_ms, 0, 3.6e6, "milliseconds")},
      {"duration", real(&Options::duration_s, -1, 86400, "seconds, or -1 for --iterations alone")},
      {"avgRuns", count(&Options::average, 1, int64_t{1} << 40)},
      {"streams", count(&Options::streams, 1, 1024)},
      {"infStreams", count(&Options::streams, 1, 1024)},
      {"percentile",
       [](Options& o, const std::string& f, const std::string& v) {
         o.percentiles.clear();
         for (const std::string& p : parts(v))
           o.percentiles.push_back(number(f, p, 0, 100, "percents from 0 to 100, separated by commas"));
       }},
      {"exportTimes", text(&Options::export_times)},
      {"exportProfile", text(&Options::export_profile)},
      {"exportLayerInfo", text(&Options::export_layers)},
      {"exportOutput", text(&Options::export_output)},
      {"profilingVerbosity", [](Options& o, const std::string& f, const std::string& v) {
         if (v != "layer_names_only" && v != "detailed" && v != "none" && v != "default" && v != "verbose")
           wrong(f, v, "layer_names_only, detailed or none");
         o.profile_detailed = v == "detailed" || v == "verbose";
       }}};
  return kValues;
}

const std::map<std::string, bool Options::*, std::less<>> kFlags{
    {"help", &Options::help},
    {"verbose", &Options::verbose},
    {"int8", &Options::int8},
    {"fp16", &Options::fp16},
    {"bf16", &Options::bf16},
    {"best", &Options::best},
    {"buildOnly", &Options::build_only},
    {"skipInference", &Options::build_only},
    {"dumpProfile", &Options::dump_profile},
    {"dumpLayerInfo", &Options::dump_layers},
    {"dumpOutput", &Options::dump_output},
    // What is so anyway: types as the model says, float32 without TF32, streams on threads of their own, the
    // profile in runs of its own.
    {"stronglyTyped", nullptr},
    {"noTF32", nullptr},
    {"threads", nullptr},
    {"separateProfileRun", nullptr},
    {"explicitBatch", nullptr},
    {"noSeparateProfileRun", nullptr}};

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      const bool same = std::tolower(static_cast<unsigned char>(a[i - 1])) ==
                        std::tolower(static_cast<unsigned char>(b[j - 1]));
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

[[noreturn]] void unknown(const std::string& flag) {
  std::string nearest;
  size_t least = SIZE_MAX;
  const auto consider = [&](const std::string& name) {
    if (const size_t d = distance(flag, name); d < least) {
      least = d;
      nearest = name;
    }
  };
  for (const auto& entry : values()) consider(entry.first);
  for (const auto& entry : kFlags) consider(entry.first);
  for (const std::string& name : kIgnoredFlags) consider(name);
  for (const std::string& name : kIgnoredValues) consider(name);
  throw UsageError(fmt::format("unknown flag --{}; the nearest is --{}", flag, nearest));
}

void check(const Options& o) {
  if (o.onnx.empty() && o.load_engine.empty())
    throw UsageError("no model: give --onnx=MODEL.onnx or --loadEngine=ENGINE");
  if (!o.onnx.empty() && !o.load_engine.empty())
    throw UsageError("--onnx and --loadEngine: give one of them");
  if (o.fp16 && o.bf16) throw UsageError("--fp16 and --bf16: give one of them");
  if (!o.load_engine.empty() && !o.save_engine.empty())
    throw UsageError("--saveEngine: the engine of --loadEngine is there already");
}

}  // namespace

TrtexecOptions parse_trtexec(const std::vector<std::string>& words) {
  Options o;
  for (const std::string& word : words) o.line += (o.line.empty() ? "" : " ") + word;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-h") o.help = true;
    if (word == "-h") continue;
    if (!word.starts_with("--") || word.size() == 2)
      throw UsageError(fmt::format("'{}' is no flag: expected --flag or --flag=value", word));
    const size_t equals = word.find('=');
    const std::string flag = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (const auto refused = kRefused.find(flag); refused != kRefused.end())
      throw UsageError(fmt::format("--{}: {}", flag, refused->second));
    if (const auto found = kFlags.find(flag); found != kFlags.end() || kIgnoredFlags.contains(flag)) {
      if (equals != std::string::npos) throw UsageError(fmt::format("--{} takes no value", flag));
      if (found == kFlags.end())
        o.ignored.push_back("--" + flag);
      else if (found->second != nullptr)
        o.*(found->second) = true;
      continue;
    }
    const auto setter = values().find(flag);
    if (setter == values().end() && !kIgnoredValues.contains(flag)) unknown(flag);
    std::string value;
    if (equals != std::string::npos)
      value = word.substr(equals + 1);
    else if (i + 1 < words.size() && !words[i + 1].starts_with("--"))
      value = words[++i];
    else
      throw UsageError(fmt::format("--{} needs a value: --{}=...", flag, flag));
    if (setter == values().end())
      o.ignored.push_back("--" + flag);
    else
      setter->second(o, flag, value);
  }
  if (!o.help) check(o);
  return o;
}

std::string trtexec_help() {
  std::string text =
      "Builds, calibrates, runs and times models by the flags of TensorRT's trtexec, on the CPU.\n\n"
      "Usage: octet trtexec --onnx=MODEL.onnx|--loadEngine=ENGINE [FLAGS]\n\n"
      "Flags beside trtexec's own meaning:\n"
      "  --calib=PATH         a calibration cache, or a folder of images\n"
      "  --preprocess=STEPS   how an image becomes a tensor (octet quantize --help); without it: letterbox\n"
      "                       to the input's size on grey 128, RGB, values / 255\n"
      "  --fp16, --bf16       store float weights in 16 bits\n"
      "  --int8               without --calib and Q/DQ: quantizes from made-up images\n"
      "  --duration=-1        --iterations decides alone\n\nFlags:\n ";
  size_t column = 1;
  const auto add = [&](const std::string& word) {
    if (column + word.size() + 1 > 100) {
      text += "\n ";
      column = 1;
    }
    text += " " + word;
    column += word.size() + 1;
  };
  for (const auto& entry : kFlags) add("--" + entry.first);
  for (const auto& entry : values()) add("--" + entry.first + "=");
  text += "\n\nAccepted, without a meaning here:\n ";
  column = 1;
  for (const std::string& name : kIgnoredFlags) add("--" + name);
  for (const std::string& name : kIgnoredValues) add("--" + name + "=");
  return text +
         "\n\nExample:\n  octet trtexec --onnx=demo/model.onnx --int8 --calib=demo/images/calib \\\n"
         "      --saveEngine=model.plan\n";
}

}  // namespace octet::tools
