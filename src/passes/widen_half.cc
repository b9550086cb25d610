#include <algorithm>

#include "ops/op_def.h"
#include "ops/support.h"
#include "passes/canonicalize.h"

namespace octet {
namespace {

bool is_half(std::optional<DType> dtype) {
  return dtype && octet::is_half(*dtype);
}

// Whether a node computes in them; a Cast at an input or before an output does not.
bool computes_in_half(const Graph& graph) {
  const auto half = [&](ValueId v) { return v != kNoId && is_half(graph.value(v).dtype); };
  for (NodeId id = 0; id < graph.node_slots(); ++id) {
    const Node& node = graph.node(id);
    if (!node.alive) continue;
    if (node.is("Cast") && graph.is_input(node.inputs[0]) != graph.is_output(node.outputs[0])) continue;
    if (std::ranges::any_of(node.inputs, half) || std::ranges::any_of(node.outputs, half)) return true;
  }
  return false;
}

Tensor widened(const Tensor& half) {
  const std::vector<float> values = to_float(half);
  return Tensor::of<float>(half.shape(), std::span<const float>(values));
}

// Attributes that say which type comes out.
void widen_attributes(Attributes& attributes) {
  for (const char* name : {"to", "dtype", "output_dtype"}) {
    const Attribute* found = attributes.find(name);
    const auto* code = found == nullptr ? nullptr : std::get_if<int64_t>(found);
    if (code != nullptr && is_half(dtype_from_onnx(*code)))
      attributes.set(name, dtype_to_onnx(DType::kFloat32));
  }
  const Attribute* value = attributes.find("value");
  const auto* tensor = value == nullptr ? nullptr : std::get_if<Tensor>(value);
  if (tensor != nullptr && is_half(tensor->dtype())) attributes.set("value", widened(*tensor));
}

Attributes cast_to(DType dtype) {
  Attributes attributes;
  attributes.set("to", dtype_to_onnx(dtype));
  return attributes;
}

}  // namespace

bool widen_half(Graph& graph) {
  if (!computes_in_half(graph)) return false;
  for (NodeId id = 0; id < graph.node_slots(); ++id)
    if (graph.node(id).alive) widen_attributes(graph.node(id).attributes);
  // What the graph gives keeps its type.
  for (const ValueId output : graph.outputs()) {
    const NodeId producer = graph.value(output).producer;
    if (!is_half(graph.value(output).dtype)) continue;
    if (const auto constant = graph.value(output).constant)
      graph.replace_uses(output,
                         graph.add_constant(graph.value(output).name + "_float32", widened(*constant)),
                         /*outputs_too=*/false);
    if (producer == kNoId) continue;
    const DType dtype = *graph.value(output).dtype;
    const std::string name = graph.value(output).name;
    const ValueId wide = graph.add_value(name + "_float32", DType::kFloat32, graph.value(output).shape);
    const auto& outputs = graph.node(producer).outputs;
    graph.replace_uses(output, wide, /*outputs_too=*/false);
    graph.take_output(producer, std::ranges::find(outputs, output) - outputs.begin(), wide);
    graph.add_node("Cast", "", name + "_Cast", {wide}, {output}, cast_to(dtype));
  }
  for (const ValueId input : graph.inputs()) {
    if (!is_half(graph.value(input).dtype) || graph.consumers(input).empty()) continue;
    const ValueId wide = graph.add_op("Cast", graph.value(input).name + "_Cast", {input},
                                      graph.value(input).name + "_float32", cast_to(DType::kFloat32));
    graph.replace_uses(input, wide, /*outputs_too=*/false, /*keep=*/graph.value(wide).producer);
  }
  for (ValueId v = 0; v < graph.value_slots(); ++v) {
    Value& value = graph.value(v);
    if (!is_half(value.dtype) || graph.is_input(v) || graph.is_output(v)) continue;
    if (value.constant) value.constant = widened(*value.constant);
    value.dtype = DType::kFloat32;
  }
  infer_shapes(graph);
  return true;
}

}  // namespace octet
