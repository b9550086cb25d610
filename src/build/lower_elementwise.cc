#include <algorithm>

#include "build/lowering.h"
#include "kernels/simd/function.h"

namespace octet {

using engine::StepDef;
using kernels::Function;

namespace {

bool is_pixel(const Dims& full, const Dims& d) {
  return full.size() == 4 && d.size() == 4 && d[0] == full[0] && d[1] == full[1] && d[2] == Dim(1) &&
         d[3] == Dim(1);
}

// Add or Mul of two 8-bit values; false when it has no such form.
bool lower_in_integers(LoweringState& l, const NodeGroup& group) {
  const Graph& g = l.graph();
  const Node& node = g.node(group.root);
  auto a = l.quantized(node.inputs[0]), b = l.quantized(node.inputs[1]);
  if (!a || !b || l.rank(group.output) != 4) return false;
  const Dims& full = l.dims(node.outputs[0]);
  if (l.dims(node.inputs[0]) != full) std::swap(a, b);
  const Dims &da = l.dims(a->stored), &db = l.dims(b->stored);
  if (da != full || (db != full && !is_pixel(full, db))) return false;

  const auto out = l.requantized(group.output);
  const ActivationSpec spec = group.activation.value_or(ActivationSpec{});
  const auto saturation = out ? saturation_of(spec, out->value.params) : std::nullopt;
  const ActivationSpec function = saturation ? ActivationSpec{} : spec;
  const bool early = out && function.function == Function::kNone;
  const QuantParams *pa = &a->params, *pb = &b->params, *py = out ? &out->value.params : nullptr;
  const auto sa = [=](size_t c) { return scale_at(*pa, c); };
  const auto sb = [=](size_t c) { return scale_at(*pb, c); };
  const auto sy = [=](size_t c) { return py ? scale_at(*py, c) : 1.0; };
  const auto zy = [=](size_t c) { return py ? zero_at(*py, c) : 0.0; };
  const auto divisor = [=](size_t c) { return early ? sy(c) : 1.0; };
  // One number, or one per channel where something has a scale per channel.
  size_t count = 1;
  for (const QuantParams* p : {pa, pb, py})
    if (p && p->per_channel()) count = p->scale.size();
  const auto number = [&](const char* what, auto value) {
    std::vector<float> values;
    for (size_t c = 0; c < count; ++c) values.push_back(static_cast<float>(value(c)));
    return l.constant(node.name + "/" + what, values);
  };

  const int32_t ta = l.tensor(a->stored, Layout::kNhwc), tb = l.tensor(b->stored, Layout::kNhwc);
  const int32_t y =
      out ? l.make_stored(out->value, Layout::kNhwc) : l.make(group.output, DType::kFloat32, Layout::kNhwc);
  const bool late = out && !early;
  const int32_t late_scale = late ? number("out_scale", [=](size_t c) { return 1 / sy(c); }) : -1;
  std::vector<int32_t> inputs;
  if (node.is("Add")) {
    const auto bias = [=](size_t c) {
      return -(zero_at(*pa, c) * sa(c) + zero_at(*pb, c) * sb(c)) / divisor(c) + (early ? zy(c) : 0);
    };
    inputs = {ta,
              tb,
              number("a_scale", [=](size_t c) { return sa(c) / divisor(c); }),
              number("b_scale", [=](size_t c) { return sb(c) / divisor(c); }),
              number("bias", bias),
              late_scale,
              late ? number("out_zero", zy) : -1};
  } else {
    inputs = {ta, tb, number("scale", [=](size_t c) { return sa(c) * sb(c) / divisor(c); }),
              number("out_zero", zy), late_scale};
  }
  StepDef& step = l.add_step(node.is("Add") ? "add" : "mul", group.root, inputs, {y});
  if (function.function != Function::kNone) {
    step.attributes.set("function", static_cast<int64_t>(function.function));
    step.attributes.set("alpha", function.alpha);
    step.attributes.set("beta", function.beta);
  }
  if (saturation) {
    if (saturation->low > 0) step.attributes.set("low", saturation->low);
    if (saturation->high < 255) step.attributes.set("high", saturation->high);
  }
  step.nodes.clear();
  for (NodeId n : group.nodes) step.nodes.push_back(g.node(n).name);
  l.set_precision(step, "int8");
  if (out) l.mark_done(out->node);
  return true;
}

}  // namespace

std::optional<Saturation> saturation_of(const ActivationSpec& spec, const QuantParams& q) {
  if (spec.function != Function::kRelu && spec.function != Function::kClip) return {};
  const auto levels = [&](size_t c) {
    const auto level = [&](float x) {
      return static_cast<int64_t>(quantize_one(x, q.scale[c], q.zero_point[c], {0, 255}));
    };
    return spec.function == Function::kRelu ? Saturation{level(0), 255}
                                            : Saturation{level(spec.alpha), level(spec.beta)};
  };
  const Saturation first = levels(0);
  for (size_t c = 1; c < q.scale.size(); ++c)
    if (levels(c) != first) return {};
  return first;
}

std::optional<Tensor> channel_constant(const LoweringState& l, ValueId value, const Dims& full) {
  const auto t = l.constant_floats(value);
  if (!t || t->dtype() != DType::kFloat32) return {};
  if (t->count() == 1 && t->rank() <= static_cast<int>(full.size())) return t->reshaped({1});
  if (full.size() != 4 || !full[1].known()) return {};
  const int64_t channels = full[1].value();
  const Shape& s = t->shape();
  const bool fits =
      (s.size() == 3 && s == Shape{channels, 1, 1}) || (s.size() == 4 && s == Shape{1, channels, 1, 1});
  if (!fits) return {};
  return t->reshaped({channels});
}

bool lower_binary(LoweringState& l, NodeId id, ValueId value) {
  const Node& node = l.graph().node(id);
  if (node.inputs.size() != 2 || l.graph().value(value).dtype != DType::kFloat32) return false;
  const ValueId a = node.inputs[0], b = node.inputs[1];
  const Dims& full = l.dims(value);
  std::vector<int32_t> inputs;
  Layout layout;
  if (l.dims(a) == full && l.dims(b) == full && !l.constant_floats(a) && !l.constant_floats(b)) {
    const int32_t ta = l.tensor_any(a);
    layout = l.layout_of(ta);
    inputs = {ta, l.tensor(b, layout)};
    if (node.is("Add") && l.defer_sum(value, id, ta, inputs[1])) return true;
  } else if (const auto c = channel_constant(l, b, full); c && l.dims(a) == full && !l.constant_floats(a)) {
    const int32_t ta = c->count() > 1 ? l.tensor(a, Layout::kNhwc) : l.tensor_any(a);
    layout = l.layout_of(ta);
    inputs = {ta, l.constant(l.graph().value(b).name, *c)};
  } else {
    return false;
  }
  const int32_t y = l.make(value, DType::kFloat32, layout);
  StepDef& step = l.add_step("binary_f32", id, inputs, {y});
  step.attributes.set("op", node.op);
  l.set_precision(step, "float32", l.float_reason(node));
  return true;
}

void lower_arithmetic(LoweringState& l, const NodeGroup& group) {
  if (lower_in_integers(l, group)) return;
  for (NodeId n : group.nodes) {
    const Node& node = l.graph().node(n);
    if (activation_of(l.graph(), node))
      lower_activation(l, n);
    else
      lower_generic(l, n);
  }
}

void add_function_f32(LoweringState& l, NodeId id, const ActivationSpec& spec, int32_t from, int32_t to) {
  StepDef& step = l.add_step("function_f32", id, {from}, {to});
  step.attributes.set("function", static_cast<int64_t>(spec.function));
  step.attributes.set("alpha", spec.alpha);
  step.attributes.set("beta", spec.beta);
  l.set_precision(step, "float32", l.float_reason(l.graph().node(id)));
}

void lower_activation(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const auto spec = activation_of(l.graph(), node);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (!spec || l.graph().value(x).dtype != DType::kFloat32) return lower_generic(l, id);
  const auto in = l.quantized(x);
  const auto out = l.requantized(y);
  if (in && out && !in->params.per_channel() && !out->value.params.per_channel()) {
    const int32_t from = l.tensor_any(in->stored);
    const int32_t to = l.make_stored(out->value, l.layout_of(from));
    Tensor table(DType::kUInt8, {256});
    const QuantParams &a = in->params, &b = out->value.params;
    for (int q = 0; q < 256; ++q) {
      const float real = static_cast<float>(q - a.zero_point[0]) * a.scale[0];
      const float f = kernels::evaluate_function_reference(spec->function, spec->alpha, spec->beta, real);
      table.as<uint8_t>()[q] = static_cast<uint8_t>(quantize_one(f, b.scale[0], b.zero_point[0], {0, 255}));
    }
    l.set_precision(l.add_step("lut", id, {from, l.constant(node.name + "/table", std::move(table))}, {to}),
                    "int8");
    l.mark_done(out->node);
    return;
  }
  const int32_t from = l.tensor_any(x);
  add_function_f32(l, id, *spec, from, l.make(y, DType::kFloat32, l.layout_of(from)));
}

}  // namespace octet
