#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  require_same_dtype(context, 0, 1);
  const Dims& x = context.shape(0);
  const Dims& slope = context.shape(1);
  if (slope.size() > x.size() || broadcast(context, x, slope).size() != x.size())
    context.fail_here("the slope does not broadcast to the input");
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> prelu_ops() {
  static const OpDef ops[] = {{.name = "PRelu", .min_inputs = 2, .max_inputs = 2, .infer = infer}};
  return ops;
}

}  // namespace octet
