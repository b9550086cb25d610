#include <algorithm>

#include "build/lowering.h"
#include "passes/channels.h"
#include "passes/pads.h"

namespace octet {

using engine::StepDef;

namespace {

// Where a node that keeps the scale of its input writes: with the input's parameters, through `finish` when
// the output has others.
struct MovedValue {
  int32_t from = -1;  // 8-bit input tensor
  int32_t to = -1;    // tensor the step writes
  std::optional<LoweringState::Requantized> out;
  bool rescale = false;
};

// Whether each of the node's results is one of its input's values: then integers serve as well as the reals.
// What is between two of them is rounded, which must happen once, with the output's parameters.
bool only_moves(const Node& node) {
  return !node.is("Resize") ||
         (node.attributes.get_string("mode", "nearest") == "nearest" &&
          node.attributes.get_string("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize");
}

std::optional<MovedValue> moved_value(LoweringState& l, const Node& node, Layout layout) {
  const auto in = l.quantized(node.inputs[0]);
  auto out = l.requantized(node.outputs[0]);
  if (!in || !out) return {};
  const auto params = moved_params(l.graph(), node, 0, in->params);
  if (!params) return {};
  MovedValue m;
  m.rescale = *params != out->value.params;
  if (m.rescale && !only_moves(node)) return {};
  m.from = l.tensor(in->stored, layout);
  m.to = m.rescale ? l.make_temporary(node.name + "/partial", DType::kUInt8, layout, l.dims(node.outputs[0]),
                                      *params)
                   : l.make_stored(out->value, layout);
  m.out = std::move(out);
  return m;
}

void finish(LoweringState& l, NodeId id, const MovedValue& m) {
  if (m.rescale) l.requantize_into(m.to, l.make_stored(m.out->value, l.layout_of(m.to)), id);
  l.mark_done(m.out->node);
}

void set_window(LoweringState& l, StepDef& step, const Node& node) {
  const std::vector<int64_t> kernel = node.attributes.get_ints("kernel_shape");
  step.attributes.set("kernel", kernel);
  step.attributes.set("strides", node.attributes.get_ints("strides", {1, 1}));
  step.attributes.set("dilations", node.attributes.get_ints("dilations", {1, 1}));
  step.attributes.set("pads", resolved_pads(l.graph(), node, kernel));
  if (node.is("AveragePool"))
    step.attributes.set("count_include_pad", node.attributes.get_int("count_include_pad", 0));
}

// A Pad whose fill, where it has one, is the real number 0: one integer of any scale.
bool pads_with_zero(const LoweringState& l, const Node& node) {
  if (!node.is("Pad") || node.attributes.get_string("mode", "constant") != "constant") return false;
  if (node.inputs.size() < 3 || node.inputs[2] == kNoId) return true;
  const auto fill = l.constant_floats(node.inputs[2]);
  return fill && fill->dtype() == DType::kFloat32 && fill->count() == 1 && fill->as<float>()[0] == 0;
}

}  // namespace

void lower_pool(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (l.rank(x) != 4 || node.outputs.size() != 1 || l.graph().value(x).dtype != DType::kFloat32)
    return lower_generic(l, id);
  const bool global = node.is("GlobalAveragePool"), max = node.is("MaxPool");
  const std::string kind = global ? "global_average_pool" : max ? "max_pool" : "average_pool";
  if (max) {
    if (const auto m = moved_value(l, node, Layout::kNhwc)) {
      StepDef& step = l.add_step(kind, id, {m->from}, {m->to});
      set_window(l, step, node);
      l.set_precision(step, "int8");
      return finish(l, id, *m);
    }
  } else if (const auto in = l.quantized(x)) {
    const auto out = l.requantized(y);
    const int32_t from = l.tensor(in->stored, Layout::kNhwc);
    const int32_t to =
        out ? l.make_stored(out->value, Layout::kNhwc) : l.make(y, DType::kFloat32, Layout::kNhwc);
    StepDef& step = l.add_step(kind, id, {from}, {to});
    if (!global) set_window(l, step, node);
    l.set_precision(step, "int8");
    if (out) l.mark_done(out->node);
    return;
  }
  const int32_t from = l.tensor(x, Layout::kNhwc);
  StepDef& step = l.add_step(kind + "_f32", id, {from}, {l.make(y, DType::kFloat32, Layout::kNhwc)});
  if (!global) set_window(l, step, node);
  l.set_precision(step, "float32", l.float_reason(node));
}

void lower_resize(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const std::string mode = node.attributes.get_string("mode", "nearest");
  const std::string transform = node.attributes.get_string("coordinate_transformation_mode", "half_pixel");
  const bool known_transform = transform == "half_pixel" || transform == "asymmetric" ||
                               transform == "align_corners" || transform == "pytorch_half_pixel";
  const bool plain = node.attributes.get_int("antialias", 0) == 0 &&
                     node.attributes.get_int("exclude_outside", 0) == 0 && !node.attributes.has("axes");
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const bool spatial = l.rank(x) == 4 && l.dims(x)[0] == l.dims(y)[0] && l.dims(x)[1] == l.dims(y)[1];
  if (!spatial || !known_transform || !plain || (mode != "nearest" && mode != "linear"))
    return lower_generic(l, id);
  std::vector<float> scales;
  if (node.inputs.size() > 2 && node.inputs[2] != kNoId) {
    if (const auto s = l.constant_floats(node.inputs[2]); s && s->count() == 4)
      scales = {to_float(*s)[2], to_float(*s)[3]};
    if (scales.empty() && (node.inputs.size() < 4 || node.inputs[3] == kNoId)) return lower_generic(l, id);
  }
  const auto m = moved_value(l, node, Layout::kNhwc);
  if (!m) return lower_generic(l, id);
  StepDef& step = l.add_step("resize_" + mode, id, {m->from}, {m->to});
  step.attributes.set("coordinate_transformation_mode", transform);
  step.attributes.set("nearest_mode", node.attributes.get_string("nearest_mode", "round_prefer_floor"));
  step.attributes.set("scales", scales);
  l.set_precision(step, "int8");
  finish(l, id, *m);
}

void lower_pad(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const auto pads = l.rank(node.inputs[0]) == 4 ? pads_of(l.graph(), node) : std::nullopt;
  const bool images = pads && (*pads)[0] == 0 && (*pads)[1] == 0 && (*pads)[4] == 0 && (*pads)[5] == 0;
  const std::string mode = node.attributes.get_string("mode", "constant");
  if (!images || (mode == "constant" && !pads_with_zero(l, node))) return lower_generic(l, id);
  const auto m = moved_value(l, node, Layout::kNhwc);
  if (!m) return lower_generic(l, id);
  StepDef& step = l.add_step("pad", id, {m->from}, {m->to});
  step.attributes.set("pads", std::vector<int64_t>{(*pads)[2], (*pads)[3], (*pads)[6], (*pads)[7]});
  step.attributes.set("mode", mode);
  l.set_precision(step, "int8");
  finish(l, id, *m);
}

void lower_depth_to_space(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (node.attributes.get_string("mode", "DCR") != "DCR") return lower_generic(l, id);
  const auto in = l.quantized(x);
  const auto m = in && !in->params.per_channel() ? moved_value(l, node, Layout::kNhwc) : std::nullopt;
  if (!m && (in || l.graph().value(x).dtype != DType::kFloat32)) return lower_generic(l, id);
  StepDef& step = m ? l.add_step("depth_to_space", id, {m->from}, {m->to})
                    : l.add_step("depth_to_space", id, {l.tensor(x, Layout::kNhwc)},
                                 {l.make(y, DType::kFloat32, Layout::kNhwc)});
  step.attributes.set("block", node.attributes.get_int("blocksize", 1));
  if (!m) return l.set_precision(step, "float32", l.float_reason(node));
  l.set_precision(step, "int8");
  finish(l, id, *m);
}

void lower_concat(LoweringState& l, NodeId id) {
  if (l.lower_array_concat(id)) return;
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const ValueId y = node.outputs[0];
  int64_t axis = node.attributes.get_int("axis", 0);
  if (axis < 0) axis += l.rank(y);
  const auto out = l.requantized(y);
  std::vector<std::optional<QuantizedValue>> in;
  bool all_quantized = out.has_value();
  for (ValueId v : node.inputs) {
    in.push_back(l.quantized(v));
    all_quantized = all_quantized && in.back();
  }
  const bool channels =
      axis == 1 && l.rank(y) == 4 &&
      std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return l.dims(v)[1].known(); });
  const bool floats = !all_quantized && g.value(y).dtype == DType::kFloat32 && !out;
  // Planes that plain steps made are joined as such: then one step changes the layout.
  const bool planes =
      all_quantized && !out->value.params.per_channel() && std::ranges::all_of(in, [&](const auto& q) {
        return q->params == out->value.params && l.is_plain(q->stored);
      });
  if (channels && !planes && (all_quantized || floats)) {
    const ValueId whole_value = all_quantized ? out->value.stored : y;
    const DType dtype = all_quantized ? DType::kUInt8 : DType::kFloat32;
    const QuantParams params = all_quantized ? out->value.params : QuantParams{dtype, -1, {}, {}};
    int32_t whole = -1;
    int64_t channel = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId v = all_quantized ? in[i]->stored : node.inputs[i];
      const int32_t part = l.tensor(v, Layout::kNhwc);
      if (whole < 0) whole = l.concat_parent(whole_value, dtype, params);
      const engine::TensorDef& w = l.model().tensors[whole];
      const int32_t root = w.parent >= 0 ? w.parent : whole;
      const int64_t at = w.channel_offset + channel;
      const engine::TensorDef& p = l.model().tensors[part];
      channel += l.dims(v)[1].value();
      if (p.parent == root && p.channel_offset == at) continue;  // written in place
      const int32_t view =
          l.make_channel_view(g.value(v).name + "_in_" + node.name, root, at, l.dims(v), dtype,
                              channel_slice(params, channel - l.dims(v)[1].value(), l.dims(v)[1].value()));
      if (all_quantized) {
        l.requantize_into(part, view, id);
      } else {
        l.set_precision(l.add_step("copy", id, {part}, {view}), "float32", l.float_reason(node));
      }
    }
    if (out && all_quantized) l.mark_done(out->node);
    return;
  }
  if (all_quantized && !out->value.params.per_channel()) {
    std::vector<int32_t> inputs;
    inputs.reserve(in.size());
    for (const auto& q : in)
      inputs.push_back(l.requantize(l.tensor(q->stored, Layout::kPlain), out->value.params, node.name));
    StepDef& step = l.add_step("generic", id, inputs, {l.make_stored(out->value, Layout::kPlain)});
    step.attributes = node.attributes;
    step.attributes.set("op", node.op);
    l.set_precision(step, "int8");
    l.mark_done(out->node);
    return;
  }
  lower_generic(l, id);
}

