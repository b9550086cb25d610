#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "build/conv_forms.h"
#include "build/lowering.h"
#include "build/stored_weights.h"
#include "passes/layer_weights.h"

namespace octet {
namespace {

using engine::StepDef;
using kernels::Function;

// A weighted node seen as a convolution (a Gemm is a 1x1 convolution over its rows).
struct Weighted {
  const Node* node = nullptr;
  bool gemm = false;
  bool transposed = false;  // weights are stored [K, OC]
  float alpha = 1, beta = 1;
  ValueId x = kNoId, weights = kNoId, bias = kNoId;
  std::vector<int64_t> kernel{1, 1}, strides{1, 1}, dilations{1, 1}, pads{0, 0, 0, 0};
  int64_t groups = 1;
};

// Nullopt when it has no fast form (then the generic operator runs).
std::optional<Weighted> describe(const LoweringState& l, const Node& node) {
  Weighted w;
  w.node = &node;
  w.x = node.inputs[0];
  w.weights = node.inputs[1];
  w.bias = node.inputs.size() > 2 ? node.inputs[2] : kNoId;
  if (node.is("Conv")) {
    if (l.rank(w.x) != 4 || l.rank(w.weights) != 4) return {};
    const Dims& d = l.dims(w.weights);
    w.kernel = {d[2].value(), d[3].value()};
    w.strides = node.attributes.get_ints("strides", {1, 1});
    w.dilations = node.attributes.get_ints("dilations", {1, 1});
    w.groups = node.attributes.get_int("group", 1);
    w.pads = resolved_pads(l.graph(), node, w.kernel);
    return w;
  }
  w.gemm = true;
  if (l.rank(w.weights) != 2 || l.rank(w.x) < 2) return {};
  w.transposed = true;
  if (node.is("Gemm")) {
    if (node.attributes.get_int("transA", 0) != 0) return {};
    w.transposed = node.attributes.get_int("transB", 0) == 0;
    w.alpha = node.attributes.get_float("alpha", 1);
    w.beta = node.attributes.get_float("beta", 1);
  }
  return w;
}

Tensor transpose(const Tensor& t) {
  const int64_t rows = t.shape()[0], columns = t.shape()[1];
  const int64_t size = dtype_bits(t.dtype()) / 8;
  Tensor out(t.dtype(), {columns, rows});
  const auto* from = static_cast<const std::byte*>(t.raw());
  auto* to = static_cast<std::byte*>(out.raw());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::copy_n(from + (r * columns + c) * size, size, to + (c * rows + r) * size);
  return out;
}

// Sets x_scale of weights that a `divisor` may divide; false where integers cannot express them.
bool input_factors(const QuantParams& x, const Weighted& w, const Tensor* divisor, IntegerWeights& weights) {
  const Shape& shape = weights.values.shape();
  const auto inputs = static_cast<int64_t>(x.scale.size());
  weights.x_scale.assign(shape[0], x.scale[0]);
  const bool depthwise = w.groups > 1 && shape[1] == 1 && inputs == w.groups;
  if (divisor != nullptr) {
    // Exactly the scales of the channels, along the weights' second axis, or along the first where every
    // output has one input.
    if (divisor->dtype() != DType::kFloat32) return false;
    const bool along_outputs = w.groups > 1 && shape[1] == 1;
    const int axis = along_outputs || w.transposed ? 0 : 1;
    Shape expected(shape.size(), 1);
    expected[axis] = along_outputs ? shape[0] : shape[1];
    weights.x_scale.assign(shape[0], 1);
    if (divisor->shape() != expected || !(along_outputs || w.groups == 1) || expected[axis] % inputs != 0)
      return false;
    for (int64_t i = 0; i < expected[axis]; ++i)
      if (divisor->as<float>()[i] != x.scale[i * inputs / expected[axis]]) return false;
    return true;
  }
  if (!x.per_channel()) return true;
  if (!depthwise) return false;
  for (int64_t o = 0; o < shape[0]; ++o) weights.x_scale[o] = x.scale[o / (shape[0] / inputs)];
  return true;
}

// 8- or 4-bit weights under a DequantizeLinear with one scale, or one per output channel.
std::optional<IntegerWeights> integer_weights(const LoweringState& l, const Weighted& w, const QuantParams& x,
                                              std::string& why_not) {
  const Graph& g = l.graph();
  const auto refuse = [&](std::string why) {
    why_not = std::move(why);
    return std::optional<IntegerWeights>();
  };
  const auto found = dequantized_weights(g, w.weights);
  if (!found) return refuse("its weights are not 8-bit");
  const Node* dq = found->dequantize;
  const Tensor& stored = *g.value(dq->inputs[0]).constant;
  const int64_t channel_axis = w.transposed ? 1 : 0, channels = stored.shape()[channel_axis];
  const auto scale = channel_scales(g, *dq, channel_axis, why_not);
  if (!scale) return {};
  const ValueId zero = dq->inputs.size() > 2 ? dq->inputs[2] : kNoId;
  if (zero != kNoId && !g.is_constant(zero)) return refuse("its weights have a variable zero-point");
  auto centered =
      center_weights(stored, zero == kNoId ? nullptr : &*g.value(zero).constant, channel_axis, why_not);
  if (!centered) return {};
  IntegerWeights out;
  out.values = w.transposed ? transpose(centered->values) : centered->values;
  if (centered->split() && (w.groups != 1 || x.per_channel() || (!w.gemm && !l.dims(w.x)[1].known())))
    return refuse("its weights minus their zero-points need 9 bits");
  out.scale.resize(channels);
  for (int64_t c = 0; c < channels; ++c) out.scale[c] = (*scale)[scale->size() == 1 ? 0 : c];
  const Tensor* divisor = found->divisor == kNoId ? nullptr : &*g.value(found->divisor).constant;
  if (!input_factors(x, w, divisor, out))
    return refuse("its weights do not absorb the scales of its input's channels");
  if (centered->split()) {
    out.values = join_inputs(out.values, w.transposed ? transpose(centered->rest) : centered->rest);
    out.input_twice = true;
  }
  return out;
}

// Bias per output channel, or nullopt when it is not a constant of that form.
std::optional<std::vector<float>> bias_values(const LoweringState& l, const Weighted& w, int64_t channels) {
  std::vector<float> values(channels, 0);
  if (w.bias == kNoId) return values;
  const auto t = l.constant_floats(w.bias);
  if (!t || t->dtype() != DType::kFloat32 || (t->count() != channels && t->count() != 1)) return {};
  if (t->count() != 1 && t->shape().back() != channels) return {};
  for (int64_t c = 0; c < channels; ++c) values[c] = w.beta * t->as<float>()[t->count() == 1 ? 0 : c];
  return values;
}

bool sums_fit(const Tensor& weights) {
  const int64_t channels = weights.shape()[0];
  const int64_t inner = channels ? weights.count() / channels : 0;
  for (int64_t c = 0; c < channels; ++c) {
    int64_t sum = 0;
    for (int64_t i = 0; i < inner; ++i)
      sum += std::abs(static_cast<int>(weights.as<int8_t>()[c * inner + i]));
    if (sum * 255 > INT32_MAX) return false;
  }
  return true;
}

void set_geometry(StepDef& step, const Weighted& w) {
  if (w.gemm) return;
  step.attributes.set("kernel", w.kernel);
  step.attributes.set("strides", w.strides);
  step.attributes.set("dilations", w.dilations);
  step.attributes.set("pads", w.pads);
  step.attributes.set("group", w.groups);
}

void set_function(StepDef& step, const ActivationSpec& spec) {
  if (spec.function == Function::kNone) return;
  step.attributes.set("function", static_cast<int64_t>(spec.function));
  step.attributes.set("alpha", spec.alpha);
  step.attributes.set("beta", spec.beta);
}

void name_nodes(LoweringState& l, StepDef& step, const std::vector<NodeId>& nodes) {
  step.nodes.clear();
  for (NodeId n : nodes) step.nodes.push_back(l.graph().node(n).name);
}

// What is left of a group behind its first step, in float: from `from` (float) to the group's output.
void finish_in_float(LoweringState& l, const NodeGroup& group, int32_t from) {
  const Layout layout = l.layout_of(from);
  if (!group.caps.empty()) {
    const NodeId min = group.nodes.back();
    const int32_t caps = l.constant(l.graph().node(min).name + "/caps", group.caps);
    StepDef& step =
        l.add_step("binary_f32", min, {from, caps}, {l.make(group.output, DType::kFloat32, layout)});
    step.attributes.set("op", std::string("Mul"));
    l.set_precision(step, "float32", l.float_reason(l.graph().node(min)));
    return;
  }
  if (group.residual != kNoId) {
    const int32_t other = l.tensor(group.residual, layout);
    const NodeId add = group.nodes[group.before_residual()];
    const bool last = !group.final_clip;
    if (last && l.defer_sum(group.output, add, from, other)) return;
    const int32_t to = last ? l.make(group.output, DType::kFloat32, layout)
                            : l.make_temporary(l.graph().node(add).name + "/partial", DType::kFloat32, layout,
                                               l.dims(group.output));
    StepDef& step = l.add_step("binary_f32", add, {from, other}, {to});
    step.attributes.set("op", std::string("Add"));
    l.set_precision(step, "float32", l.float_reason(l.graph().node(add)));
    from = to;
  }
  if (group.final_clip)
    add_function_f32(l, group.nodes.back(), *group.final_clip, from,
                     l.make(group.output, DType::kFloat32, layout));
}

class IntegerLowering {
 public:
  IntegerLowering(LoweringState& l, const NodeGroup& group, Weighted w, QuantizedValue x,
                  const std::optional<LoweringState::Dynamic>& dynamic, IntegerWeights weights,
                  std::vector<float> bias)
      : l_(l),
        group_(group),
        w_(std::move(w)),
        x_(std::move(x)),
        dynamic_(dynamic),
        weights_(std::move(weights)),
        bias_(std::move(bias)) {}

