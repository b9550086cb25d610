// Integer tensors outside Q/DQ: what other tools write where Octet has DequantizeLinear -> operator ->
// QuantizeLinear.
#include <algorithm>
#include <optional>

#include "ops/op_def.h"
#include "passes/canonicalize.h"

namespace octet {
namespace {

bool is_8bit(const Graph& graph, ValueId value) {
  const auto dtype = value == kNoId ? std::nullopt : graph.value(value).dtype;
  return dtype == DType::kInt8 || dtype == DType::kUInt8;
}

// Scale and zero-point of a QuantizeLinear or DequantizeLinear per tensor, as values.
struct Parameters {
  ValueId scale = kNoId, zero = kNoId;
  std::vector<ValueId> behind(ValueId x) const {
    return zero == kNoId ? std::vector{x, scale} : std::vector{x, scale, zero};
  }
};

std::optional<Parameters> parameters_of(const Graph& graph, const Node& node) {
  const ValueId scale = node.inputs.at(1), zero = node.inputs.size() > 2 ? node.inputs[2] : kNoId;
  if (!graph.is_constant(scale) || graph.value(scale).constant->count() != 1) return {};
  if (zero != kNoId && !graph.is_constant(zero)) return {};
  return Parameters{scale, zero};
}

bool same_constant(const Graph& graph, ValueId a, ValueId b) {
  if (a == b) return true;
  if (a == kNoId || b == kNoId || !graph.is_constant(a) || !graph.is_constant(b)) return false;
  const Tensor &x = *graph.value(a).constant, &y = *graph.value(b).constant;
  if (x.dtype() != y.dtype() || x.count() != y.count()) return false;
  return is_float(x.dtype()) ? to_float(x) == to_float(y) : to_int64(x) == to_int64(y);
}

bool same(const Graph& graph, const Parameters& a, const Parameters& b) {
  return same_constant(graph, a.scale, b.scale) && same_constant(graph, a.zero, b.zero);
}

// What made an 8-bit value.
std::optional<Parameters> written_with(const Graph& graph, ValueId value) {
  const Node* producer = is_8bit(graph, value) ? graph.producer(value) : nullptr;
  if (producer == nullptr || !producer->is("QuantizeLinear")) return {};
  return parameters_of(graph, *producer);
}

// How many inputs of a moving operator are the data that it moves: all of them or the first.
size_t moved_inputs(const Node& node) {
  return node.is("Concat") ? node.inputs.size() : 1;
}

bool moves(const Node& node) {
  const OpDef* op = find_op(node.op, node.domain);
  return node.is("Pad") || (op != nullptr && op->quant == QuantRule::kSameScale);
}

// A float constant 0, or the zero-point under a DequantizeLinear.
bool is_zero(const Graph& graph, ValueId value) {
  if (const auto& constant = graph.value(value).constant)
    return constant->dtype() == DType::kFloat32 && constant->count() == 1 && constant->as<float>()[0] == 0;
  const Node* dq = graph.producer(value);
  return dq != nullptr && dq->is("DequantizeLinear") && dq->inputs.size() > 2 &&
         same_constant(graph, dq->inputs[0], dq->inputs[2]);
}

// Whether each element of its results is an element of its inputs, or the zero of real numbers.
bool only_moves(const Graph& graph, const Node& node) {
  if (!moves(node) || (node.outputs.size() != 1 && !node.is("Split"))) return false;
  if (node.is("Resize")) return node.attributes.get_string("mode", "nearest") == "nearest";
  if (node.is("Pad") && node.attributes.get_string("mode", "constant") == "constant" &&
      node.inputs.size() > 2 && node.inputs[2] != kNoId) {
    return is_zero(graph, node.inputs[2]);
  }
  return true;
}

ValueId dequantized(Graph& graph, ValueId value, const Parameters& p) {
  const std::string name = graph.value(value).name;
  const ValueId real =
      graph.add_op("DequantizeLinear", name + "_DequantizeLinear", p.behind(value), name + "_dequantized");
  graph.value(real).dtype = graph.value(p.scale).dtype;
  graph.value(real).shape = graph.value(value).shape;
  return real;
}

// A moving operator on 8-bit tensors gets float ones: dequantized before, and with the same parameters
// quantized behind.
bool surround(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  if (!moves(node) || node.inputs.empty() || node.outputs.empty() ||
      (node.outputs.size() != 1 && !node.is("Split")))
    return false;
  const size_t count = moved_inputs(node);
  const auto p = written_with(graph, node.inputs[0]);
  if (!p) return false;
  for (size_t i = 1; i < count; ++i) {
    const auto other = written_with(graph, node.inputs[i]);
    if (!other || !same(graph, *p, *other)) return false;
  }
  const bool pads = node.is("Pad") && node.attributes.get_string("mode", "constant") == "constant";
  for (size_t i = 0; i < count; ++i) graph.set_input(id, i, dequantized(graph, node.inputs[i], *p));
  if (pads) {
    // A fill that is left out is the integer 0.
    ValueId fill = node.inputs.size() > 2 ? node.inputs[2] : kNoId;
    if (fill == kNoId) {
      const DType dtype = *graph.value(node.inputs[0]).dtype;
      fill = graph.add_constant(node.name + "_fill", Tensor(dtype, {}));
    }
    const ValueId real = dequantized(graph, fill, *p);
    while (graph.node(id).inputs.size() < 3) graph.append_input(id, kNoId);
    graph.set_input(id, 2, real);
  }
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId out = node.outputs[i];
    if (out == kNoId) continue;
    const ValueId real = graph.add_value(graph.value(out).name + "_float", graph.value(p->scale).dtype,
                                         graph.value(out).shape);
    graph.take_output(id, i, real);
    graph.add_node("QuantizeLinear", "", graph.value(out).name + "_QuantizeLinear", p->behind(real), {out});
  }
  return true;
}

// The parameters that all data inputs of a node are dequantized with.
std::optional<Parameters> read_with(const Graph& graph, const Node& node) {
  std::optional<Parameters> all;
  for (size_t i = 0; i < moved_inputs(node); ++i) {
    const Node* dq = graph.producer(node.inputs[i]);
    if (dq == nullptr || !dq->is("DequantizeLinear") || !is_8bit(graph, dq->inputs[0]) ||
        graph.is_constant(dq->inputs[0]))
      return {};
    const auto p = parameters_of(graph, *dq);
    if (!p || (all && !same(graph, *all, *p))) return {};
    all = p;
  }
  // A DequantizeLinear without a zero-point says no type, a QuantizeLinear has to.
  if (all && all->zero == kNoId &&
      graph.value(graph.producer(node.inputs[0])->inputs[0]).dtype != DType::kUInt8)
    return {};
  return all;
}

}  // namespace

bool quantize_moved_bytes(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted()) changed |= surround(graph, id);
  return changed;
}

bool carry_scales(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (node.inputs.empty() || node.inputs[0] == kNoId || !only_moves(graph, node)) continue;
    const auto p = read_with(graph, node);
    if (!p) continue;
    for (const ValueId out : node.outputs) {
      if (out == kNoId || graph.consumers(out).empty()) continue;
      const auto& readers = graph.consumers(out);
      if (std::ranges::all_of(readers, [&](NodeId r) { return graph.node(r).is("QuantizeLinear"); }))
        continue;
      const std::string name = graph.value(out).name;
      const ValueId stored =
          graph.add_op("QuantizeLinear", name + "_QuantizeLinear", p->behind(out), name + "_quantized");
      graph.value(stored).dtype = graph.value(graph.producer(node.inputs[0])->inputs[0]).dtype;
      graph.value(stored).shape = graph.value(out).shape;
      const ValueId real = dequantized(graph, stored, *p);
      graph.replace_uses(out, real, /*outputs_too=*/false, /*keep=*/graph.value(stored).producer);
      changed = true;
    }
  }
  return changed;
}

}  // namespace octet
