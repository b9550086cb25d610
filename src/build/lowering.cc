#include "build/lowering.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/checked.h"
#include "kernels/simd/function.h"
#include "passes/canonicalize.h"
#include "passes/channels.h"
#include "passes/layer_weights.h"
#include "passes/scale_axis.h"

namespace octet {
namespace {

bool moves_values(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.is("Split") && node.attributes.get_int("axis", 0) == 1 && graph.value(node.inputs[0]).shape &&
      graph.value(node.inputs[0]).shape->size() == 4)
    return false;  // views of a channels-last tensor
  const OpDef* op = find_op(node.op, node.domain);
  return op && op->quant == QuantRule::kSameScale &&
         (op->lowering == Lowering::kGeneric || op->lowering == Lowering::kReshape ||
          op->lowering == Lowering::kTranspose);
}

// Whether the only readers of an 8-bit value are moving operators, which work on plain tensors.
bool read_plain(const Graph& graph, ValueId stored) {
  bool any = false;
  for (NodeId dq : graph.consumers(stored))
    for (ValueId real : graph.node(dq).outputs)
      for (NodeId reader : graph.consumers(real)) {
        if (!moves_values(graph, reader)) return false;
        any = true;
      }
  return any;
}

// The engine's u8 parameters as those of the type that the graph declares.
QuantParams declared_params(QuantParams params, DType dtype) {
  if (dtype != DType::kInt8) return params;
  params.dtype = dtype;
  for (int32_t& zero : params.zero_point) zero -= 128;
  return params;
}

}  // namespace

LoweringState::LoweringState(const Graph& graph, const BuildOptions& options)
    : graph_(graph), options_(options), groups_(graph) {
  for (NodeId id = 0; id < graph.node_slots(); ++id)
    if (graph.node(id).alive && graph.node(id).is("DequantizeLinear")) quantized_model_ = true;
}

engine::Model LoweringState::run() {
  model_.producer = "octet " OCTET_VERSION;
  model_.metadata = graph_.metadata;
  for (const DimEquality& e : graph_.equalities) model_.equalities.push_back({e.a, e.b, e.node});
  add_inputs();
  plan_arrays();
  plan_concats();
  for (NodeId id : graph_.sorted()) lower(id);
  add_outputs();
  add_run_symbols();
  if (options_.int8_only) check_int8_only();
  model_.deterministic = options_.deterministic;
  shorten_weights(model_, options_.weights);
  return std::move(model_);
}

void LoweringState::add_inputs() {
  for (ValueId v : graph_.inputs()) {
    engine::TensorDef def;
    def.name = graph_.value(v).name;
    def.dtype = *graph_.value(v).dtype;
    def.shape = dims(v);
    def.storage = engine::Storage::kInput;
    const auto params = stored_params(v);
    if (params) def.quant = declared_params(*params, def.dtype);
    const int32_t t = push(std::move(def));
    model_.inputs.push_back(t);
    bind(v, t);
    if (!params || model_.tensors[t].dtype != DType::kInt8) continue;
    declared_[v] = t;
    const int32_t moved = make(v, DType::kUInt8, Layout::kPlain, *params);
    set_precision(add_step("copy", graph_.consumers(v)[0], {t}, {moved}), "int8");
  }
  ShapeRanges ranges = shape_ranges(graph_, options_.profiles);
  model_.symbols = std::move(ranges.symbols);
  model_.profiles = std::move(ranges.profiles);
}

// Those of tensors' shapes that no input has.
void LoweringState::add_run_symbols() {
  std::set<std::string> names;
  for (const engine::Symbol& symbol : model_.symbols) names.insert(symbol.name);
  const std::function<void(const Dim&)> visit = [&](const Dim& d) {
    if (d.known()) return;
    if (d.op() == Dim::Op::kSymbol) {
      if (!names.insert(d.name()).second) return;
      constexpr engine::SizeRange kAny{0, 1, std::numeric_limits<int32_t>::max()};
      model_.symbols.push_back({d.name(), kAny.minimum, kAny.optimum, kAny.maximum, true});
      for (engine::Profile& profile : model_.profiles) profile.push_back(kAny);
      return;
    }
    visit(d.left());
    visit(d.right());
  };
  for (const engine::TensorDef& def : model_.tensors)
    for (const Dim& d : def.shape) visit(d);
}