  void run() {
    auto out = l_.requantized(group_.output);
    const auto residual = l_.quantized(group_.residual);
    // A last clip must be one saturation of all channels.
    const bool clips = out && group_.final_clip && !saturation_of(*group_.final_clip, out->value.params);
    const bool fuse_residual = group_.residual != kNoId && residual && out && !clips;
    if (group_.residual != kNoId && !fuse_residual) out.reset();
    const Layout layout = w_.gemm ? Layout::kPlain : Layout::kNhwc;
    const int32_t x = input(layout);
    const int32_t r = fuse_residual ? l_.tensor(residual->stored, layout) : -1;
    const bool split = (group_.residual != kNoId && !fuse_residual) || (!group_.caps.empty() && !out);
    int32_t y;
    if (out)
      y = l_.make_stored(out->value, layout);
    else if (split)
      y = l_.make_temporary(w_.node->name + "/partial", DType::kFloat32, layout,
                            l_.dims(w_.node->outputs[0]));
    else if (of_single_pixels() && l_.wants_planes(group_.output))
      y = l_.make_planes(group_.output);
    else
      y = l_.make(group_.output, DType::kFloat32, layout);
    choose_form(y, r);
    emit(x, y, out ? &out->value.params : nullptr, r, fuse_residual ? &residual->params : nullptr);
    if (out) l_.mark_done(out->node);
    if (split) finish_in_float(l_, group_, y);
  }

