#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  Dims shape = context.shape(0);
  if (shape.empty()) context.fail_here("a scalar input");
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", 0), shape.size());
  for (size_t i = 1; i < context.input_count(); ++i) {
    require_same_dtype(context, 0, i);
    require_rank(context, i, shape.size());
    const Dims& other = context.shape(i);
    for (size_t d = 0; d < shape.size(); ++d) {
      if (d == axis) {
        shape[d] = shape[d] + other[d];
      } else if (equal(shape[d], other[d]) == false) {
        context.fail_here(fmt::format("input {} has shape {}, which differs from {} beside axis {}", i,
                                      to_string(other), to_string(context.shape(0)), axis));
      } else if (!shape[d].known() && !other[d].known()) {
        shape[d] = context.assume_equal(shape[d], other[d]);
      } else if (!(shape[d] == other[d])) {
        context.require_equal(shape[d], other[d]);
        if (!shape[d].known()) shape[d] = other[d];
      }
    }
  }
  const bool vector = shape.size() == 1;
  context.set_output(0, context.dtype(0), std::move(shape));
  if (!vector) return;
  Dims all;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const std::optional<Dims> part = context.integers(i);
    if (!part) return;
    all.insert(all.end(), part->begin(), part->end());
  }
  context.set_integers(0, std::move(all));
}

}  // namespace

std::span<const OpDef> concat_ops() {
  static const OpDef ops[] = {
      {.name = "Concat",
       .max_inputs = 1 << 20,
       .attributes = {{.name = "axis", .required = true}},
       .infer = infer,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kConcat},
  };
  return ops;
}

}  // namespace octet
