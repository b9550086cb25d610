// CumSum, CumProd
#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  if (context.dtype(0) == DType::kBool) context.fail_here("the input is bool, expected numbers");
  if (context.dtype(1) != DType::kInt32 && context.dtype(1) != DType::kInt64)
    context.fail_here("the axis is not an integer");
  if (const auto axis = known_integers(context, 1); axis && axis->size() == 1)
    normal_axis(context, axis->front(), context.shape(0).size());
  infer_like_first(context);
}

OpDef cumulative(std::string_view name, int since, int valid_from) {
  return {
      .name = name,
      .since = since,
      .min_inputs = 2,
      .max_inputs = 2,
      .attributes = {{.name = "exclusive", .low = 0, .high = 1}, {.name = "reverse", .low = 0, .high = 1}},
      .infer = infer,
      .valid_from = valid_from};
}

}  // namespace

std::span<const OpDef> cumulative_ops() {
  static const OpDef ops[] = {cumulative("CumProd", 26, 26), cumulative("CumSum", 11, 14)};
  return ops;
}

}  // namespace octet