 private:
  // Several outputs per channel of a depthwise convolution are one of a channel each; windows of few channels
  // stand side by side in rows.
  int32_t input(Layout layout) {
    if (weights_.input_twice) return l_.twice(x_, layout);
    const Shape shape = weights_.values.shape();
    if (!w_.gemm && !dynamic_ && w_.groups == 1 && w_.dilations[1] == 1 && !x_.params.per_channel() &&
        unfolds_rows(shape[1], shape[3])) {
      const Dim& columns = l_.dims(w_.node->outputs[0])[3];
      const int32_t windows = l_.unfolded(x_, shape[3], w_.strides[1], w_.pads[1], columns);
      weights_.values = unfolded_weights(weights_.values);
      w_.kernel[1] = w_.strides[1] = 1;
      w_.pads[1] = w_.pads[3] = 0;
      return windows;
    }
    if (w_.gemm || dynamic_ || w_.groups == 1 || shape[1] != 1 || shape[0] == w_.groups)
      return l_.tensor(x_.stored, layout);
    const int64_t times = shape[0] / w_.groups;
    w_.groups = shape[0];
    return l_.repeated(x_, times);
  }

  // Neighbouring pixels together, or parts of the channels by themselves, where that is less work.
  void choose_form(int32_t y, int32_t residual) {
    const engine::TensorDef& def = l_.model().tensors[y];
    if (w_.gemm || w_.groups != 1 || def.layout != Layout::kNhwc || !group_.caps.empty()) return;
    const Margins most{w_.pads[0] / w_.dilations[0], w_.pads[1] / w_.dilations[1],
                       w_.pads[2] / w_.dilations[0], w_.pads[3] / w_.dilations[1]};
    form_.parts = parts_without_zeros(weights_.values, most);
    const ConvPart& first = form_.parts[0];
    if (form_.parts.size() > 1 || first.height < w_.kernel[0] || first.width < w_.kernel[1]) return;
    form_.parts.clear();
    // Pixels follow each other without gaps.
    const int64_t channels = weights_.values.shape()[0];
    const Dim& width = def.shape[3];
    if (def.dtype != DType::kFloat32 || residual >= 0 || w_.dilations[1] != 1 || !width.known() ||
        def.parent >= 0)
      return;
    form_.pixels = pixels_together(channels, w_.kernel[1], w_.strides[1], width.value());
  }