int32_t LoweringState::declared_tensor(ValueId value) {
  if (const auto found = declared_.find(value); found != declared_.end()) return found->second;
  const bool is_signed = graph_.value(value).dtype == DType::kInt8 && !graph_.is_constant(value);
  const int32_t from = is_signed ? tensor_any(value) : tensor(value, Layout::kPlain);
  if (!is_signed || model_.tensors[from].dtype == DType::kInt8) return tensor(value, Layout::kPlain);
  const QuantParams params = declared_params(model_.tensors[from].quant, DType::kInt8);
  const int32_t to =
      make_temporary(graph_.value(value).name, DType::kInt8, Layout::kPlain, dims(value), params);
  const bool copy = layout_of(from) == Layout::kPlain;
  set_precision(add_step(copy ? "copy" : "layout", graph_.value(value).producer, {from}, {to}), "int8");
  return declared_[value] = to;
}

void LoweringState::add_outputs() {
  for (ValueId v : graph_.outputs()) {
    const int32_t t = declared_tensor(v);
    engine::TensorDef& def = model_.tensors[t];
    if (def.storage == engine::Storage::kArena && def.parent < 0) def.storage = engine::Storage::kOutput;
    def.name = graph_.value(v).name;
    model_.outputs.push_back(t);
  }
}

// Inputs of a channel concatenation that share its scale (or are float) are written in place.
void LoweringState::plan_concats() {
  for (NodeId id : graph_.sorted()) {
    const Node& node = graph_.node(id);
    if (!node.is("Concat") || array_concats_.count(id) || node.attributes.get_int("axis", 0) != 1 ||
        rank(node.outputs[0]) != 4)
      continue;
    const auto out = requantized(node.outputs[0]);
    int64_t channel = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId v = node.inputs[i];
      const Dim c = dims(v)[1];
      if (!c.known()) break;
      const auto in = quantized(v);
      const bool fits = out ? in && in->params == channel_slice(out->value.params, channel, c.value())
                            : !in && graph_.value(v).dtype == DType::kFloat32;
      const ValueId part = out && in ? in->stored : v;
      if (fits && !graph_.is_constant(part) && graph_.value(part).producer != kNoId &&
          !graph_.is_output(part))
        concat_place_.try_emplace(part, Place{out ? out->value.stored : node.outputs[0], channel});
      // Parts of a Split that stand together here are written here as the whole that they are parts of.
      if (fits && out)
        if (const auto whole = whole_of_parts(std::span(node.inputs).subspan(i));
            whole && graph_.value(*whole).producer != kNoId && !graph_.is_output(*whole))
          concat_place_.try_emplace(*whole, Place{out->value.stored, channel});
      channel += c.value();
    }
  }
}

void LoweringState::lower(NodeId id) {
  if (done_.count(id)) return;
  if (const NodeGroup* group = groups_.find(id)) {
    if (group->nodes.back() != id) return;
    const auto reader = only_consumer(graph_, group->output);
    if (reader && graph_.node(*reader).is("QuantizeLinear") && quantize_offset(graph_.node(*reader))) return;
    if (is_weighted(graph_, graph_.node(group->root)))
      lower_weighted(*this, *group);
    else
      lower_arithmetic(*this, *group);
    return;
  }
  lower_single(id);
}

