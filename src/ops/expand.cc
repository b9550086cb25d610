#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  const std::optional<Dims> wanted = context.integers(1);
  context.set_output_dtype(0, context.dtype(0));
  if (!wanted) return infer_from_data(context, context.shape(0).size());
  context.set_output(0, context.dtype(0), broadcast(context, context.shape(0), *wanted));
}

}  // namespace

std::span<const OpDef> expand_ops() {
  static const OpDef ops[] = {{.name = "Expand",
                               .since = 8,
                               .min_inputs = 2,
                               .max_inputs = 2,
                               .infer = infer,
                               .quant = QuantRule::kSameScale}};
  return ops;
}

}  // namespace octet
