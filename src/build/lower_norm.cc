// Normalizations, with the addition in front of rows and the quantization behind.
#include "build/lowering.h"

namespace octet {

using engine::StepDef;

namespace {

bool is_norm(const Node& node) {
  return node.is("LayerNormalization") || node.is("RMSNormalization");
}

// Constants of a normalization that a `norm` step can do.
struct Norm {
  int64_t axes = 1;
  Tensor scale;
  std::optional<Tensor> bias;
};

std::optional<Norm> describe_norm(const LoweringState& l, const Node& node) {
  const ValueId x = node.inputs[0];
  if (node.outputs.size() != 1 || l.graph().value(x).dtype != DType::kFloat32) return {};
  int64_t axis = node.attributes.get_int("axis", -1);
  if (axis < 0) axis += l.rank(x);
  Norm n;
  n.axes = l.rank(x) - axis;
  int64_t width = 1;
  for (int i = static_cast<int>(axis); i < l.rank(x); ++i) {
    const Dim& d = l.dims(x)[i];
    if (!d.known() || d.value() <= 0 || d.value() > (1 << 24)) return {};
    width *= d.value();
    if (width > (1 << 24)) return {};
  }
  const auto constant = [&](ValueId v) -> std::optional<Tensor> {
    const auto t = l.constant_floats(v);
    if (!t || t->dtype() != DType::kFloat32 || t->count() != width) return {};
    return t->reshaped({width});
  };
  const auto scale = constant(node.inputs[1]);
  if (!scale) return {};
  n.scale = *scale;
  if (node.inputs.size() > 2 && node.inputs[2] != kNoId) {
    n.bias = constant(node.inputs[2]);
    if (!n.bias) return {};
  }
  return n;
}

// The first quantization of a result becomes part of the step that makes it; whether others read the floats.
struct Results {
  std::optional<QuantizedValue> out;
  bool floats = false;
};

Results take_quantization(LoweringState& l, ValueId y, bool per_channel) {
  const Graph& g = l.graph();
  Results found{{}, g.is_output(y)};
  for (NodeId reader : g.consumers(y)) {
    const Node& q = g.node(reader);
    const auto params =
        q.is("QuantizeLinear") && q.inputs[0] == y ? l.tensor_params(q, q.outputs[0]) : std::nullopt;
    if (params && !found.out && (!params->per_channel() || per_channel)) {
      found.out = QuantizedValue{q.outputs[0], *params};
      l.mark_done(reader);
    } else {
      found.floats = true;
    }
  }
  return found;
}

}  // namespace

bool LoweringState::defer_sum(ValueId sum, NodeId add, int32_t a, int32_t b) {
  if (!quantized_model_ || layout_of(a) != Layout::kPlain || layout_of(b) != Layout::kPlain) return false;
  for (NodeId reader : graph_.consumers(sum)) {
    const Node& node = graph_.node(reader);
    if (!is_norm(node) || node.inputs[0] != sum || !describe_norm(*this, node)) continue;
    sums_[sum] = {add, a, b};
    return true;
  }
  return false;
}

std::optional<LoweringState::Sum> LoweringState::take_sum(ValueId value) {
  const auto found = sums_.find(value);
  if (found == sums_.end()) return {};
  const Sum sum = found->second;
  sums_.erase(found);
  return sum;
}

void LoweringState::make_sum(ValueId value) {
  const auto sum = take_sum(value);
  if (!sum) return;
  const int32_t to = make(value, DType::kFloat32, Layout::kPlain);
  StepDef& step = add_step("binary_f32", sum->add, {sum->a, sum->b}, {to});
  step.attributes.set("op", std::string("Add"));
  set_precision(step, "float32", float_reason(graph_.node(sum->add)));
}

void lower_norm(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const auto norm = describe_norm(l, node);
  if (!norm) return lower_generic(l, id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto sum = l.take_sum(x);
  const int32_t in = sum ? sum->a : l.tensor(x, Layout::kPlain);

  auto [out, floats] = take_quantization(l, y, norm->axes == 1);
  floats = floats || !out;

  const int32_t scale = l.constant(node.name + "/scale", norm->scale);
  const int32_t bias = norm->bias ? l.constant(node.name + "/bias", *norm->bias) : -1;
  std::vector<int32_t> outputs;
  const bool sum_read = sum && (g.is_output(x) || g.consumers(x).size() > 1);
  if (sum_read) outputs.push_back(l.make(x, DType::kFloat32, Layout::kPlain));
  if (floats) outputs.push_back(l.make(y, DType::kFloat32, Layout::kPlain));
  if (out) outputs.push_back(l.make_stored(*out, Layout::kPlain));
  StepDef& step = l.add_step("norm", id, {in, sum ? sum->b : -1, scale, bias}, outputs);
  step.attributes.set("axes", norm->axes);
  step.attributes.set("epsilon", node.attributes.get_float("epsilon", 1e-5f));
  step.attributes.set("rms", int64_t{node.is("RMSNormalization")});
  step.attributes.set("sum", int64_t{sum_read});
  step.attributes.set("output", int64_t{floats});
  step.attributes.set("bytes", int64_t{out.has_value()});
  if (sum) step.nodes.insert(step.nodes.begin(), g.node(sum->add).name);
  l.set_precision(step, "float32", node.op + " is computed in float");
}

// Of channels-last images, with the function and the quantization behind it.
void lower_instance_norm(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const ValueId x = node.inputs[0];
  const bool image = l.rank(x) == 4 && l.dims(x)[1].known() && g.value(x).dtype == DType::kFloat32;
  if (!l.is_quantized_model() || !image || !l.is_channels_last(x)) return lower_generic(l, id);
  const int64_t channels = l.dims(x)[1].value();
  std::vector<int32_t> inputs{l.tensor(x, Layout::kNhwc)};
  for (size_t i = 1; i < 3; ++i) {
    const auto t = l.constant_floats(node.inputs[i]);
    if (!t || t->dtype() != DType::kFloat32 || t->count() != channels) return lower_generic(l, id);
    inputs.push_back(l.constant(node.name + (i == 1 ? "/scale" : "/bias"), t->reshaped({channels})));
  }
  ValueId y = node.outputs[0];
  std::optional<ActivationSpec> function;
  std::vector<std::string> nodes{node.name};
  if (!g.is_output(y) && g.consumers(y).size() == 1) {
    const NodeId next = g.consumers(y)[0];
    if (!l.is_done(next)) function = activation_of(g, g.node(next));
    if (function) {
      y = g.node(next).outputs[0];
      nodes.push_back(g.node(next).name);
      l.mark_done(next);
    }
  }
  auto [out, floats] = take_quantization(l, y, true);
  floats = floats || !out;
  std::vector<int32_t> outputs;
  if (floats) outputs.push_back(l.make(y, DType::kFloat32, Layout::kNhwc));
  if (out) outputs.push_back(l.make_stored(*out, Layout::kNhwc));
  StepDef& step = l.add_step("instance_norm", id, std::move(inputs), std::move(outputs));
  step.attributes.set("epsilon", node.attributes.get_float("epsilon", 1e-5f));
  step.attributes.set("output", int64_t{floats});
  step.attributes.set("bytes", int64_t{out.has_value()});
  if (function) {
    step.attributes.set("function", static_cast<int64_t>(function->function));
    step.attributes.set("alpha", function->alpha);
    step.attributes.set("beta", function->beta);
  }
  step.nodes = std::move(nodes);
  l.set_precision(step, "float32", node.op + " is computed in float");
}

}  // namespace octet