void LoweringState::lower_single(NodeId id) {
  const Node& node = graph_.node(id);
  if (node.is("Div") && constant_floats(node.outputs[0])) return;  // read where the weights are
  const OpDef* op = find_op(node.op, node.domain);
  if (op == nullptr)
    fail(ErrorCode::kUnsupported, "node '{}': operator {} cannot be built", node.name, node.op);
  if (decides_at_run(graph_, node)) return lower_generic(*this, id);
  switch (op->lowering) {
    case Lowering::kDequantize:
      if (!quantized(node.outputs[0]) && !constant_floats(node.outputs[0]) && !dynamic(node.outputs[0]))
        lower_generic(*this, id);
      return;  // otherwise made where a float form is asked for
    case Lowering::kQuantize:
      return lower_quantize(*this, id);
    case Lowering::kActivation:
      return lower_activation(*this, id);
    case Lowering::kMaxPool:
    case Lowering::kAveragePool:
    case Lowering::kGlobalAveragePool:
      return lower_pool(*this, id);
    case Lowering::kResize:
      return lower_resize(*this, id);
    case Lowering::kDepthToSpace:
      return lower_depth_to_space(*this, id);
    case Lowering::kConcat:
      return lower_concat(*this, id);
    case Lowering::kReshape:
      return lower_reshape(*this, id);
    case Lowering::kMatMul:
      return lower_matmul(*this, id);
    case Lowering::kTranspose:
      return lower_transpose(*this, id);
    default:
      if (node.is("Split")) return lower_split(*this, id);
      if (node.is("Pad")) return lower_pad(*this, id);
      if (node.is("Gather")) return lower_gather(*this, id);
      if (node.is("DynamicQuantizeLinear")) return lower_dynamic_quantize(*this, id);
      if (node.is("LayerNormalization") || node.is("RMSNormalization")) return lower_norm(*this, id);
      if (node.is("InstanceNormalization")) return lower_instance_norm(*this, id);
      return lower_generic(*this, id);
  }
}

void LoweringState::check_int8_only() const {
  std::string found;
  int count = 0;
  for (const engine::StepDef& step : model_.steps) {
    if (step.precision == "int8") continue;
    ++count;
    if (count <= 20)
      found += fmt::format("{}'{}' ({}{}{})", count == 1 ? "" : ", ", step.name, step.kind,
                           step.reason.empty() ? "" : ": ", step.reason);
  }
  if (count == 0) return;
  fail(ErrorCode::kUnsupported,
       "--int8-only: {} step{} not pure integer: {}{}. Quantize with --quantize-outputs, and cut float "
       "operators off the model's end",
       count, count == 1 ? " is" : "s are", found, count > 20 ? ", ..." : "");
}

std::optional<LoweringState::Offset> LoweringState::quantize_offset(const Node& quantize) const {
  const Node* add = graph_.producer(quantize.inputs[0]);
  if (add == nullptr || !add->is("Add") || !only_consumer(graph_, quantize.inputs[0]) ||
      !tensor_params(quantize, quantize.outputs[0]))
    return {};
  const Dims& full = dims(add->outputs[0]);
  const ValueId x = add->inputs[0];
  if (full.size() != 4 || dims(x) != full || quantized(x) || graph_.is_constant(x) ||
      graph_.value(x).dtype != DType::kFloat32)
    return {};
  auto numbers = channel_constant(*this, add->inputs[1], full);
  if (!numbers) return {};
  return Offset{x, std::move(*numbers)};
}

std::optional<QuantParams> LoweringState::tensor_params(const Node& node, ValueId stored) const {
  const auto dtype = graph_.value(stored).dtype;
  if (dtype != DType::kUInt8 && dtype != DType::kInt8) return {};
  if (!graph_.is_constant(node.inputs[1])) return {};
  const Tensor& scale = *graph_.value(node.inputs[1]).constant;
  if (scale.dtype() != DType::kFloat32 || node.attributes.get_int("block_size", 0) != 0) return {};
  const bool has_zero = node.inputs.size() > 2 && node.inputs[2] != kNoId;
  if (has_zero && !graph_.is_constant(node.inputs[2])) return {};
  QuantParams params{DType::kUInt8, -1, to_float(scale), {}};
  if (scale.count() != 1) {
    const auto rank = static_cast<int64_t>(dims(stored).size());
    int64_t axis = node.attributes.get_int("axis", 1);
    if (axis < 0) axis += rank;
    // Of images the channels are axis 1, of rows the columns.
    if (rank < 2 || axis != scale_axis(static_cast<int>(rank)) || scale.shape() != Shape{scale.count()} ||
        dims(stored)[static_cast<size_t>(axis)] != Dim(scale.count()))
      return {};
    params.axis = static_cast<int>(axis);
  }
  params.zero_point.assign(params.scale.size(), dtype == DType::kInt8 ? 128 : 0);
  if (has_zero) {
    const auto zeros = to_int64(*graph_.value(node.inputs[2]).constant);
    if (zeros.size() != params.scale.size()) return {};
    for (size_t i = 0; i < zeros.size(); ++i) params.zero_point[i] += static_cast<int32_t>(zeros[i]);
  }
  validate(params, "node '" + node.name + "'");
  return params;
}

