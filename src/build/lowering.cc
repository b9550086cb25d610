#include "build/lowering.h"

#include <algorithm>
#include <functional>

#include "base/checked.h"
#include "kernels/simd/function.h"
#include "passes/canonicalize.h"

namespace octet {
namespace {

constexpr int64_t kDefaultMaximum = 65536;

bool moves_values(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
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

}  // namespace

LoweringState::LoweringState(const Graph& graph, const BuildOptions& options)
    : graph_(graph), options_(options), groups_(graph) {
  for (NodeId id = 0; id < graph.node_slots(); ++id)
    if (graph.node(id).alive && graph.node(id).is("DequantizeLinear")) quantized_model_ = true;
}

engine::Model LoweringState::run() {
  model_.producer = "octet " OCTET_VERSION;
  model_.metadata = graph_.metadata;
  add_inputs();
  plan_concats();
  for (NodeId id : graph_.sorted()) lower(id);
  add_outputs();
  if (options_.int8_only) check_int8_only();
  return std::move(model_);
}

void LoweringState::add_inputs() {
  std::set<std::string> names;
  const std::function<void(const Dim&)> collect = [&](const Dim& d) {
    if (d.known()) return;
    if (d.op() == Dim::Op::kSymbol) {
      names.insert(d.name());
      return;
    }
    collect(d.left());
    collect(d.right());
  };
  for (ValueId v : graph_.inputs()) {
    for (const Dim& d : dims(v)) collect(d);
    engine::TensorDef def;
    def.name = graph_.value(v).name;
    def.dtype = *graph_.value(v).dtype;
    def.shape = dims(v);
    def.storage = engine::Storage::kInput;
    const int32_t t = push(std::move(def));
    bind(v, t);
    model_.inputs.push_back(t);
  }
  for (const std::string& name : names) {
    const auto given = options_.symbols.find(name);
    model_.symbols.push_back(given != options_.symbols.end() ? given->second
                                                             : engine::Symbol{name, 1, 1, kDefaultMaximum});
  }
  for (const auto& [name, symbol] : options_.symbols)
    if (!names.count(name)) fail(ErrorCode::kInvalidArgument, "the model has no dimension named '{}'", name);
}

void LoweringState::add_outputs() {
  for (ValueId v : graph_.outputs()) {
    const int32_t t = tensor(v, Layout::kPlain);
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
    if (!node.is("Concat") || node.attributes.get_int("axis", 0) != 1 || rank(node.outputs[0]) != 4) continue;
    const auto out = requantized(node.outputs[0]);
    int64_t channel = 0;
    for (ValueId v : node.inputs) {
      const Dim c = dims(v)[1];
      if (!c.known()) break;
      const auto in = quantized(v);
      const bool fits =
          out ? in && in->params == out->value.params : !in && graph_.value(v).dtype == DType::kFloat32;
      const ValueId part = out && in ? in->stored : v;
      if (fits && !graph_.is_constant(part) && graph_.value(part).producer != kNoId &&
          !graph_.is_output(part))
        concat_place_.try_emplace(part, Place{out ? out->value.stored : node.outputs[0], channel});
      channel += c.value();
    }
  }
}

void LoweringState::lower(NodeId id) {
  if (done_.count(id)) return;
  if (const NodeGroup* group = groups_.find(id)) {
    if (group->nodes.back() != id) return;
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
  const OpDef* op = find_op(node.op, node.domain);
  if (op == nullptr)
    fail(ErrorCode::kUnsupported, "node '{}': operator {} cannot be built", node.name, node.op);
  switch (op->lowering) {
    case Lowering::kDequantize:
      if (!quantized(node.outputs[0]) && !constant_floats(node.outputs[0])) lower_generic(*this, id);
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
    case Lowering::kConcat:
      return lower_concat(*this, id);
    case Lowering::kReshape:
      return lower_reshape(*this, id);
    default:
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

std::optional<QuantizedValue> LoweringState::quantized(ValueId value) const {
  const Node* dq = value == kNoId ? nullptr : graph_.producer(value);
  if (dq == nullptr || !dq->is("DequantizeLinear") || graph_.is_constant(dq->inputs[0])) return {};
  const auto dtype = graph_.value(dq->inputs[0]).dtype;
  if (dtype != DType::kUInt8 && dtype != DType::kInt8) return {};
  if (!graph_.is_constant(dq->inputs[1]) || graph_.value(dq->inputs[1]).constant->count() != 1) return {};
  const bool has_zero = dq->inputs.size() > 2 && dq->inputs[2] != kNoId;
  if (has_zero && !graph_.is_constant(dq->inputs[2])) return {};
  const Tensor& scale = *graph_.value(dq->inputs[1]).constant;
  if (scale.dtype() != DType::kFloat32) return {};
  int32_t zero = has_zero ? static_cast<int32_t>(to_int64(*graph_.value(dq->inputs[2]).constant).at(0)) : 0;
  if (dtype == DType::kInt8) zero += 128;
  QuantizedValue q{dq->inputs[0], {DType::kUInt8, -1, {scale.as<float>()[0]}, {zero}}};
  validate(q.params, "node '" + dq->name + "'");
  return q;
}

std::optional<LoweringState::Requantized> LoweringState::requantized(ValueId value) const {
  const auto reader = only_consumer(graph_, value);
  if (!reader || !graph_.node(*reader).is("QuantizeLinear")) return {};
  const Node& q = graph_.node(*reader);
  const ValueId stored = q.outputs[0];
  const auto dtype = graph_.value(stored).dtype;
  if (q.inputs[0] != value || (dtype != DType::kUInt8 && dtype != DType::kInt8)) return {};
  if (dtype == DType::kInt8 && graph_.is_output(stored)) return {};
  if (!graph_.is_constant(q.inputs[1]) || graph_.value(q.inputs[1]).constant->count() != 1) return {};
  if (graph_.value(q.inputs[1]).constant->dtype() != DType::kFloat32) return {};
  const bool has_zero = q.inputs.size() > 2 && q.inputs[2] != kNoId;
  if (has_zero && !graph_.is_constant(q.inputs[2])) return {};
  int32_t zero = has_zero ? static_cast<int32_t>(to_int64(*graph_.value(q.inputs[2]).constant).at(0)) : 0;
  if (dtype == DType::kInt8) zero += 128;
  QuantizedValue out{stored,
                     {DType::kUInt8, -1, {graph_.value(q.inputs[1]).constant->as<float>()[0]}, {zero}}};
  validate(out.params, "node '" + q.name + "'");
  return Requantized{*reader, std::move(out)};
}

std::optional<Tensor> LoweringState::constant_floats(ValueId value) const {
  if (value == kNoId) return {};
  if (graph_.is_constant(value)) return graph_.value(value).constant;
  const Node* dq = graph_.producer(value);
  if (dq == nullptr || !dq->is("DequantizeLinear")) return {};
  std::vector<Tensor> inputs;
  for (ValueId v : dq->inputs) {
    if (v != kNoId && !graph_.is_constant(v)) return {};
    inputs.push_back(v == kNoId ? Tensor() : *graph_.value(v).constant);
  }
  std::vector<Tensor> outputs{Tensor(DType::kFloat32, inputs[0].shape())};
  find_op("DequantizeLinear")->run(dq->attributes, inputs, outputs);
  return outputs[0];
}

std::string LoweringState::float_reason(const Node& node) const {
  if (!quantized_model_) return "the model has no Q/DQ";
  const OpDef* op = find_op(node.op, node.domain);
  if (op == nullptr || op->quant == QuantRule::kFloat) return node.op + " has no 8-bit form";
  for (ValueId v : node.inputs)
    if (v != kNoId && graph_.value(v).dtype == DType::kFloat32 && !quantized(v) && !constant_floats(v))
      return "its input '" + graph_.value(v).name + "' is not quantized";
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

}  // namespace

engine::Model build_engine(Graph graph, const BuildOptions& options) {
  canonicalize(graph);
  if (options.int8_only) strip_borders(graph);
  return LoweringState(graph, options).run();
}

// lower_quantize is here because it decides the layout that 8-bit regions start in.
void lower_quantize(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto out = l.requantized(x);
  std::optional<QuantizedValue> params;
  if (out && out->node == id) {
    params = out->value;
  } else {
    // The value has other readers too, or is signed and leaves the network.
    const bool constant = g.is_constant(node.inputs[1]) && g.value(node.inputs[1]).constant->count() == 1 &&
                          g.value(node.inputs[1]).constant->dtype() == DType::kFloat32;
    const auto dtype = g.value(y).dtype;
    if (!constant || (dtype != DType::kUInt8 && dtype != DType::kInt8)) return lower_generic(l, id);
    const bool has_zero = node.inputs.size() > 2 && node.inputs[2] != kNoId;
    if (has_zero && !g.is_constant(node.inputs[2])) return lower_generic(l, id);
    const int32_t zero =
        has_zero ? static_cast<int32_t>(to_int64(*g.value(node.inputs[2]).constant).at(0)) : 0;
    const bool keep_signed = dtype == DType::kInt8 && g.is_output(y);
    params = QuantizedValue{y,
                            {keep_signed ? DType::kInt8 : DType::kUInt8,
                             -1,
                             {g.value(node.inputs[1]).constant->as<float>()[0]},
                             {zero + (dtype == DType::kInt8 && !keep_signed ? 128 : 0)}}};
    validate(params->params, "node '" + node.name + "'");
  }
  if (const auto in = l.quantized(x); in && params->params.dtype == DType::kUInt8) {
    const int32_t from = l.tensor_any(in->stored);
    if (in->params == params->params) return l.bind(y, from);
    l.requantize_into(from, l.make(y, DType::kUInt8, l.layout_of(from), params->params), id);
    return;
  }
  const bool plain = l.rank(x) != 4 || g.is_output(y) || read_plain(g, y);
  const int32_t from = l.tensor_any(x);
  const int32_t to = l.make(y, params->params.dtype, plain ? Layout::kPlain : Layout::kNhwc, params->params);
  l.set_precision(l.add_step("quantize", id, {from}, {to}), "int8");
}

}  // namespace octet
