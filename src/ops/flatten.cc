#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  const Dims& x = context.shape(0);
  const auto rank = static_cast<int64_t>(x.size());
  int64_t axis = context.attributes().get_int("axis", 1);
  if (axis < -rank || axis > rank)
    context.fail_here(fmt::format("axis {} of a tensor of rank {}", axis, rank));
  if (axis < 0) axis += rank;
  const std::span<const Dim> dims(x);
  const auto at = static_cast<size_t>(axis);
  context.set_output(0, context.dtype(0), {product(dims.first(at)), product(dims.subspan(at))});
}

}  // namespace

std::span<const OpDef> flatten_ops() {
  static const OpDef ops[] = {
      {.name = "Flatten",
       .attributes = {{"axis"}},
       .infer = infer,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kReshape},
  };
  return ops;
}

}  // namespace octet