std::optional<QuantParams> LoweringState::stored_params(ValueId stored) const {
  if (const Node* producer = graph_.producer(stored))
    return producer->is("QuantizeLinear") ? tensor_params(*producer, stored) : std::nullopt;
  if (graph_.is_constant(stored)) return {};
  for (NodeId reader : graph_.consumers(stored))
    if (graph_.node(reader).is("DequantizeLinear")) return tensor_params(graph_.node(reader), stored);
  return {};
}

std::optional<QuantizedValue> LoweringState::quantized(ValueId value) const {
  const Node* dq = value == kNoId ? nullptr : graph_.producer(value);
  if (dq == nullptr || !dq->is("DequantizeLinear")) return {};
  const auto params = tensor_params(*dq, dq->inputs[0]);
  // The engine's tensor carries the parameters that its values were made with.
  if (!params || params != stored_params(dq->inputs[0])) return {};
  return QuantizedValue{dq->inputs[0], *params};
}

std::optional<LoweringState::Dynamic> LoweringState::dynamic(ValueId value) const {
  const Node* dq = value == kNoId ? nullptr : graph_.producer(value);
  if (dq == nullptr || !dq->is("DequantizeLinear") || dq->attributes.get_int("block_size", 0) != 0) return {};
  const Dynamic found{dq->inputs[0], dq->inputs[1], dq->inputs.size() > 2 ? dq->inputs[2] : kNoId};
  const auto one = [&](ValueId v, DType dtype) {
    const Value& scalar = graph_.value(v);
    return scalar.dtype == dtype && scalar.shape && all_known(*scalar.shape) &&
           checked_product(evaluate(*scalar.shape)) == 1;
  };
  if (graph_.is_constant(found.stored) || graph_.value(found.stored).dtype != DType::kUInt8 ||
      graph_.value(value).dtype != DType::kFloat32 || graph_.is_constant(found.scale) ||
      !one(found.scale, DType::kFloat32) || (found.zero != kNoId && !one(found.zero, DType::kUInt8)) ||
      stored_params(found.stored))
    return {};
  return found;
}

std::optional<LoweringState::Requantized> LoweringState::requantized(ValueId value) const {
  const auto reader = only_consumer(graph_, value);
  if (!reader || !graph_.node(*reader).is("QuantizeLinear")) return {};
  const Node& q = graph_.node(*reader);
  if (q.inputs[0] != value) return {};
  const auto params = tensor_params(q, q.outputs[0]);
  if (!params) return {};
  return Requantized{*reader, {q.outputs[0], *params}};
}

std::optional<Tensor> LoweringState::constant_floats(ValueId value) const {
  if (value == kNoId) return {};
  if (graph_.is_constant(value)) return graph_.value(value).constant;
  const auto found = dequantized_weights(graph_, value);
  if (!found) return {};
  const Node* dq = found->dequantize;
  std::vector<Tensor> inputs;
  for (ValueId v : dq->inputs) {
    if (v != kNoId && !graph_.is_constant(v)) return {};
    inputs.push_back(v == kNoId ? Tensor() : *graph_.value(v).constant);
  }
  std::vector<Tensor> outputs{Tensor(DType::kFloat32, inputs[0].shape())};
  find_op("DequantizeLinear")->run(dq->attributes, inputs, outputs);
  if (found->divisor == kNoId) return outputs[0];
  if (!graph_.value(value).shape || !all_known(dims(value))) return {};
  const std::vector<Tensor> operands{outputs[0], *graph_.value(found->divisor).constant};
  std::vector<Tensor> quotient{Tensor(DType::kFloat32, evaluate(dims(value)))};
  find_op("Div")->run({}, operands, quotient);
  return quotient[0];
}

const Dims& LoweringState::dims(ValueId id) const {
  const Value& value = graph_.value(id);
  if (!value.shape)
    fail(ErrorCode::kUnsupported,
         "the shape of '{}' depends on the data in a way that cannot be built: not even its rank is known",
         value.name);
  return *value.shape;
}

