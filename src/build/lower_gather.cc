// Rows of a table of 8-bit weights: they are gathered as bytes, and dequantized then.
#include "build/lowering.h"

namespace octet {
namespace {

// Scale and zero-point of a table under a DequantizeLinear: of all, or of each column.
std::optional<QuantParams> table_params(const Graph& g, const Node& dq, const Tensor& table) {
  if (table.dtype() != DType::kInt8 && table.dtype() != DType::kUInt8) return {};
  if (table.rank() != 2 || table.count() == 0 || !g.is_constant(dq.inputs[1]) ||
      dq.attributes.get_int("block_size", 0) != 0)
    return {};
  const Tensor& scale = *g.value(dq.inputs[1]).constant;
  if (scale.dtype() != DType::kFloat32) return {};
  const int64_t columns = table.shape()[1];
  const int64_t axis = dq.attributes.get_int("axis", 1);
  const bool per_column = scale.count() != 1;
  if (per_column && (scale.count() != columns || (axis != 1 && axis != -1))) return {};
  QuantParams params{table.dtype(), per_column ? 1 : -1, to_float(scale), {}};
  params.zero_point.assign(params.scale.size(), 0);
  if (dq.inputs.size() > 2 && dq.inputs[2] != kNoId) {
    if (!g.is_constant(dq.inputs[2])) return {};
    const auto zero = to_int64(*g.value(dq.inputs[2]).constant);
    if (zero.size() != params.scale.size()) return {};
    for (size_t i = 0; i < zero.size(); ++i) params.zero_point[i] = static_cast<int32_t>(zero[i]);
  }
  return params;
}

}  // namespace

void lower_gather(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const Node* dq = g.producer(node.inputs[0]);
  const int64_t axis = node.attributes.get_int("axis", 0);
  const bool table = dq != nullptr && dq->is("DequantizeLinear") && g.is_constant(dq->inputs[0]) &&
                     (axis == 0 || axis == -2) && !g.is_constant(node.inputs[1]) &&
                     l.rank(node.outputs[0]) >= 1;
  auto params = table ? table_params(g, *dq, *g.value(dq->inputs[0]).constant) : std::nullopt;
  if (!params) return lower_generic(l, id);
  if (params->per_channel()) params->axis = l.rank(node.outputs[0]) - 1;
  const ValueId y = node.outputs[0];
  const int32_t rows =
      l.make_temporary(g.value(y).name + "/rows", params->dtype, Layout::kPlain, l.dims(y), *params);
  engine::StepDef& gather =
      l.add_step("generic", id,
                 {l.tensor(dq->inputs[0], Layout::kPlain), l.tensor(node.inputs[1], Layout::kPlain)}, {rows});
  gather.attributes = node.attributes;
  gather.attributes.set("op", node.op);
  l.set_precision(gather, "int8");
  l.set_precision(l.add_step("dequantize", id, {rows}, {l.make(y, DType::kFloat32, Layout::kPlain)}), "int8");
}

}  // namespace octet
