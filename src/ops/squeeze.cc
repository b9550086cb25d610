// Squeeze, Unsqueeze
#include <algorithm>

#include "ops/support.h"

namespace octet {
namespace {

void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset < 13) attribute_to_input(graph, id, "axes", 1);
}

void pass_integers(InferContext& context, size_t rank) {
  if (auto values = context.integers(0); values && rank <= 1) context.set_integers(0, *values);
}

void infer_squeeze(InferContext& context) {
  const Dims& x = context.shape(0);
  std::vector<size_t> axes;
  if (context.has_input(1)) {
    const auto given = known_integers(context, 1);
    context.set_output_dtype(0, context.dtype(0));
    if (!given) return;
    axes = normal_axes(context, *given, x.size());
  } else {
    for (size_t i = 0; i < x.size(); ++i) {
      if (!x[i].known())
        context.fail_here(fmt::format("without axes, but dimension {} is not known", x[i].text()));
      if (x[i].value() == 1) axes.push_back(i);
    }
  }
  Dims shape;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::ranges::binary_search(axes, i)) {
      shape.push_back(x[i]);
    } else if (x[i].known() && x[i].value() != 1) {
      context.fail_here(fmt::format("axis {} has size {}, expected 1", i, x[i].text()));
    }
  }
  const size_t rank = shape.size();
  context.set_output(0, context.dtype(0), std::move(shape));
  pass_integers(context, rank);
}

void infer_unsqueeze(InferContext& context) {
  const auto given = known_integers(context, 1);
  context.set_output_dtype(0, context.dtype(0));
  if (!given) return;
  const Dims& x = context.shape(0);
  const size_t rank = x.size() + given->size();
  const std::vector<size_t> axes = normal_axes(context, *given, rank);
  Dims shape;
  size_t from = 0;
  for (size_t i = 0; i < rank; ++i) shape.push_back(std::ranges::binary_search(axes, i) ? Dim(1) : x[from++]);
  context.set_output(0, context.dtype(0), std::move(shape));
  pass_integers(context, rank);
}

std::vector<AttributeDef> axes_attribute() {
  return {{.name = "axes", .kind = AttributeKind::kInts, .until = 12}};
}

}  // namespace

std::span<const OpDef> squeeze_ops() {
  static const OpDef ops[] = {
      {.name = "Squeeze",
       .min_inputs = 1,
       .max_inputs = 2,
       .attributes = axes_attribute(),
       .upgrade = upgrade,
       .infer = infer_squeeze,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kReshape},
      {.name = "Unsqueeze",
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = axes_attribute(),
       .upgrade = upgrade,
       .infer = infer_unsqueeze,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kReshape},
  };
  return ops;
}

}  // namespace octet