  void emit(int32_t x, int32_t y, const QuantParams* out, int32_t residual,
            const QuantParams* residual_params) {
    const int64_t channels = weights_.values.shape()[0];
    const ActivationSpec before = group_.activation.value_or(ActivationSpec{});
    // A clip is saturation when nothing comes between it and the rounding.
    const auto saturation =
        out && residual < 0 && group_.caps.empty() ? saturation_of(before, *out) : std::nullopt;
    const ActivationSpec function = saturation ? ActivationSpec{} : before;
    Saturation range = saturation.value_or(Saturation{});
    if (out && group_.final_clip) range = *saturation_of(*group_.final_clip, *out);

    const bool early = out && function.function == Function::kNone, late = out && !early;
    std::vector<float> scale(channels), bias(channels);
    // One entry where one is enough.
    const bool several = !group_.caps.empty() || (out && out->per_channel()) ||
                         (residual_params && residual_params->per_channel());
    const int64_t entries = several ? channels : 1;
    std::vector<float> out_scale(entries), out_zero(entries), residual_scale(entries);
    for (int64_t c = 0; c < channels; ++c) {
      const double sy = out ? scale_at(*out, c) : 1;
      const double residual_factor = residual_params ? scale_at(*residual_params, c) / sy : 0;
      const double zero =
          (out ? zero_at(*out, c) : 0) -
          (residual_params ? zero_at(*residual_params, c) * scale_at(*residual_params, c) / sy : 0);
      // The function is of sums in units of the caps.
      const double cap = group_.caps.empty() ? 1 : group_.caps[c];
      const double divisor = early ? sy : cap;
      scale[c] = static_cast<float>(static_cast<double>(w_.alpha) * weights_.x_scale[c] * weights_.scale[c] /
                                    divisor);
      bias[c] = static_cast<float>(bias_[c] / divisor + (early ? zero : 0));
      if (c >= entries) continue;
      out_scale[c] = static_cast<float>(cap / sy);
      out_zero[c] = static_cast<float>(zero);
      residual_scale[c] = static_cast<float>(residual_factor);
    }
    for (int64_t i = channels; i < channels * form_.pixels; ++i) {
      scale.push_back(scale[i - channels]);
      bias.push_back(bias[i - channels]);
    }
    const std::string name = w_.node->name;
    std::vector<int32_t> inputs{
        x,
        l_.constant(name + "/weights", packed_weights(weights_.values, w_.groups, w_.strides[1], form_)),
        l_.constant(name + "/scale", scale),
        l_.constant(name + "/bias", bias),
        late ? l_.constant(name + "/out_scale", out_scale) : -1,
        late ? l_.constant(name + "/out_zero", out_zero) : -1,
        residual,
        residual_params ? l_.constant(name + "/residual_scale", residual_scale) : -1,
    };
    if (dynamic_) {
      inputs.push_back(l_.tensor(dynamic_->scale, Layout::kPlain));
      inputs.push_back(dynamic_->zero == kNoId ? -1 : l_.tensor(dynamic_->zero, Layout::kPlain));
    }
    StepDef& step = l_.add_step(w_.gemm ? "gemm" : "conv", group_.root, inputs, {y});
    set_geometry(step, w_);
    if (form_.pixels > 1) step.attributes.set("pixels", form_.pixels);
    if (!form_.parts.empty()) {
      std::vector<int64_t> numbers;
      for (const ConvPart& p : form_.parts)
        numbers.insert(numbers.end(), {p.channels, p.top, p.left, p.height, p.width});
      step.attributes.set("parts", numbers);
    }
    set_function(step, function);
    if (out) {
      step.attributes.set("low", range.low);
      step.attributes.set("high", range.high);
    }
    l_.set_precision(step, "int8");
    if (group_.residual != kNoId && residual < 0)
      name_nodes(l_, step,
                 {group_.nodes.begin(),
                  group_.nodes.begin() + static_cast<std::ptrdiff_t>(group_.before_residual())});
    else
      name_nodes(l_, step, group_.nodes);
  }

