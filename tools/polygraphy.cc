// octet polygraphy convert: what scripts written for Polygraphy's command of that name ask for.
//
// Flags and their meaning: NVIDIA, Polygraphy, `polygraphy convert --help`.
#include <CLI/CLI.hpp>
#include <charconv>

#include "base/file.h"
#include "command.h"
#include "common.h"
#include "loader_script.h"
#include "octet/builder.h"
#include "onnx/onnx.h"
#include "pipeline/model_state.h"

namespace octet::tools {
namespace {

struct Arguments {
  std::string model, output, loader, cache, base_class, kind;
  std::vector<std::string> minimum, optimum, maximum;
  bool int8 = false, fp16 = false, bf16 = false, verbose = false;
  int threads = 0;
};

// What a loader script gives, sample by sample, and a cache file that is read if it exists and written if
// not.
class ScriptCalibrator final : public Calibrator {
 public:
  ScriptCalibrator(const Arguments& arguments, const Model& model) : arguments_(arguments), model_(model) {}

  int64_t batch_size() const override { return 1; }
  bool next_batch(std::span<CalibrationArray> arrays) override {
    if (data_ == nullptr) {
      if (arguments_.loader.empty())
        fail(ErrorCode::kInvalidArgument,
             "the calibration cache '{}' is not there: give --data-loader-script, so that it can be made",
             arguments_.cache);
      data_ = run_loader_script(arguments_.loader, model_.state().graph, 0);
    }
    if (next_ >= data_->size()) return false;
    sample_ = data_->load(next_++);
    for (CalibrationArray& a : arrays) {
      const Tensor& t = sample_.inputs.at(a.name);
      a.shape = t.shape();
      a.data = t.raw();
    }
    return true;
  }
  std::string read_cache() override {
    std::error_code error;
    if (arguments_.cache.empty() || !std::filesystem::exists(arguments_.cache, error)) return {};
    return read_text(arguments_.cache, int64_t{256} << 20);
  }
  void write_cache(std::string_view cache) override {
    if (arguments_.cache.empty()) return;
    const HoldSignals hold;
    AtomicFile file(arguments_.cache);
    file.write(cache);
    file.commit();
  }
  std::string algorithm() const override {
    return arguments_.base_class == "IInt8MinMaxCalibrator" ? "MinMaxCalibration" : "EntropyCalibration2";
  }

