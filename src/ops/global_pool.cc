#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  Dims shape = context.shape(0);
  if (shape.size() < 3)
    context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(shape)));
  std::fill(shape.begin() + 2, shape.end(), Dim(1));
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> global_pool_ops() {
  static const OpDef ops[] = {
      {.name = "GlobalAveragePool",
       .infer = infer,
       .quant = QuantRule::kAverage,
       .lowering = Lowering::kGlobalAveragePool},
      {.name = "GlobalLpPool", .attributes = {{.name = "p", .low = 1, .high = 1 << 16}}, .infer = infer},
      {.name = "GlobalMaxPool", .infer = infer, .quant = QuantRule::kSameScale},
  };
  return ops;
}

}  // namespace octet
