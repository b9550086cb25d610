#include "passes/groups.h"

#include <algorithm>
#include <cmath>

#include "passes/layer_weights.h"

namespace octet {
namespace {

using kernels::Function;

constexpr float kSmallestCap = 1e-30f;  // its reciprocal is finite

std::optional<float> optional_scalar(const Graph& graph, const Node& node, size_t index, float missing,
                                     bool& ok) {
  if (index >= node.inputs.size() || node.inputs[index] == kNoId) return missing;
  const ValueId v = node.inputs[index];
  if (!graph.is_constant(v) || graph.value(v).constant->count() != 1) {
    ok = false;
    return {};
  }
  return to_float(*graph.value(v).constant)[0];
}

std::optional<ActivationSpec> clip_of(const Graph& graph, const Node& node) {
  bool ok = true;
  const auto low = optional_scalar(graph, node, 1, -3.4e38f, ok);
  const auto high = optional_scalar(graph, node, 2, 3.4e38f, ok);
  if (!ok || !(*low <= *high)) return {};
  return ActivationSpec{Function::kClip, *low, *high};
}

bool is_clip(const ActivationSpec& a) {
  return a.function == Function::kRelu || a.function == Function::kClip;
}

bool same_known_shape(const Graph& graph, ValueId a, ValueId b) {
  const auto &x = graph.value(a).shape, &y = graph.value(b).shape;
  return x && y && *x == *y;
}

// The constant that `add` adds to the result of a MatMul, when it is one number per output column.
std::optional<ValueId> column_bias(const Graph& graph, const Node& matmul, const Node& add) {
  if (!matmul.is("MatMul") || !add.is("Add") || add.inputs.size() != 2) return {};
  const ValueId product = matmul.outputs[0];
  const ValueId other = add.inputs[add.inputs[0] == product ? 1 : 0];
  if (other == product || !graph.is_constant(other) || !same_known_shape(graph, product, add.outputs[0]))
    return {};
  const auto &weights = graph.value(matmul.inputs[1]).shape, &full = graph.value(product).shape;
  const Tensor& c = *graph.value(other).constant;
  if (!weights || weights->size() != 2 || c.dtype() != DType::kFloat32 || c.rank() < 1 ||
      c.rank() > static_cast<int>(full->size()))
    return {};
  const Dim columns = weights->back();
  if (!columns.known() || c.count() != columns.value() || c.shape().back() != columns.value()) return {};
  return other;
}

// The caps of `min` behind a Relu of a convolution.
std::vector<float> caps_of(const Graph& graph, const Node& conv, ValueId relu, const Node& min) {
  if (!conv.is("Conv") || !min.is("Min") || min.inputs.size() != 2) return {};
  const ValueId other = min.inputs[min.inputs[0] == relu ? 1 : 0];
  const auto& shape = graph.value(min.outputs[0]).shape;
  if (!graph.is_constant(other) || !shape || shape->size() != 4 || !(*shape)[1].known()) return {};
  const Tensor& caps = *graph.value(other).constant;
  if (caps.dtype() != DType::kFloat32 || caps.shape() != Shape{1, (*shape)[1].value(), 1, 1}) return {};
  std::vector<float> values = to_float(caps);
  const bool usable = std::all_of(values.begin(), values.end(),
                                  [](float v) { return std::isfinite(v) && v >= kSmallestCap; });
  return usable ? values : std::vector<float>{};
}

}  // namespace

std::optional<ActivationSpec> activation_of(const Graph& graph, const Node& node) {
  const Attributes& a = node.attributes;
  if (node.is("Silu", kOctetDomain)) return ActivationSpec{Function::kSilu};
  if (!node.domain.empty()) return {};
  if (node.op == "Relu") return ActivationSpec{Function::kRelu};
  if (node.op == "Clip") return clip_of(graph, node);
  if (node.op == "LeakyRelu") return ActivationSpec{Function::kLeakyRelu, a.get_float("alpha", 0.01f)};
  if (node.op == "Sigmoid") return ActivationSpec{Function::kSigmoid};
  if (node.op == "Tanh") return ActivationSpec{Function::kTanh};
  if (node.op == "HardSigmoid")
    return ActivationSpec{Function::kHardSigmoid, a.get_float("alpha", 0.2f), a.get_float("beta", 0.5f)};
  if (node.op == "HardSwish") return ActivationSpec{Function::kHardSwish};
  if (node.op == "Gelu")
    return ActivationSpec{a.get_string("approximate", "none") == "tanh" ? Function::kGeluTanh
                                                                        : Function::kGelu};
  return {};
}

bool is_weighted(const Graph& graph, const Node& node) {
  if (!node.is("Conv") && !node.is("Gemm") && !node.is("MatMul")) return false;
  return graph.is_constant(node.inputs[1]) || dequantized_weights(graph, node.inputs[1]);
}

std::optional<NodeId> only_consumer(const Graph& graph, ValueId value) {
  if (graph.is_output(value) || graph.consumers(value).size() != 1) return {};
  return graph.consumers(value)[0];
}

NodeGroups::NodeGroups(const Graph& graph) : group_of_(graph.node_slots(), -1) {
  const std::vector<NodeId> order = graph.sorted();
  std::vector<int32_t> position(graph.node_slots(), 0);
  for (size_t i = 0; i < order.size(); ++i) position[order[i]] = static_cast<int32_t>(i);

  const auto follow = [&](NodeGroup& group) {
    const auto next = only_consumer(graph, group.output);
    return next && group_of_[*next] < 0 ? next : std::nullopt;
  };
  const auto take = [&](NodeGroup& group, NodeId node) {
    group.nodes.push_back(node);
    group.output = graph.node(node).outputs[0];
  };
  const auto take_activation = [&](NodeGroup& group, bool clip_only) {
    const auto next = follow(group);
    if (!next) return std::optional<ActivationSpec>();
    auto spec = activation_of(graph, graph.node(*next));
    if (spec && clip_only && !is_clip(*spec)) spec.reset();
    if (spec) take(group, *next);
    return spec;
  };
  // Convolutions claim a residual Add before the Add could become a root itself.
  for (int pass = 0; pass < 2; ++pass) {
    for (NodeId id : order) {
      const Node& node = graph.node(id);
      const bool weighted = is_weighted(graph, node);
      const bool arithmetic = (node.is("Add") || node.is("Mul")) && node.inputs.size() == 2;
      if (group_of_[id] >= 0 || (pass == 0 ? !weighted : !arithmetic)) continue;
      NodeGroup group;
      group.root = id;
      take(group, id);
      if (weighted)
        if (const auto next = follow(group))
          if (const auto bias = column_bias(graph, node, graph.node(*next))) {
            group.bias = *bias;
            take(group, *next);
          }
      group.activation = take_activation(group, false);
      if (weighted && group.activation && group.activation->function == Function::kRelu)
        if (const auto next = follow(group))
          if (auto caps = caps_of(graph, node, group.output, graph.node(*next)); !caps.empty()) {
            group.caps = std::move(caps);
            group.activation = ActivationSpec{Function::kClip, 0, 1};
            take(group, *next);
          }
      if (weighted && group.caps.empty()) {
        const auto next = follow(group);
        if (next && graph.node(*next).is("Add") && graph.node(*next).inputs.size() == 2) {
          const Node& add = graph.node(*next);
          const ValueId other = add.inputs[add.inputs[0] == group.output ? 1 : 0];
          if (other != group.output && !graph.is_constant(other) &&
              same_known_shape(graph, other, group.output)) {
            group.residual = other;
            take(group, *next);
            group.final_clip = take_activation(group, true);
          }
        }
      }
      for (NodeId n : group.nodes) group_of_[n] = static_cast<int32_t>(groups_.size());
      groups_.push_back(std::move(group));
    }
  }
}

const NodeGroup* NodeGroups::find(NodeId node) const {
  const int32_t g = group_of_[node];
  return g < 0 ? nullptr : &groups_[g];
}

}  // namespace octet
