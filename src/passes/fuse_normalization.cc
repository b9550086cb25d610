#include <algorithm>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/factors.h"

namespace octet {
namespace {

// The first of the axes that a ReduceMean (or the like) with kept dimensions reduces, when they are the last
// ones of a value of known rank.
std::optional<int64_t> reduced_tail(const Graph& graph, const Node& reduce) {
  const auto& shape = graph.value(reduce.inputs[0]).shape;
  if (!shape || reduce.attributes.get_int("keepdims", 1) == 0 || reduce.inputs.size() < 2 ||
      !graph.is_constant(reduce.inputs[1]))
    return {};
  const auto rank = static_cast<int64_t>(shape->size());
  std::vector<int64_t> axes = to_int64(*graph.value(reduce.inputs[1]).constant);
  for (int64_t& a : axes)
    if (a < 0) a += rank;
  std::sort(axes.begin(), axes.end());
  if (axes.empty()) return {};
  for (size_t i = 0; i < axes.size(); ++i)
    if (axes[i] != rank - static_cast<int64_t>(axes.size() - i)) return {};
  return axes[0];
}

struct Mean {
  ValueId of = kNoId;
  int64_t axis = 0;
};

std::optional<Mean> match_mean(const Graph& graph, ValueId value, std::string_view op = "ReduceMean") {
  const Node* mean = producer_of(graph, value, op);
  const auto axis = mean ? reduced_tail(graph, *mean) : std::nullopt;
  return axis ? std::optional(Mean{mean->inputs[0], *axis}) : std::nullopt;
}

struct Deviation {
  ValueId of = kNoId;  // what is squared
  int64_t axis = 0;
  float epsilon = 0;
};

// sqrt(mean(of^2) + epsilon)
std::optional<Deviation> match_deviation(const Graph& graph, ValueId value) {
  const Node* sqrt = producer_of(graph, value, "Sqrt");
  if (const Node* pow = producer_of(graph, value, "Pow"))
    if (close(scalar_constant(graph, pow->inputs[1]), 0.5)) sqrt = pow;
  const Node* add = sqrt ? producer_of(graph, sqrt->inputs[0], "Add") : nullptr;
  if (!add || add->inputs.size() != 2) return {};
  for (int i = 0; i < 2; ++i) {
    const auto epsilon = scalar_constant(graph, add->inputs[i]);
    const auto mean = match_mean(graph, add->inputs[1 - i]);
    if (!epsilon || !mean || !(*epsilon >= 0) || *epsilon > 1) continue;
    const Factors square = factors_of(graph, mean->of);
    if (square.coefficient == 1 && square.values.size() == 2 && square.values[0] == square.values[1])
      return Deviation{square.values[0], mean->axis, *epsilon};
  }
  return {};
}

// What the node divides by sqrt(...), as Div, or as Mul by a reciprocal.
struct Quotient {
  ValueId numerator = kNoId;
  Deviation deviation;
};

std::optional<Quotient> match_quotient(const Graph& graph, const Node& node) {
  if (node.inputs.size() != 2) return {};
  if (node.is("Div")) {
    const auto d = match_deviation(graph, node.inputs[1]);
    return d ? std::optional(Quotient{node.inputs[0], *d}) : std::nullopt;
  }
  if (!node.is("Mul")) return {};
  for (int i = 0; i < 2; ++i) {
    std::optional<ValueId> divisor;
    if (const Node* r = producer_of(graph, node.inputs[i], "Reciprocal")) divisor = r->inputs[0];
    const Node* div = producer_of(graph, node.inputs[i], "Div");
    if (div && close(scalar_constant(graph, div->inputs[0]), 1)) divisor = div->inputs[1];
    if (!divisor) continue;
    if (const auto d = match_deviation(graph, *divisor)) return Quotient{node.inputs[1 - i], *d};
  }
  return {};
}

// x of x - mean(x) along the axis.
std::optional<ValueId> match_centred(const Graph& graph, ValueId value, int64_t axis) {
  const Node* sub = producer_of(graph, value, "Sub");
  if (!sub) return {};
  const auto mean = match_mean(graph, sub->inputs[1]);
  return mean && mean->of == sub->inputs[0] && mean->axis == axis ? std::optional(sub->inputs[0])
                                                                  : std::nullopt;
}

// Known sizes of the dimensions from `axis` on.
std::optional<Shape> tail_of(const Graph& graph, ValueId value, int64_t axis) {
  const auto& shape = graph.value(value).shape;
  if (!shape || axis < 0 || axis >= static_cast<int64_t>(shape->size())) return {};
  Shape tail;
  for (size_t i = static_cast<size_t>(axis); i < shape->size(); ++i) {
    if (!(*shape)[i].known() || (*shape)[i].value() <= 0) return {};
    tail.push_back((*shape)[i].value());
  }
  return tail;
}

Tensor filled(const Shape& shape, float value) {
  Tensor t(DType::kFloat32, shape);
  for (float& v : t.as<float>()) v = value;
  return t;
}

bool fuse_quotient(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const auto q = match_quotient(graph, node);
  if (!q || graph.value(q->numerator).dtype != DType::kFloat32) return false;
  const auto x = match_centred(graph, q->numerator, q->deviation.axis);
  const bool centred = x && match_centred(graph, q->deviation.of, q->deviation.axis) == x;
  const bool plain = !centred && q->deviation.of == q->numerator && find_op("RMSNormalization") != nullptr;
  const ValueId input = centred ? *x : q->numerator;
  const auto tail = tail_of(graph, input, q->deviation.axis);
  if ((!centred && !plain) || !tail) return false;
  const auto axis = q->deviation.axis - static_cast<int64_t>(graph.value(input).shape->size());
  Attributes attributes;
  attributes.set("axis", axis);
  attributes.set("epsilon", q->deviation.epsilon);
  const ValueId scale = graph.add_constant(node.name + "_scale", filled(*tail, 1));
  become(graph, id, centred ? "LayerNormalization" : "RMSNormalization", "", {input, scale},
         std::move(attributes));
  return true;
}

// A constant that is one number, or spans the normalized dimensions, as a tensor of exactly those.
std::optional<Tensor> over_tail(const Graph& graph, ValueId value, const Shape& tail) {
  if (!graph.is_constant(value)) return {};
  const Tensor& t = *graph.value(value).constant;
  if (t.dtype() != DType::kFloat32) return {};
  if (t.count() == 1) return filled(tail, t.as<float>()[0]);
  Shape shape = t.shape();
  while (shape.size() > tail.size() && shape[0] == 1) shape.erase(shape.begin());
  if (shape != tail) return {};
  return t.reshaped(tail);
}

// A Mul or Add of constants behind a normalization goes into its scale and bias.
bool fold_affine(Graph& graph, NodeId id) {
  const Node norm = graph.node(id);
  const ValueId y = norm.outputs[0];
  if (norm.outputs.size() != 1 || !only_use(graph, y) || graph.value(y).dtype != DType::kFloat32)
    return false;
  const NodeId next = graph.consumers(y)[0];
  const Node& follow = graph.node(next);
  const bool add = follow.is("Add") && norm.is("LayerNormalization");
  if ((!follow.is("Mul") && !add) || follow.inputs.size() != 2 || !graph.value(norm.inputs[0]).shape)
    return false;
  const ValueId other = follow.inputs[follow.inputs[0] == y ? 1 : 0];
  const auto rank = static_cast<int64_t>(graph.value(norm.inputs[0]).shape->size());
  int64_t axis = norm.attributes.get_int("axis", -1);
  if (axis < 0) axis += rank;
  const auto tail = tail_of(graph, norm.inputs[0], axis);
  if (!tail || other == y) return false;
  if (graph.is_constant(other) && graph.value(other).constant->rank() > rank) return false;
  const auto constant = over_tail(graph, other, *tail), scale = over_tail(graph, norm.inputs[1], *tail);
  const bool has_bias = norm.inputs.size() > 2 && norm.inputs[2] != kNoId;
  const auto bias = has_bias ? over_tail(graph, norm.inputs[2], *tail) : filled(*tail, 0);
  if (!constant || !scale || !bias) return false;
  Tensor new_scale = scale->clone(), new_bias = bias->clone();
  for (int64_t i = 0; i < constant->count(); ++i) {
    const float c = constant->as<float>()[i];
    if (add)
      new_bias.as<float>()[i] += c;
    else
      new_scale.as<float>()[i] *= c, new_bias.as<float>()[i] *= c;
  }
  std::vector<ValueId> inputs{norm.inputs[0], graph.add_constant(norm.name + "_scale", std::move(new_scale))};
  if (has_bias || add) inputs.push_back(graph.add_constant(norm.name + "_bias", std::move(new_bias)));
  become(graph, next, norm.op, "", std::move(inputs), norm.attributes);
  return true;
}

// exp(x) / sum(exp(x)), where x may be what is left of subtracting its largest.
bool fuse_softmax(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  if (!node.is("Div")) return false;
  const Node* exp = producer_of(graph, node.inputs[0], "Exp");
  const auto sum = exp ? match_mean(graph, node.inputs[1], "ReduceSum") : std::nullopt;
  if (!sum || sum->of != node.inputs[0] || graph.value(node.inputs[0]).dtype != DType::kFloat32) return false;
  const auto rank = static_cast<int64_t>(graph.value(sum->of).shape->size());
  if (sum->axis != rank - 1) return false;
  ValueId x = exp->inputs[0];
  if (const Node* sub = producer_of(graph, x, "Sub")) {
    const auto largest = match_mean(graph, sub->inputs[1], "ReduceMax");
    if (largest && largest->of == sub->inputs[0] && largest->axis == sum->axis) x = sub->inputs[0];
  }
  Attributes attributes;
  attributes.set("axis", int64_t{-1});
  become(graph, id, "Softmax", "", {x}, std::move(attributes));
  return true;
}

}  // namespace

bool fuse_normalization(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    if (!graph.node(id).alive) continue;
    const bool norm = graph.node(id).is("LayerNormalization") || graph.node(id).is("RMSNormalization");
    changed |= norm ? fold_affine(graph, id) : fuse_softmax(graph, id) || fuse_quotient(graph, id);
  }
  if (!changed) return false;
  graph.prune();
  infer_shapes(graph);
  return true;
}

}  // namespace octet