void lower_reshape(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const auto in = l.quantized(x);
  if (const auto out = l.requantized(y);
      in && out && in->params == out->value.params && !in->params.per_channel()) {
    l.make_view(out->value.stored, l.tensor(in->stored, Layout::kPlain));
    l.mark_done(out->node);
    return;
  }
  const int32_t from = l.tensor(x, Layout::kPlain);
  if (l.model().tensors[from].storage == engine::Storage::kConstant) return lower_generic(l, id);
  if (l.model().tensors[from].plane_stride > 0) return l.bind(y, from);  // a concatenation alone reads it
  l.make_view(y, from);
}

void lower_dynamic_quantize(LoweringState& l, NodeId id) {
  const Node& node = l.graph().node(id);
  const int32_t x = l.tensor(node.inputs[0], Layout::kPlain);
  const int32_t y = l.make(node.outputs[0], DType::kUInt8, Layout::kPlain),
                scale = l.make(node.outputs[1], DType::kFloat32, Layout::kPlain),
                zero = l.make(node.outputs[2], DType::kUInt8, Layout::kPlain);
  l.set_precision(l.add_step("dynamic_quantize", id, {x}, {y, scale, zero}), "int8");
}

void lower_generic(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const OpDef* op = find_op(node.op, node.domain);
  if (node.is("MatMul") && g.value(node.outputs[0]).dtype == DType::kFloat32)
    return lower_float_matmul(l, id);
  if ((node.is("Add") || node.is("Sub") || node.is("Mul") || node.is("Div")) &&
      lower_binary(l, id, node.outputs[0]))
    return;
  // Operators that move values work on 8-bit tensors as they are.
  const bool pads = pads_with_zero(l, node),
             copies = node.is("Pad") && node.attributes.get_string("mode", "constant") != "constant";
  if (((op->quant == QuantRule::kSameScale && only_moves(node)) || pads || copies) &&
      node.outputs.size() == 1 && !node.is("Concat")) {
    if (const auto m = moved_value(l, node, Layout::kPlain)) {
      std::vector<int32_t> inputs{m->from};
      for (size_t i = 1; i < node.inputs.size(); ++i)
        inputs.push_back(
            node.inputs[i] == kNoId || (pads && i == 2) ? -1 : l.tensor(node.inputs[i], Layout::kPlain));
      if (pads) {
        const auto zero = static_cast<uint8_t>(l.model().tensors[m->from].quant.zero_point[0]);
        inputs.resize(std::max<size_t>(inputs.size(), 3), -1);
        inputs[2] = l.constant(node.name + "/fill", Tensor::scalar(zero));
      }
      StepDef& step = l.add_step("generic", id, inputs, {m->to});
      step.attributes = node.attributes;
      step.attributes.set("op", node.op);
      l.set_precision(step, "int8");
      return finish(l, id, *m);
    }
  }
  if (op->run == nullptr)
    fail(ErrorCode::kUnsupported, "node '{}': operator {} cannot be built", node.name, node.op);
  std::vector<int32_t> inputs, outputs;
  for (ValueId v : node.inputs) inputs.push_back(v == kNoId ? -1 : l.declared_tensor(v));
  for (ValueId v : node.outputs) {
    outputs.push_back(l.make(v, *g.value(v).dtype, Layout::kPlain));
  }
  // An engine's attributes hold no tensors.
  const bool fills = node.is("ConstantOfShape");
  if (fills) {
    const Attribute* value = node.attributes.find("value");
    const Tensor fill = value != nullptr ? std::get<Tensor>(*value) : Tensor::scalar(0.0f);
    inputs.insert(inputs.begin(), l.constant(node.name + ".value", fill.reshaped({})));
  }
  StepDef& step = l.add_step("generic", id, inputs, outputs);
  if (fills) {
    step.attributes.set("op", std::string("Expand"));
  } else {
    step.attributes = node.attributes;
    step.attributes.set("op", node.op);
  }
  const bool floats = !node.outputs.empty() && is_float(*g.value(node.outputs[0]).dtype);
  l.set_precision(
      step, std::string(dtype_name(node.outputs.empty() ? DType::kFloat32 : *g.value(node.outputs[0]).dtype)),
      floats ? l.float_reason(node) : "");
}

}  // namespace octet
