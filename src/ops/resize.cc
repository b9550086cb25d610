// Resize, and Upsample, which it replaced.
#include <cmath>

#include "ops/support.h"

namespace octet {
namespace {

bool constantly_empty(const Graph& graph, const Node& node, size_t index) {
  if (!has_input(node, index)) return false;
  const Value& value = graph.value(node.inputs[index]);
  return value.constant && value.constant->count() == 0;
}

// Before opset 11: the pixel at floor(out / scale), or linear between it and the next.
void upgrade_old(Graph& graph, NodeId id) {
  Attributes& attributes = graph.node(id).attributes;
  attributes.set("coordinate_transformation_mode", std::string("asymmetric"));
  if (attributes.get_string("mode", "nearest") == "nearest")
    attributes.set("nearest_mode", std::string("floor"));
  if (!has_input(graph.node(id), 1)) fail_node(graph, id, "it has no scales");
  const ValueId scales = graph.node(id).inputs[1];
  put_input(graph, id, 1, kNoId);
  put_input(graph, id, 2, scales);
}

void upgrade_resize(Graph& graph, NodeId id, int opset) {
  if (opset < 11) {
    upgrade_old(graph, id);
    return;
  }
  // The region of interest serves one mode; an empty list stands for an absent one.
  const bool crop =
      graph.node(id).attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize";
  if (!crop && has_input(graph.node(id), 1)) put_input(graph, id, 1, kNoId);
  for (const size_t i : {2, 3})
    if (constantly_empty(graph, graph.node(id), i)) put_input(graph, id, i, kNoId);
  if (has_input(graph.node(id), 2) == has_input(graph.node(id), 3))
    fail_node(graph, id, "it needs either scales or sizes");
  if (graph.node(id).attributes.get_int("antialias", 0) == 0) drop_attribute(graph, id, "antialias");
  if (graph.node(id).attributes.get_string("keep_aspect_ratio_policy", "stretch") == "stretch")
    drop_attribute(graph, id, "keep_aspect_ratio_policy");
}

void upgrade_upsample(Graph& graph, NodeId id, int opset) {
  if (opset < 9) {
    const std::vector<float> scales = graph.node(id).attributes.get_floats("scales");
    if (scales.empty()) fail_node(graph, id, "attribute 'scales' is missing");
    drop_attribute(graph, id, "scales");
    put_input(graph, id, 1,
              graph.add_constant(
                  graph.node(id).name + ".scales",
                  Tensor::of<float>({static_cast<int64_t>(scales.size())}, std::span<const float>(scales))));
  }
  graph.node(id).op = "Resize";
  upgrade_old(graph, id);
}

// floor(size * scale); of an unknown size where the scale is a small fraction.
Dim scaled(const InferContext& context, const Dim& size, float scale) {
  if (!(scale > 0.0f) || scale > 65536.0f) context.fail_here(fmt::format("scale {}", scale));
  if (size.known()) return static_cast<int64_t>(std::floor(static_cast<float>(size.value()) * scale));
  for (int64_t denominator = 1; denominator <= 64; ++denominator) {
    const float numerator = std::round(scale * static_cast<float>(denominator));
    if (numerator >= 1.0f && numerator / static_cast<float>(denominator) == scale)
      return floor_div(size * Dim(static_cast<int64_t>(numerator)), denominator);
  }
  context.fail_here(fmt::format("scale {} of the unknown size {}", scale, size.text()));
}

void infer_late(InferContext& context, const std::vector<size_t>& axes) {
  std::vector<std::optional<Dim>> shape(context.shape(0).begin(), context.shape(0).end());
  for (const size_t axis : axes) shape[axis].reset();
  context.set_output_at_run(0, context.dtype(0), shape);
}

// One scale for all axes: the smallest of those that the sizes ask for, or the largest.
void infer_ratio(InferContext& context, const std::vector<size_t>& axes, const Dims& sizes, bool smallest) {
  Dims shape = context.shape(0);
  double scale = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    const Dim& in = shape[axes[i]];
    if (!in.known() || !sizes[i].known() || in.value() < 1) return infer_late(context, axes);
    const double own = static_cast<double>(sizes[i].value()) / static_cast<double>(in.value());
    scale = i == 0 ? own : smallest ? std::min(scale, own) : std::max(scale, own);
  }
  for (const size_t axis : axes)
    shape[axis] = static_cast<int64_t>(std::floor(scale * static_cast<double>(shape[axis].value()) + 0.5));
  context.set_output(0, context.dtype(0), std::move(shape));
}

void infer(InferContext& context) {
  Dims shape = context.shape(0);
  const std::vector<int64_t> given = context.attributes().get_ints("axes");
  std::vector<size_t> axes;
  if (context.attributes().has("axes")) {
    normal_axes(context, given, shape.size());
    for (const int64_t axis : given) axes.push_back(normal_axis(context, axis, shape.size()));
  } else {
    for (size_t i = 0; i < shape.size(); ++i) axes.push_back(i);
  }
  context.set_output_dtype(0, context.dtype(0));
  if (context.has_input(3)) {
    const std::optional<Dims> sizes = context.integers(3);
    if (!sizes) return infer_late(context, axes);
    if (sizes->size() != axes.size())
      context.fail_here(fmt::format("{} sizes for {} axes", sizes->size(), axes.size()));
    const std::string policy = context.attributes().get_string("keep_aspect_ratio_policy", "stretch");
    if (policy != "stretch") return infer_ratio(context, axes, *sizes, policy == "not_larger");
    for (size_t i = 0; i < axes.size(); ++i) shape[axes[i]] = (*sizes)[i];
  } else {
    const Tensor* constant = context.constant(2);
    if (!context.has_input(2)) context.fail_here("it needs either scales or sizes");
    if (constant == nullptr) return infer_late(context, axes);
    const std::vector<float> scales = to_float(*constant);
    if (scales.size() != axes.size())
      context.fail_here(fmt::format("{} scales for {} axes", scales.size(), axes.size()));
    for (size_t i = 0; i < axes.size(); ++i) shape[axes[i]] = scaled(context, shape[axes[i]], scales[i]);
  }
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> resize_ops() {
  using enum AttributeKind;
  static const OpDef ops[] = {
      {.name = "Resize",
       .since = 10,
       .min_inputs = 1,
       .max_inputs = 4,
       .attributes = {{.name = "antialias", .low = 0, .high = 1, .since = 18},
                      {.name = "axes", .kind = kInts, .since = 18},
                      {.name = "coordinate_transformation_mode",
                       .kind = kString,
                       .choices = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
                                   "half_pixel_symmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"},
                       .since = 11},
                      {.name = "cubic_coeff_a", .kind = kFloat, .since = 11},
                      {.name = "exclude_outside", .low = 0, .high = 1, .since = 11},
                      {.name = "extrapolation_value", .kind = kFloat, .since = 11},
                      {.name = "keep_aspect_ratio_policy",
                       .kind = kString,
                       .choices = {"stretch", "not_larger", "not_smaller"},
                       .since = 18},
                      {.name = "mode", .kind = kString, .choices = {"nearest", "linear", "cubic"}},
                      {.name = "nearest_mode",
                       .kind = kString,
                       .choices = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"},
                       .since = 11}},
       .upgrade = upgrade_resize,
       .infer = infer,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kResize},
      {.name = "Upsample",
       .until = 9,
       .max_inputs = 2,
       .attributes = {{.name = "mode", .kind = kString, .choices = {"nearest", "linear"}, .until = 9},
                      {.name = "scales", .kind = kFloats, .until = 8}},
       .upgrade = upgrade_upsample},
  };
  return ops;
}

}  // namespace octet
