#include "base/checked.h"
#include "ops/op_def.h"
#include "passes/canonicalize.h"

namespace octet {
namespace {

kernels::GenericFunction maker_of(const Node& node) {
  return node.domain.empty() ? kernels::find_maker(node.op) : nullptr;
}

bool larger(const Shape& shape, DType dtype, int64_t max_bytes) {
  int64_t count = 1;
  for (int64_t d : shape)
    if (__builtin_mul_overflow(count, d, &count)) return true;
  return count > max_bytes || dtype_bytes(dtype, count) > max_bytes;
}

bool foldable(const Graph& graph, const Node& node, const OpDef& op, int64_t max_bytes) {
  if (op.run == nullptr || node.is("DequantizeLinear") || node.outputs.empty()) return false;
  for (ValueId v : node.inputs)
    if (v != kNoId && !graph.is_constant(v)) return false;
  for (ValueId v : node.outputs) {
    if (v == kNoId) continue;
    const Value& value = graph.value(v);
    if (!value.dtype) return false;
    if (!value.shape || !all_known(*value.shape)) {
      if (maker_of(node) == nullptr) return false;
      continue;  // decided by the constants, of which it is a choice
    }
    if (larger(evaluate(*value.shape), *value.dtype, max_bytes)) return false;
  }
  return true;
}

// Whether shapes became known with it.
bool fold(Graph& graph, NodeId id, const OpDef& op) {
  const Node node = graph.node(id);
  std::vector<Tensor> inputs, outputs;
  for (ValueId v : node.inputs) inputs.push_back(v == kNoId ? Tensor() : *graph.value(v).constant);
  bool known = true;
  for (ValueId v : node.outputs)
    known = known && (v == kNoId || (graph.value(v).shape && all_known(*graph.value(v).shape)));
  for (ValueId v : node.outputs)
    outputs.push_back(
        v == kNoId ? Tensor()
                   : Tensor(*graph.value(v).dtype, known ? evaluate(*graph.value(v).shape) : Shape{0}));
  try {
    (known ? op.run : maker_of(node))(node.attributes, inputs, outputs);
  } catch (const Error& e) {
    fail(e.code(), "node '{}' ({}): {}", node.name, node.op, e.message());
  }
  graph.remove_node(id);
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId old = node.outputs[i];
    if (old == kNoId) continue;
    graph.value(old).constant = outputs[i];
    graph.value(old).shape = Dims(outputs[i].shape().begin(), outputs[i].shape().end());
  }
  return !known;
}

// A value that derives from shapes alone and is fully known, such as Shape of a static input.
bool fold_known_integers(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  if (node.outputs.size() != 1) return false;
  Value& value = graph.value(node.outputs[0]);
  if (value.constant || !value.integers || !value.shape || !all_known(*value.integers) ||
      !all_known(*value.shape))
    return false;
  if (value.dtype != DType::kInt64) return false;
  Tensor tensor(DType::kInt64, evaluate(*value.shape));
  const std::vector<int64_t> known = evaluate(*value.integers);
  if (static_cast<int64_t>(known.size()) != tensor.count()) return false;
  std::copy(known.begin(), known.end(), tensor.as<int64_t>().begin());
  graph.remove_node(id);
  graph.value(node.outputs[0]).constant = std::move(tensor);
  return true;
}

}  // namespace

bool fold_constants(Graph& graph, int64_t max_bytes) {
  bool changed = false, decided = false;
  for (NodeId id : graph.sorted()) {
    if (fold_known_integers(graph, id)) {
      changed = true;
      continue;
    }
    const Node& node = graph.node(id);
    const OpDef* op = find_op(node.op, node.domain);
    if (op == nullptr || !foldable(graph, node, *op, max_bytes)) continue;
    decided = fold(graph, id, *op) || decided;
    changed = true;
  }
  if (decided) infer_shapes(graph);
  return changed;
}

}  // namespace octet