// Of a float value that has no 8-bit form here.
std::string LoweringState::input_reason(ValueId value) const {
  const std::string what = "its input '" + graph_.value(value).name + "'";
  const Node* dq = graph_.producer(value);
  if (dq == nullptr || !dq->is("DequantizeLinear")) return what + " is not quantized";
  const auto dtype = graph_.value(dq->inputs[0]).dtype;
  if (dtype && dtype_bits(*dtype) != 8)
    return fmt::format("{} is quantized to {}, kernels take 8 bits", what, dtype_name(*dtype));
  if (!graph_.is_constant(dq->inputs[1])) return what + " has a scale that is computed at run time";
  if (graph_.value(dq->inputs[1]).constant->dtype() != DType::kFloat32)
    return what + " has a scale of another type than float32";
  if (dq->attributes.get_int("block_size", 0) != 0) return what + " has scales per block";
  return what + " is quantized in a form that kernels do not take";
}

bool LoweringState::wants_float(const Node& node) const {
  const auto& names = options_.float_layers;
  return std::find(names.begin(), names.end(), node.name) != names.end();
}

std::string LoweringState::float_reason(const Node& node) const {
  if (!quantized_model_) return "the model has no Q/DQ";
  const OpDef* op = find_op(node.op, node.domain);
  if (op == nullptr || op->quant == QuantRule::kFloat) return node.op + " has no 8-bit form";
  for (ValueId v : node.inputs)
    if (v != kNoId && graph_.value(v).dtype == DType::kFloat32 && !quantized(v) && !constant_floats(v))
      return input_reason(v);
  if (!node.outputs.empty() && !requantized(node.outputs[0]))
    return "its output '" + graph_.value(node.outputs[0]).name + "' is not quantized";
  return "no 8-bit kernel for this form";
}

namespace {

// Integer inputs and outputs: a Q behind an input and a DQ before an output disappear.
void strip_borders(Graph& graph) {
  for (ValueId v : graph.inputs()) {
    const auto reader = only_consumer(graph, v);
    if (!reader || !graph.node(*reader).is("QuantizeLinear")) continue;
    const ValueId stored = graph.node(*reader).outputs[0];
    const std::string name = graph.value(v).name;
    graph.remove_node(*reader);
    graph.replace_uses(stored, v);
    graph.value(v).dtype = graph.value(stored).dtype;
  }
  for (ValueId v : graph.outputs()) {
    const Node* dq = graph.producer(v);
    if (dq == nullptr || !dq->is("DequantizeLinear") || graph.is_constant(dq->inputs[0])) continue;
    graph.replace_uses(v, dq->inputs[0]);
  }
  graph.prune();
}

bool has_half_constants(const Graph& graph) {
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    if (const auto& constant = graph.value(v).constant; constant && constant->dtype() == DType::kFloat16)
      return true;
  return false;
}

}  // namespace

engine::Model build_engine(Graph graph, const BuildOptions& options) {
  if (!options.profiles.empty()) {
    infer_shapes(graph);  // makes one name of those that must be equal
    pin_dimensions(graph, options.profiles);
  }
  const bool halves = has_half_constants(graph);
  canonicalize(graph);
  merge_constants(graph);
  if (options.int8_only) strip_borders(graph);
  engine::Model model = LoweringState(graph, options).run();
  if (halves && options.weights == DType::kFloat32) store_exact_halves(model);
  return model;
}

// lower_quantize is here because it decides the layout that 8-bit regions start in.
void lower_quantize(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto params = l.tensor_params(node, y);
  if (!params) return lower_generic(l, id);
  if (const auto in = l.quantized(x)) {
    const int32_t from = l.tensor_any(in->stored);
    if (in->params == *params) return l.bind(y, from);
    l.requantize_into(from, l.make(y, DType::kUInt8, l.layout_of(from), *params), id);
    return;
  }
  const bool plain = l.rank(x) != 4 || g.is_output(y) || read_plain(g, y);
  const auto offset = l.quantize_offset(node);
  std::vector<int32_t> inputs{l.tensor_any(offset ? offset->value : x)};
  if (offset) inputs.push_back(l.constant(node.name + "/offset", offset->numbers));
  const int32_t to = l.make(y, DType::kUInt8, plain ? Layout::kPlain : Layout::kNhwc, *params);
  l.set_precision(l.add_step("quantize", id, inputs, {to}), "int8");
}

}  // namespace octet