  bool of_single_pixels() const {
    const std::vector<int64_t> ones{1, 1};
    return !w_.gemm && w_.groups == 1 && w_.kernel == ones && w_.strides == ones &&
           w_.pads == std::vector<int64_t>(4, 0);
  }

  LoweringState& l_;
  const NodeGroup& group_;
  Weighted w_;
  QuantizedValue x_;
  std::optional<LoweringState::Dynamic> dynamic_;
  IntegerWeights weights_;
  std::vector<float> bias_;
  ConvForm form_;
};

void lower_in_float(LoweringState& l, const NodeGroup& group, const Weighted& w, const Tensor& weights,
                    const std::vector<float>& bias, const std::string& reason) {
  const std::string& name = w.node->name;
  const Layout layout = w.gemm ? Layout::kPlain : Layout::kNhwc;
  Tensor scaled = weights;
  if (w.alpha != 1) {
    scaled = scaled.clone();
    for (float& v : scaled.as<float>()) v *= w.alpha;
  }
  // The step clips in units of the caps.
  std::vector<float> shift = bias;
  const bool capped = !group.caps.empty();
  if (capped) {
    scaled = scaled_along(scaled, 0, group.caps, true);
    for (size_t c = 0; c < shift.size(); ++c) shift[c] /= group.caps[c];
  }
  // One function fits into the step: before or behind the residual.
  const bool residual = group.residual != kNoId && !w.gemm && !(group.activation && group.final_clip);
  const bool whole = residual || group.residual == kNoId;
  const bool clip_inside = residual && group.final_clip;
  const int32_t x = l.tensor(w.x, layout);
  const int32_t r = residual ? l.tensor(group.residual, layout) : -1;
  const int32_t y = whole && !capped ? l.make(group.output, DType::kFloat32, layout)
                                     : l.make_temporary(name + "/partial", DType::kFloat32, layout,
                                                        l.dims(w.node->outputs[0]));
  std::vector<int32_t> inputs{x, l.constant(name + "/weights", scaled), l.constant(name + "/bias", shift)};
  if (!w.gemm) inputs.push_back(r);
  StepDef& step = l.add_step(w.gemm ? "gemm_f32" : "conv_f32", group.root, inputs, {y});
  set_geometry(step, w);
  if (w.gemm && w.transposed) step.attributes.set("transposed", int64_t{1});
  if (group.activation) set_function(step, *group.activation);
  if (clip_inside) {
    set_function(step, *group.final_clip);
    step.attributes.set("residual_first", int64_t{1});
  }
  l.set_precision(step, "float32", reason);
  if (capped) name_nodes(l, step, {group.nodes.begin(), group.nodes.end() - 1});
  if (whole && !capped)
    name_nodes(l, step, group.nodes);
  else
    finish_in_float(l, group, y);
}

// The operators of a group one by one.
void lower_piecewise(LoweringState& l, const NodeGroup& group) {
  const std::string root = l.graph().node(group.root).name;
  for (NodeId n : group.nodes) {
    if (activation_of(l.graph(), l.graph().node(n)))
      lower_activation(l, n);
    else
      lower_generic(l, n);
  }
}

}  // namespace

void lower_weighted(LoweringState& l, const NodeGroup& group) {
  const Node& node = l.graph().node(group.root);
  auto w = describe(l, node);
  if (!w) return lower_piecewise(l, group);
  if (group.bias != kNoId) w->bias = group.bias;
  const Dims& weight_dims = l.dims(w->weights);
  const int64_t channels = weight_dims[w->transposed ? 1 : 0].value();
  const auto bias = bias_values(l, *w, channels);
  if (!bias) return lower_piecewise(l, group);

  std::string reason;
  auto x = l.quantized(w->x);
  const auto dynamic = x ? std::nullopt : l.dynamic(w->x);
  // What the run gives is a factor of its own.
  const QuantParams params = x ? x->params : QuantParams{DType::kUInt8, -1, {1.0f}, {0}};
  if (dynamic) x = QuantizedValue{dynamic->stored, {}};
  auto weights = x ? integer_weights(l, *w, params, reason) : std::nullopt;
  const bool wants_float = l.wants_float(node) && !dynamic;
  if (x && weights && !wants_float && sums_fit(weights->values))
    return IntegerLowering(l, group, *w, *x, dynamic, std::move(*weights), *bias).run();
  if (x && weights) reason = wants_float ? "float is faster on this CPU" : "its sums could exceed 32 bits";
  if (!x || !l.is_quantized_model()) reason = l.float_reason(node);
  const auto floats = l.constant_floats(w->weights);
  if (!floats || floats->dtype() != DType::kFloat32) return lower_piecewise(l, group);
  lower_in_float(l, group, *w, *floats, *bias, reason);
}

std::vector<int64_t> resolved_pads(const Graph& graph, const Node& node, const std::vector<int64_t>& kernel) {
  const std::string mode = node.attributes.get_string("auto_pad", "NOTSET");
  std::vector<int64_t> pads = node.attributes.get_ints("pads", {0, 0, 0, 0});
  if (mode == "NOTSET" || mode.empty()) return pads;
  pads = {0, 0, 0, 0};
  if (mode == "VALID") return pads;
  const Dims &in = *graph.value(node.inputs[0]).shape, &out = *graph.value(node.outputs[0]).shape;
  const auto strides = node.attributes.get_ints("strides", {1, 1});
  const auto dilations = node.attributes.get_ints("dilations", {1, 1});
  for (int i = 0; i < 2; ++i) {
    if (!in[i + 2].known() || !out[i + 2].known())
      fail(ErrorCode::kUnsupported, "node '{}': auto_pad {} needs a known height and width", node.name, mode);
    const int64_t needed = std::max<int64_t>(
        0, (out[i + 2].value() - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - in[i + 2].value());
    pads[i] = mode == "SAME_LOWER" ? (needed + 1) / 2 : needed / 2;
    pads[i + 2] = needed - pads[i];
  }
  return pads;
}

}  // namespace octet
