// trtexec's build phase: import, quantization, types of inputs and outputs, engine.
#include <algorithm>

#include "build/build.h"
#include "calibrate/tensorrt_cache.h"
#include "data/preprocess.h"
#include "onnx/onnx.h"
#include "pipeline/quantize_pipeline.h"
#include "trtexec.h"

namespace octet::tools {
namespace {

bool has_qdq(const Graph& graph) {
  for (NodeId id = 0; id < graph.node_slots(); ++id)
    if (graph.node(id).alive &&
        (graph.node(id).is("QuantizeLinear") || graph.node(id).is("DequantizeLinear")))
      return true;
  return false;
}

std::vector<ShapeProfile> build_profiles(const TrtexecOptions& options) {
  if (!options.shapes.minimum.empty() || !options.shapes.optimum.empty() || !options.shapes.maximum.empty())
    return options.shapes.profiles();
  ProfileArguments one;
  if (!options.run_shapes.empty()) one.optimum.push_back(options.run_shapes);
  return one.profiles();
}

// The preprocessing of the classic calibrator; nullopt for inputs that are no images.
std::optional<std::string> classic_preprocess(const TrtexecOptions& options, const Graph& graph) {
  constexpr int64_t kLikelySide = 256;  // what `build` takes for sizes that nobody chose
  if (graph.only_input() == kNoId) return {};
  const Value& input = graph.value(graph.only_input());
  const bool real = input.dtype && (*input.dtype == DType::kFloat32 || is_half(*input.dtype));
  if (!real || !input.shape || input.shape->size() != 4) return {};
  Shape shape;
  for (const Dim& d : *input.shape) shape.push_back(d.known() ? d.value() : 0);
  auto profiles = options.calib_shapes.profiles();
  if (profiles.empty()) profiles = build_profiles(options);
  if (!profiles.empty()) {
    const ShapeProfile& p = profiles[std::min(options.calib_profile, profiles.size() - 1)];
    const auto found = p.optimum.find(input.name);
    if (found != p.optimum.end() && found->second.size() == 4)
      for (size_t d = 0; d < 4; ++d)
        if (shape[d] == 0) shape[d] = found->second[d];
  }
  const auto image = image_shape(shape);
  if (!image) return {};
  const auto side = [](int64_t size) { return size > 0 ? size : kLikelySide; };
  return fmt::format("letterbox={}x{},128 {} std=255", side(image->width), side(image->height),
                     image->channels == 1 ? "gray" : "rgb");
}

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*')
    return matches(pattern.substr(1), name) || (!name.empty() && matches(pattern, name.substr(1)));
  return !name.empty() && pattern[0] == name[0] && matches(pattern.substr(1), name.substr(1));
}

// Nodes that --layerPrecisions wants in float: "*:int8,Conv_0:fp32"; a name goes before a pattern.
std::vector<std::string> float_layers(const TrtexecOptions& options, const Graph& graph) {
  std::vector<std::pair<std::string, bool>> wanted;
  for (size_t at = 0; at < options.layer_precisions.size();) {
    const size_t end = std::min(options.layer_precisions.find(',', at), options.layer_precisions.size());
    const std::string part = options.layer_precisions.substr(at, end - at);
    at = end + 1;
    const size_t colon = part.rfind(':');
    const std::string type = colon == std::string::npos ? "" : part.substr(colon + 1);
    const bool real = type == "fp32" || type == "fp16" || type == "bf16";
    if (colon == 0 || (!real && type != "int8" && type != "int32" && type != "int64" && type != "bool"))
      throw UsageError(
          fmt::format("--layerPrecisions: '{}' has not the form LAYER:TYPE with fp32, fp16, "
                      "bf16 or int8",
                      part));
    if (std::count(part.begin(), part.end(), '*') > 4)
      throw UsageError(fmt::format("--layerPrecisions: '{}' has more than 4 stars", part));
    wanted.emplace_back(part.substr(0, colon), real);
  }
  std::vector<std::string> names;
  for (NodeId id = 0; id < graph.node_slots(); ++id) {
    const Node& node = graph.node(id);
    if (!node.alive) continue;
    const std::pair<std::string, bool>* best = nullptr;
    for (const auto& entry : wanted) {
      const bool exact = entry.first == node.name;
      if (exact || (matches(entry.first, node.name) && (best == nullptr || best->first != node.name)))
        best = &entry;
    }
    if (best != nullptr && best->second) names.push_back(node.name);
  }
  return names;
}

bool is_data(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return true;
  const std::string ending = path.extension().string();
  return ending == ".npy" || ending == ".npz" || ending == ".txt";
}

Graph quantized(const TrtexecOptions& options) {
  QuantizeArguments arguments;
  arguments.model = options.onnx;
  if (options.input_formats.find("int8") != std::string::npos)
    arguments.quantization.target = kOctetSymmetric;
  if (options.calib.empty()) {
    warn(
        "--int8 without --calib, and the model has no Q/DQ: ranges come from made-up inputs; --calib with a "
        "folder of images gives classifiers 1 to 2 dB more, detectors 2 to 8");
  } else if (is_data(options.calib)) {
    arguments.data.data = options.calib;
  } else {
    arguments.table = options.calib;
    if (load_any_table(options.calib).from_tensorrt) arguments.quantization.target = kOctetSymmetric;
  }
  FloatModel model = load_float_model(options.onnx);
  arguments.data.preprocess = options.preprocess;
  if (arguments.table.empty() && !options.preprocess &&
      !arguments.data.choose_preprocess({&model.graph.metadata}, {}, terminal_log())) {
    arguments.data.preprocess = classic_preprocess(options, model.graph);
    if (arguments.data.preprocess)
      trtexec_log(
          fmt::format("Calibration preprocesses images by \"{}\": --preprocess if the network wants another",
                      *arguments.data.preprocess));
  }
  if (!options.layer_precisions.empty()) {
    if (options.precision_constraints == "none")
      warn("--layerPrecisions has no effect without --precisionConstraints=obey or prefer");
    else
      arguments.quantization.exclude = float_layers(options, model.graph);
  }
  const auto progress = terminal_progress(true);
  Quantized result = quantize(arguments, model, *progress, terminal_log());
  warn_skipped(result.calibrated.skipped);
  for (const std::string& problem : result.calibrated.problems) warn(problem);
  const auto layers = static_cast<int64_t>(result.done.layers.size());
  trtexec_log(
      fmt::format("{} in 8 bits{}", plural(layers, "node"),
                  result.report ? ", outputs at " + db_text(result.report->all_outputs.sqnr_db()) : ""));
  return std::move(result.done.graph);
}

struct Format {
  DType dtype;
  bool last;  // channels last
};

Format parse_format(const std::string& text, const std::string& flag) {
  const size_t colon = text.find(':');
  const std::string type = text.substr(0, colon);
  std::string layout = colon == std::string::npos ? "" : text.substr(colon + 1);
  layout = layout.substr(0, layout.find('+'));
  static const std::map<std::string, DType, std::less<>> kTypes{
      {"fp32", DType::kFloat32}, {"fp16", DType::kFloat16}, {"bf16", DType::kBFloat16},
      {"int8", DType::kInt8},    {"uint8", DType::kUInt8},  {"int32", DType::kInt32},
      {"int64", DType::kInt64},  {"bool", DType::kBool}};
  const auto found = kTypes.find(type);
  if (found == kTypes.end() || (layout != "chw" && layout != "hwc"))
    throw UsageError(
        fmt::format("{}: '{}' is not supported; expected TYPE:LAYOUT with fp32, fp16, bf16, int8, uint8, "
                    "int32, int64 or bool, and chw or hwc",
                    flag, text));
  return {found->second, layout == "hwc"};
}

// Where the 8-bit form of an input begins: its QuantizeLinear goes, and the input has the type behind it.
// Returns what its DequantizeLinear makes.
ValueId take_bytes(Graph& graph, ValueId input, DType dtype, const std::string& flag) {
  const std::vector<NodeId> readers = graph.consumers(input);
  const bool one = readers.size() == 1 && graph.node(readers[0]).is("QuantizeLinear");
  const ValueId stored = one ? graph.node(readers[0]).outputs[0] : kNoId;
  if (!one || graph.value(stored).dtype != dtype)
    fail(ErrorCode::kInvalidArgument, "{}: the input '{}' is not read as {}: quantize the model with --int8",
         flag, graph.value(input).name, dtype_name(dtype));
  graph.remove_node(readers[0]);
  graph.replace_uses(stored, input);
  graph.value(input).dtype = dtype;
  const std::vector<NodeId>& behind = graph.consumers(input);
  if (behind.size() != 1 || !graph.node(behind[0]).is("DequantizeLinear"))
    fail(ErrorCode::kUnsupported, "{}: the bytes of '{}' are read by more than one node", flag,
         graph.value(input).name);
  return graph.node(behind[0]).outputs[0];
}

bool is_real(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

int64_t onnx_type(DType dtype) {
  if (dtype == DType::kFloat16) return 10;
  return dtype == DType::kBFloat16 ? 16 : 1;
}

std::vector<int64_t> to_last(size_t rank) {
  std::vector<int64_t> order{0};
  for (size_t d = 2; d < rank; ++d) order.push_back(static_cast<int64_t>(d));
  order.push_back(1);
  return order;
}

std::vector<int64_t> to_first(size_t rank) {
  std::vector<int64_t> order{0, static_cast<int64_t>(rank) - 1};
  for (size_t d = 1; d + 1 < rank; ++d) order.push_back(static_cast<int64_t>(d));
  return order;
}

void check_layout(const Graph& graph, ValueId value, const std::string& flag) {
  if (!graph.value(value).shape || graph.value(value).shape->size() < 3)
    throw UsageError(
        fmt::format("{}: '{}' has no channels: chw is its layout", flag, graph.value(value).name));
}

void format_input(Graph& graph, ValueId input, const Format& format, const std::string& flag) {
  const std::string name = graph.value(input).name;
  ValueId read = input;
  const DType own = graph.value(input).dtype.value_or(DType::kFloat32);
  if (format.dtype != own) {
    if (own != DType::kFloat32) throw UsageError(fmt::format("{}: '{}' is {}", flag, name, dtype_name(own)));
    if (is_real(format.dtype)) {
      graph.value(input).dtype = format.dtype;
      Attributes to;
      to.set("to", onnx_type(DType::kFloat32));
      read = graph.add_op("Cast", name + "_Cast", {input}, name + "_float", to);
      graph.value(read).dtype = DType::kFloat32;
      graph.value(read).shape = graph.value(input).shape;
      graph.replace_uses(input, read, /*outputs_too=*/false, /*keep=*/graph.value(read).producer);
    } else {
      read = take_bytes(graph, input, format.dtype, flag);
    }
  }
  if (!format.last) return;
  check_layout(graph, input, flag);
  const Dims dims = *graph.value(input).shape;
  Dims last;
  for (const int64_t d : to_last(dims.size())) last.push_back(dims[static_cast<size_t>(d)]);
  Attributes perm;
  perm.set("perm", to_first(dims.size()));
  const ValueId first = graph.add_op("Transpose", name + "_Transpose", {read}, name + "_chw", perm);
  graph.value(first).dtype = graph.value(read).dtype;
  graph.value(first).shape = dims;
  graph.replace_uses(read, first, /*outputs_too=*/false, /*keep=*/graph.value(first).producer);
  graph.value(input).shape = last;
  graph.value(read).shape = last;
}

void format_output(Graph& graph, ValueId output, const Format& format, const std::string& flag) {
  const std::string name = graph.value(output).name;
  const DType own = graph.value(output).dtype.value_or(DType::kFloat32);
  const auto behind = [&](const char* op, Attributes attributes) {
    const ValueId made = graph.add_op(op, name + "_" + op, {output}, name + "_out", std::move(attributes));
    graph.replace_uses(output, made, /*outputs_too=*/true, /*keep=*/graph.value(made).producer);
    graph.rename(output, name + "_before_" + op);
    graph.rename(made, name);
    output = made;
  };
  const size_t rank = graph.value(output).shape ? graph.value(output).shape->size() : 0;
  if (format.last) check_layout(graph, output, flag);
  if (format.dtype != own) {
    if (!is_real(own) || !is_real(format.dtype))
      throw UsageError(
          fmt::format("{}: '{}' is {}; outputs of 8 bits are those of 'octet quantize "
                      "--quantize-outputs'",
                      flag, name, dtype_name(own)));
    Attributes to;
    to.set("to", onnx_type(format.dtype));
    behind("Cast", std::move(to));
  }
  if (!format.last) return;
  Attributes perm;
  perm.set("perm", to_last(rank));
  behind("Transpose", std::move(perm));
}

}  // namespace

void apply_io_formats(Graph& graph, const std::string& formats, bool inputs) {
  if (formats.empty()) return;
  const std::string flag = inputs ? "--inputIOFormats" : "--outputIOFormats";
  std::vector<Format> list;
  for (size_t at = 0; at <= formats.size();) {
    const size_t end = std::min(formats.find(',', at), formats.size());
    list.push_back(parse_format(formats.substr(at, end - at), flag));
    at = end + 1;
  }
  const std::vector<ValueId> values = inputs ? graph.inputs() : graph.outputs();
  if (list.size() != 1 && list.size() != values.size())
    throw UsageError(fmt::format("{}: {} formats for {}: expected one for all or one for each", flag,
                                 list.size(), plural(static_cast<int64_t>(values.size()), "tensor")));
  for (size_t i = 0; i < values.size(); ++i) {
    const Format& format = list[list.size() == 1 ? 0 : i];
    if (inputs)
      format_input(graph, values[i], format, flag);
    else
      format_output(graph, values[i], format, flag);
  }
}

engine::Model build_for_trtexec(const TrtexecOptions& options) {
  if (const FileKind kind = file_kind(options.onnx); kind != FileKind::kModel)
    fail(ErrorCode::kBadFile, "'{}' is {}: expected an ONNX model", options.onnx,
         kind == FileKind::kEngine ? "an engine: give it as --loadEngine" : "no model");
  Graph graph = import_onnx(options.onnx);
  BuildOptions build;
  build.profiles = build_profiles(options);
  if (options.fp16 || options.best) build.weights = DType::kFloat16;
  if (options.bf16) build.weights = DType::kBFloat16;
  const bool eight = options.int8 || options.best;
  if (!build.profiles.empty()) {  // wrong ones are known before anything takes long
    Graph probe = graph;
    pin_dimensions(probe, build.profiles);
    shape_ranges(probe, build.profiles);
  }
  if (has_qdq(graph)) {
    if (!options.calib.empty()) warn("--calib is not used: the model has Q/DQ, which say its scales");
  } else if (eight) {
    graph = quantized(options);
  } else if (!options.calib.empty()) {
    warn("--calib has no effect without --int8");
  }
  apply_io_formats(graph, options.input_formats, /*inputs=*/true);
  apply_io_formats(graph, options.output_formats, /*inputs=*/false);
  return build_engine(std::move(graph), build);
}

}  // namespace octet::tools
