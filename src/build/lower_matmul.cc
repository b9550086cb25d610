// Products of two values that are made at run time, attention, and the transpositions around them.
#include <algorithm>
#include <array>

#include "build/lowering.h"
#include "kernels/generic/generic.h"
#include "passes/attention.h"

namespace octet {

using engine::StepDef;

namespace {

// Whether the product has two 8-bit operands.
bool in_integers(const LoweringState& l, const Node& node) {
  if (!is_variable_matmul(l.graph(), node)) return false;
  const auto a = l.quantized(node.inputs[0]), b = l.quantized(node.inputs[1]);
  return a && b && !a->params.per_channel() && !b->params.per_channel();
}

// The attention whose scores begin with the node, and the product that it ends with.
struct Attention {
  AttentionScores scores;
  LoweringState::Requantized probabilities;
  NodeId product = kNoId;
};

std::optional<Attention> match_attention(const LoweringState& l, NodeId matmul) {
  const Graph& g = l.graph();
  if (!in_integers(l, g.node(matmul))) return {};
  const auto scores = match_attention_scores(g, matmul);
  const auto probabilities = scores ? l.requantized(scores->probabilities) : std::nullopt;
  // The kernel has the byte 0 for NaN.
  if (!probabilities || (scores->zero_for_nan && probabilities->value.params.zero_point[0] != 0)) return {};
  const auto dq = only_consumer(g, probabilities->value.stored);
  if (!dq || !l.quantized(g.node(*dq).outputs[0])) return {};
  const ValueId real = g.node(*dq).outputs[0];
  const auto product = only_consumer(g, real);
  if (!product || !in_integers(l, g.node(*product)) || g.node(*product).inputs[0] != real ||
      g.node(*product).inputs[1] == real)
    return {};
  // One leading dimension for every product: scores, values and result agree, or are repeated.
  const auto rank = l.rank(g.node(*product).outputs[0]);
  if (l.rank(g.node(matmul).outputs[0]) != rank) return {};
  const Dims &all = l.dims(g.node(*product).outputs[0]), &some = l.dims(g.node(matmul).outputs[0]);
  for (int i = 0; i + 2 < rank; ++i)
    if (all[i] != some[i]) return {};
  return Attention{*scores, *probabilities, *product};
}

// An operand: the tensor that holds it, in front of a transposition where there is one.
int32_t operand(LoweringState& l, ValueId real, std::vector<int64_t>& perm) {
  const ValueId stored = l.quantized(real)->stored;
  if (const auto* t = l.transposed(stored)) {
    perm = t->perm;
    return l.tensor(t->source, Layout::kPlain);
  }
  return l.tensor(stored, Layout::kPlain);
}

std::vector<int64_t> perm_of(const LoweringState& l, const Node& transpose) {
  std::vector<int64_t> perm = transpose.attributes.get_ints("perm");
  if (perm.empty())
    for (int i = l.rank(transpose.inputs[0]); i-- > 0;) perm.push_back(i);
  return perm;
}

// Where the result goes: through the transposition that is its only reader.
struct Result {
  int32_t tensor = -1;
  std::vector<int64_t> perm;
};

Result result(LoweringState& l, ValueId value) {
  const Graph& g = l.graph();
  Result r;
  const auto out = l.requantized(value);
  if (!out || out->value.params.per_channel()) {
    const auto reader = only_consumer(g, value);
    if (reader && g.node(*reader).is("Transpose") && !l.requantized(g.node(*reader).outputs[0])) {
      r.perm = perm_of(l, g.node(*reader));
      value = g.node(*reader).outputs[0];
      l.mark_done(*reader);
    }
    r.tensor = l.make(value, DType::kFloat32, Layout::kPlain);
    return r;
  }
  l.mark_done(out->node);
  const auto dq = only_consumer(g, out->value.stored);
  const auto reader = dq ? only_consumer(g, g.node(*dq).outputs[0]) : std::nullopt;
  if (reader && g.node(*reader).is("Transpose") && l.quantized(g.node(*dq).outputs[0])) {
    const auto moved = l.requantized(g.node(*reader).outputs[0]);
    if (moved && moved->value.params == out->value.params) {
      r.perm = perm_of(l, g.node(*reader));
      l.mark_done(*reader);
      l.mark_done(moved->node);
      r.tensor = l.make_stored(moved->value, Layout::kPlain);
      return r;
    }
  }
  r.tensor = l.make_stored(out->value, Layout::kPlain);
  return r;
}

void set_perm(StepDef& step, const char* name, const std::vector<int64_t>& perm) {
  if (!perm.empty()) step.attributes.set(name, perm);
}

// What is added to the scores; the sum of two constants is one.
int32_t mask_tensor(LoweringState& l, const AttentionScores& scores) {
  if (scores.mask == kNoId) return -1;
  if (scores.second == kNoId) return l.tensor(scores.mask, Layout::kPlain);
  const std::array<Tensor, 2> masks{*l.graph().value(scores.mask).constant,
                                    *l.graph().value(scores.second).constant};
  const size_t rank = std::max(masks[0].shape().size(), masks[1].shape().size());
  Shape shape(rank, 1);
  for (const Tensor& mask : masks)
    for (size_t i = 0; i < mask.shape().size(); ++i) {
      int64_t& size = shape[rank - mask.shape().size() + i];
      size = std::max(size, mask.shape()[i]);
    }
  std::array<Tensor, 1> sum{Tensor(DType::kFloat32, shape)};
  kernels::find_generic("Add")({}, masks, sum);
  return l.constant(l.graph().value(scores.mask).name + "_sum", std::move(sum[0]));
}

void lower_attention(LoweringState& l, const Attention& a) {
  const Graph& g = l.graph();
  const Node &scores = g.node(a.scores.product), &product = g.node(a.product);
  std::vector<int64_t> q_perm, k_perm, v_perm;
  const int32_t q = operand(l, scores.inputs[0], q_perm), k = operand(l, scores.inputs[1], k_perm),
                v = operand(l, product.inputs[1], v_perm);
  const int32_t mask = mask_tensor(l, a.scores);
  const Result y = result(l, product.outputs[0]);
  StepDef& step = l.add_step("attention", a.product, {q, k, v, mask}, {y.tensor});
  step.attributes.set("scale", a.scores.scale);
  step.attributes.set("probability_scale", a.probabilities.value.params.scale[0]);
  step.attributes.set("probability_zero", int64_t{a.probabilities.value.params.zero_point[0]});
  set_perm(step, "q_perm", q_perm);
  set_perm(step, "k_perm", k_perm);
  set_perm(step, "v_perm", v_perm);
  set_perm(step, "y_perm", y.perm);
  step.nodes.clear();
  for (NodeId n : a.scores.nodes) step.nodes.push_back(g.node(n).name);
  step.nodes.push_back(product.name);
  l.set_precision(step, "int8");
}

// Of floats, or of integers wider than 8 bits.
bool in_floats(const LoweringState& l, const Node& node) {
  return is_variable_matmul(l.graph(), node) && !in_integers(l, node);
}

// Whether a product of floats can do the transposition of its operands itself: rows must stay rows, or become
// columns of the second.
bool takes_transposed(const LoweringState& l, const Node& product, ValueId value,
                      const std::vector<int64_t>& perm) {
  const auto last = static_cast<int64_t>(perm.size()) - 1;
  return in_floats(l, product) &&
         (perm[last] == last || (perm[last - 1] == last && product.inputs[0] != value));
}

}  // namespace

void lower_matmul(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  if (const auto begun = l.attention_of(id)) {
    const auto a = match_attention(l, *begun);
    if (!a) fail(ErrorCode::kInternal, "node '{}': attention is gone", node.name);
    return lower_attention(l, *a);
  }
  // The step comes where the second product stands: by then the mask and the values exist.
  if (const auto a = match_attention(l, id)) {
    for (NodeId n : a->scores.nodes) l.mark_done(n);
    l.mark_done(a->probabilities.node);
    l.begin_attention(a->product, id);
    return;
  }
  if (!in_integers(l, node)) return lower_generic(l, id);
  std::vector<int64_t> a_perm, b_perm;
  const int32_t a = operand(l, node.inputs[0], a_perm), b = operand(l, node.inputs[1], b_perm);
  const Result y = result(l, node.outputs[0]);
  StepDef& step = l.add_step("matmul", id, {a, b}, {y.tensor});
  set_perm(step, "a_perm", a_perm);
  set_perm(step, "b_perm", b_perm);
  set_perm(step, "y_perm", y.perm);
  l.set_precision(step, "int8");
}

void lower_float_matmul(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  std::array<std::vector<int64_t>, 2> perms;
  std::array<int32_t, 2> operands{};
  for (size_t i = 0; i < 2; ++i) {
    const auto* t = l.transposed(node.inputs[i]);
    if (t != nullptr) perms[i] = t->perm;
    operands[i] = l.declared_tensor(t != nullptr ? t->source : node.inputs[i]);
  }
  ValueId y = node.outputs[0];
  std::vector<int64_t> y_perm;
  const auto reader = l.is_quantized_model() && in_floats(l, node) ? only_consumer(g, y) : std::nullopt;
  if (reader && g.node(*reader).is("Transpose")) {
    const std::vector<int64_t> perm = perm_of(l, g.node(*reader));
    if (perm.back() == static_cast<int64_t>(perm.size()) - 1) {
      y_perm = perm;
      y = g.node(*reader).outputs[0];
      l.mark_done(*reader);
    }
  }
  StepDef& step =
      l.add_step("matmul_f32", id, {operands[0], operands[1]}, {l.make(y, DType::kFloat32, Layout::kPlain)});
  set_perm(step, "a_perm", perms[0]);
  set_perm(step, "b_perm", perms[1]);
  set_perm(step, "y_perm", y_perm);
  l.set_precision(step, "float32", l.float_reason(node));
}

// Transpositions that only products read are left to them.
void lower_transpose(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const ValueId y = node.outputs[0];
  const std::vector<int64_t> perm = perm_of(l, node);
  const auto in = l.quantized(node.inputs[0]);
  const auto out = l.requantized(y);
  bool left = in && out && in->params == out->value.params && !g.is_output(out->value.stored);
  for (NodeId dq : left ? g.consumers(out->value.stored) : std::vector<NodeId>{}) {
    left = left && g.node(dq).is("DequantizeLinear") && !g.is_output(g.node(dq).outputs[0]);
    for (NodeId reader : left ? g.consumers(g.node(dq).outputs[0]) : std::vector<NodeId>{})
      left = left && in_integers(l, g.node(reader));
  }
  if (left) {
    l.leave_transposed(out->value.stored, {in->stored, perm});
    l.mark_done(out->node);
    return;
  }
  if (l.is_quantized_model() && !g.is_output(y) && std::ranges::all_of(g.consumers(y), [&](NodeId reader) {
        return takes_transposed(l, g.node(reader), y, perm);
      }))
    return l.leave_transposed(y, {node.inputs[0], perm});
  if (!l.lower_transpose_by_layout(id)) lower_generic(l, id);
}

}  // namespace octet
