#include "octet/builder.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>

#include "build/build.h"
#include "engine/runtime_state.h"
#include "onnx/onnx.h"
#include "pipeline/files.h"
#include "pipeline/model_state.h"
#include "pipeline/quantize_pipeline.h"
#include "pipeline/sample_store.h"
#include "pipeline/text.h"
#include "report/compare.h"

namespace octet {
namespace {

std::vector<ShapeProfile> profiles_of(const BuilderConfig& config) {
  std::vector<ShapeProfile> profiles;
  for (const InputProfile& given : config.profiles) {
    ShapeProfile p{given.minimum, given.optimum, given.maximum};
    p.complete();
    profiles.push_back(std::move(p));
  }
  return profiles;
}

// What a calibrator is told to give: the likely sizes, and its own batch.
std::vector<Shape> calibration_shapes(const std::vector<runtime::TensorInfo>& inputs,
                                      const BuilderConfig& config) {
  std::vector<Shape> shapes;
  for (const runtime::TensorInfo& input : inputs) {
    Shape shape = input.shape;
    if (!shape.empty() && shape[0] < 0) shape[0] = config.calibrator->batch_size();
    const auto fill = [&](const std::map<std::string, Shape>& from) {
      const auto found = from.find(input.name);
      if (found == from.end() || found->second.size() != shape.size()) return;
      for (size_t d = 0; d < shape.size(); ++d)
        if (shape[d] < 0) shape[d] = found->second[d];
    };
    fill(config.calibration_shapes);
    for (const ShapeProfile& p : profiles_of(config)) fill(p.optimum);
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

void check(const BuilderConfig& config) {
  if (config.fp16 && config.bf16)
    throw UsageError("fp16 and bf16 exclude each other: choose the one that the weights shall have");
  if (config.limit < 0)
    fail(ErrorCode::kInvalidArgument, "limit of {} samples; expected at least 1, or 0 for all", config.limit);
  if (config.workspace < 0)
    fail(ErrorCode::kInvalidArgument, "workspace of {} bytes: expected at least 0", config.workspace);
  if (config.effort != "fast" && config.effort != "default" && config.effort != "best")
    fail(ErrorCode::kInvalidArgument, "effort '{}': expected fast, default or best", config.effort);
  parse_range_method(config.method);
  RangeOptions ranges;
  ranges.percentile = config.percentile;
  validate(ranges);
  find_target(config.target);
}

// Opens the data that the configuration names.
void use_data(const BuilderConfig& config, const std::vector<runtime::TensorInfo>& inputs,
              const std::vector<runtime::TensorInfo>& outputs, DataArguments& data) {
  data.limit = config.limit;
  if (!config.preprocess.empty()) data.preprocess = config.preprocess;
  if (config.calibrator == nullptr) {
    data.data = config.data;
    return;
  }
  Calibrator& calibrator = *config.calibrator;
  if (const int64_t batch = calibrator.batch_size(); batch < 1 || batch > 65536)
    fail(ErrorCode::kInvalidArgument, "the calibrator has batches of {}: expected 1 to 65536", batch);
  const std::vector<Shape> shapes = calibration_shapes(inputs, config);
  const auto* folder = dynamic_cast<const ImageFolderCalibrator*>(&calibrator);
  if (folder != nullptr && inputs.size() == 1) {
    data.data = folder->folder().string();
    data.preprocess = folder->preprocess(shapes[0]);
    return;
  }
  const auto store = std::make_shared<SampleStore>(inputs, outputs, "the calibrator", config.workspace);
  read_batches(calibrator, inputs, shapes, config.limit, *store);
  data.samples = store;
}

FloatModel float_model(const Model::State& state) {
  return float_model(state.graph, state.path, state.hash, state.files);
}

QuantizeArguments arguments_of(const BuilderConfig& config) {
  QuantizeArguments arguments;
  arguments.threads = config.threads;
  arguments.quantization.method = config.method;
  arguments.quantization.percentile = config.percentile;
  arguments.quantization.target = config.target;
  arguments.quantization.include = config.include;
  arguments.quantization.exclude = config.exclude;
  arguments.effort.effort = config.effort;
  arguments.table = config.table;
  return arguments;
}

// Before anything else takes long, so that the cache is there whatever happens later.
void write_cache(const BuilderConfig& config, const FloatModel& model, const QuantizeArguments& arguments) {
  QuantizationArguments quantization = arguments.quantization;
  quantization.target = "tensorrt";
  const auto preprocess =
      arguments.data.choose_preprocess({&model.graph.metadata}, only_input(model.graph), {});
  const auto data = arguments.data.open(preprocess);
  const Calibrated done = calibrate_whole(model, quantization, *data, preprocess,
                                          {arguments.threads, &no_progress(), "calibrating"});
  config.calibrator->write_cache(
      tensorrt_cache_of(model, done.table, quantization.options(), config.calibrator->algorithm()));
}

// For an engine of ours, or a model for others.
Graph quantized(const Model& model, const BuilderConfig& config, bool for_engine,
                QuantizationReport* report) {
  check(config);
  QuantizeArguments arguments = arguments_of(config);
  FloatModel floats = float_model(model.state());
  if (arguments.table.empty() && config.calibrator != nullptr) {
    if (const std::string cache = config.calibrator->read_cache(); !cache.empty()) {
      arguments.table = "the calibrator's cache";
      arguments.loaded = parse_any_table(cache, arguments.table);
    }
  } else if (!arguments.table.empty()) {
    arguments.loaded = load_any_table(arguments.table);
  }
  if (arguments.loaded) {
    if (arguments.loaded->from_tensorrt)
      arguments.quantization.target = for_engine ? kOctetSymmetric : "tensorrt";
  } else {
    use_data(config, model.inputs(), model.outputs(), arguments.data);
    if (config.calibrator != nullptr) write_cache(config, floats, arguments);
  }
  const Quantized done = quantize(arguments, floats, no_progress(), config.log);
  QuantizationReport own;
  own.warnings = done.calibrated.problems;
  for (const SkippedSample& s : done.calibrated.skipped) own.warnings.push_back("skipped: " + s.reason);
  if (done.report) {
    for (std::string& w : quality_warnings(*done.report)) own.warnings.push_back(std::move(w));
    own.sqnr_db = done.report->all_outputs.sqnr_db().value_or(0);
  }
  own.samples = static_cast<int64_t>(done.calibrated.table.samples);
  own.layers = static_cast<int64_t>(done.done.layers.size());
  own.preprocess = done.calibrated.table.preprocess;
  for (const std::string& w : own.warnings) warn(config.log, w);
  note(config.log,
       fmt::format("{} in 8 bits{}", plural(own.layers, "node"),
                   done.report ? ", outputs at " + db_text(done.report->all_outputs.sqnr_db()) : ""));
  if (report != nullptr) *report = std::move(own);
  return done.done.graph;
}

ComparedTensor compared(const LayerComparison& layer) {
  return {layer.name, layer.sums.sqnr_db().value_or(std::numeric_limits<double>::infinity()),
          layer.sums.cosine()};
}

}  // namespace

std::vector<runtime::TensorInfo> describe(const Graph& graph, const std::vector<ValueId>& values) {
  std::vector<runtime::TensorInfo> infos;
  for (const ValueId v : values) {
    const Value& value = graph.value(v);
    runtime::TensorInfo info;
    info.name = value.name;
    info.dtype = value.dtype.value_or(DType::kFloat32);
    if (value.shape) {
      for (const Dim& d : *value.shape) info.shape.push_back(d.known() ? d.value() : -1);
      info.shape_text = to_string(*value.shape);
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

Model::State::State(std::filesystem::path where, uint64_t content, Graph imported,
                    std::vector<MappedFile> mapped)
    : path(std::move(where)),
      hash(content),
      graph(std::move(imported)),
      files(std::move(mapped)),
      quantized(is_quantized(graph)),
      inputs(describe(graph, graph.inputs())),
      outputs(describe(graph, graph.outputs())) {}

Model::Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Model Model::load(const std::filesystem::path& path) {
  if (const FileKind kind = file_kind(path); kind != FileKind::kModel)
    fail(ErrorCode::kBadFile, "'{}' is {}: expected an ONNX model", path.string(),
         kind == FileKind::kEngine ? "an engine: load it as runtime::Engine" : "no model");
  std::vector<MappedFile> files;
  ImportOptions options;
  options.files = &files;
  Graph graph = import_onnx(path, options);
  const uint64_t hash = model_hash(files);
  return Model(std::make_shared<const State>(path, hash, std::move(graph), std::move(files)));
}

Model Model::load(std::span<const std::byte> bytes, const std::string& name,
                  const std::filesystem::path& folder) {
  std::vector<MappedFile> files;
  ImportOptions options;
  options.files = &files;
  Graph graph = import_onnx(bytes, name, folder, options);
  uint64_t hash = XXH3_64bits(bytes.data(), bytes.size());
  for (const MappedFile& file : files) hash = hash * 0x9e3779b97f4a7c15u + content_hash(file);
  return Model(std::make_shared<const State>(name, hash, std::move(graph), std::move(files)));
}

const std::vector<runtime::TensorInfo>& Model::inputs() const {
  return state_->inputs;
}
const std::vector<runtime::TensorInfo>& Model::outputs() const {
  return state_->outputs;
}
bool Model::quantized() const {
  return state_->quantized;
}

void Model::save(const std::filesystem::path& path) const {
  export_onnx(state_->graph, path);
}

std::vector<std::byte> Model::serialize() const {
  const std::string bytes = export_onnx_bytes(state_->graph);
  const auto all = std::as_bytes(std::span(bytes));
  return {all.begin(), all.end()};
}

Model quantize(const Model& model, const BuilderConfig& config, QuantizationReport* report) {
  Graph graph = quantized(model, config, false, report);
  const Model::State& from = model.state();
  return Model(std::make_shared<const Model::State>(from.path, from.hash, std::move(graph), from.files));
}

std::string calibrate(const Model& model, const BuilderConfig& config, const std::string& format) {
  if (format != "octet" && format != "tensorrt")
    fail(ErrorCode::kInvalidArgument, "format '{}': expected octet or tensorrt", format);
  check(config);
  QuantizeArguments arguments = arguments_of(config);
  if (format == "tensorrt") arguments.quantization.target = "tensorrt";
  if (config.calibrator == nullptr && config.data.empty())
    fail(ErrorCode::kInvalidArgument, "calibration needs data: set a calibrator, or a folder as data");
  const FloatModel floats = float_model(model.state());
  use_data(config, model.inputs(), model.outputs(), arguments.data);
  const auto preprocess =
      arguments.data.choose_preprocess({&floats.graph.metadata}, only_input(floats.graph), config.log);
  const auto data = arguments.data.open(preprocess);
  const Calibrated done = calibrate_whole(floats, arguments.quantization, *data, preprocess,
                                          {config.threads, &no_progress(), "calibrating"});
  for (const std::string& problem : done.problems) warn(config.log, problem);
  if (format == "octet") return table_text(done.table);
  return tensorrt_cache_of(floats, done.table, arguments.quantization.options(),
                           config.calibrator != nullptr ? config.calibrator->algorithm() : "");
}

runtime::Engine build(const Model& model, const BuilderConfig& config) {
  check(config);
  BuildOptions options;
  options.profiles = profiles_of(config);
  options.deterministic = config.deterministic;
  if (config.fp16) options.weights = DType::kFloat16;
  if (config.bf16) options.weights = DType::kBFloat16;
  if (!options.profiles.empty()) {  // wrong ones are known before anything takes long
    Graph probe = model.state().graph;
    pin_dimensions(probe, options.profiles);
    shape_ranges(probe, options.profiles);
  }
  const bool quantizes = config.int8 && !model.quantized();
  if (config.int8 && model.quantized() && (config.calibrator != nullptr || !config.table.empty()))
    warn(config.log, "calibration is not used: the model has Q/DQ, which say its scales");
  if (!config.int8 && config.calibrator != nullptr)
    warn(config.log, "the calibrator is not used: int8 is not set");
  Graph graph = quantizes ? quantized(model, config, true, nullptr) : model.state().graph;
  engine::Engine engine(build_engine(std::move(graph), options));
  return runtime::Engine(std::make_shared<const runtime::Engine::State>(std::move(engine)));
}

ModelComparison compare(const runtime::Engine& reference, const runtime::Engine& engine,
                        const BuilderConfig& config) {
  check(config);
  if (config.calibrator == nullptr && config.data.empty())
    fail(ErrorCode::kInvalidArgument, "comparison needs data: set a calibrator, or a folder as data");
  DataArguments data;
  use_data(config, reference.inputs(), reference.outputs(), data);
  const auto preprocess = data.choose_preprocess({&engine.metadata(), &reference.metadata()},
                                                 only_input(engine.state().engine.model()), config.log);
  const Comparison done =
      compare_engines(reference.state().engine, engine.state().engine, *data.open(preprocess),
                      {config.threads, &no_progress(), "comparing"});
  ModelComparison result;
  result.samples = done.samples;
  for (const LayerComparison& l : done.layers) result.layers.push_back(compared(l));
  for (const LayerComparison& o : done.outputs) result.outputs.push_back(compared(o));
  return result;
}

}  // namespace octet