 private:
  const Arguments& arguments_;
  const Model& model_;
  std::shared_ptr<SampleStore> data_;
  Sample sample_;
  int64_t next_ = 0;
};

// "input:[1,3,224,224]". Throws UsageError.
std::pair<std::string, std::vector<int64_t>> parse_shape(const std::string& text, const std::string& option) {
  const auto wrong = [&]() -> UsageError {
    return UsageError(fmt::format("{}: '{}' has not the form INPUT:[1,3,224,224]", option, text));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 3 > text.size()) throw wrong();
  std::string list = text.substr(colon + 1);
  if (list.front() != '[' || list.back() != ']') throw wrong();
  std::vector<int64_t> shape;
  const char* at = list.data() + 1;
  const char* end = list.data() + list.size() - 1;
  while (at != end) {
    int64_t size = 0;
    const auto [stop, error] = std::from_chars(at, end, size);
    if (error != std::errc() || size < 1 || (stop != end && *stop != ',') || stop + 1 == end) throw wrong();
    shape.push_back(size);
    at = stop == end ? end : stop + 1;
  }
  return {text.substr(0, colon), shape};
}

InputProfile profile_of(const Arguments& arguments) {
  InputProfile profile;
  for (const std::string& t : arguments.minimum) profile.minimum.insert(parse_shape(t, "--trt-min-shapes"));
  for (const std::string& t : arguments.optimum) profile.optimum.insert(parse_shape(t, "--trt-opt-shapes"));
  for (const std::string& t : arguments.maximum) profile.maximum.insert(parse_shape(t, "--trt-max-shapes"));
  return profile;
}

void run(const Arguments& arguments) {
  if (!arguments.int8 && (!arguments.loader.empty() || !arguments.cache.empty()))
    throw UsageError("--data-loader-script and --calibration-cache are for --int8");
  check_writable(arguments.output, {arguments.model, arguments.loader, arguments.cache});
  const Model model = Model::load(arguments.model);
  BuilderConfig config;
  config.int8 = arguments.int8;
  config.fp16 = arguments.fp16;
  config.bf16 = arguments.bf16;
  config.threads = arguments.threads;
  config.log = [&](Severity severity, std::string_view text) {
    if (severity <= Severity::kWarning) warn(text);
    if (severity == Severity::kInfo && arguments.verbose) note(text);
  };
  if (arguments.base_class == "IInt8MinMaxCalibrator") config.method = "minmax";
  if (const InputProfile p = profile_of(arguments);
      !p.minimum.empty() || !p.optimum.empty() || !p.maximum.empty())
    config.profiles.push_back(p);
  if (!arguments.loader.empty() || !arguments.cache.empty())
    config.calibrator = std::make_shared<ScriptCalibrator>(arguments, model);
  const runtime::Engine engine = build(model, config);
  {
    const HoldSignals hold;
    engine.save(arguments.output);
  }
  print(fmt::format("{}: {}\n", arguments.output,
                    size_text(static_cast<int64_t>(std::filesystem::file_size(arguments.output)))));
}

}  // namespace

Command add_polygraphy(CLI::App& root) {
  CLI::App* polygraphy =
      root.add_subcommand("polygraphy", "Take the flags of 'polygraphy convert', and do what they ask for.");
  CLI::App* app = polygraphy->add_subcommand("convert", "Make an engine from an ONNX model.");
  polygraphy->require_subcommand(1);
  const auto a = std::make_shared<Arguments>();
  app->add_option("MODEL", a->model, "ONNX model")->required();
  app->add_option("-o,--output,--out", a->output, "the engine")->required()->type_name("ENGINE");
  app->add_option("--convert-to", a->kind, "trt: the only one")->check(CLI::IsMember({"trt"}));
  app->add_flag("--int8", a->int8, "8 bits; without data or a cache made-up samples calibrate");
  app->add_flag("--fp16", a->fp16, "store float weights as float16");
  app->add_flag("--bf16", a->bf16, "store float weights as bfloat16");
  app->add_option(
         "--data-loader-script", a->loader,
         "Python script whose function load_data() (or the one behind the colon) yields dicts of arrays by "
         "input name; runs in python3, or what OCTET_PYTHON names")
      ->type_name("FILE.py[:FUNCTION]");
  app->add_option("--calibration-cache", a->cache,
                  "read if it exists, and written if not (TensorRT's format)")
      ->type_name("CACHE");
  app->add_option("--calibration-base-cls,--calib-base-cls", a->base_class,
                  "the calibrator whose method is taken")
      ->check(CLI::IsMember({"IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator"}));
  app->add_option("--trt-min-shapes", a->minimum, "smallest shapes")->type_name("INPUT:[N,..]");
  app->add_option("--trt-opt-shapes", a->optimum, "likely shapes")->type_name("INPUT:[N,..]");
  app->add_option("--trt-max-shapes", a->maximum, "largest shapes")->type_name("INPUT:[N,..]");
  app->add_option("--threads", a->threads, "threads that calibrate; 0: one per available CPU")
      ->check(CLI::Range(0, 4096));
  app->add_flag("-v,--verbose", a->verbose, "say what is done");
  const char* example =
      "Example:\n  octet polygraphy convert model.onnx --int8 --data-loader-script loader.py \\\n"
      "      --calibration-cache model.cache -o model.engine";
  polygraphy->footer(example);
  app->footer(example);
  return {app, [a] { run(*a); }};
}

}  // namespace octet::tools
