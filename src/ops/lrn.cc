// LRN, LpNormalization
#include "ops/support.h"

namespace octet {
namespace {

void infer_lrn(InferContext& context) {
  require_float(context, 0);
  if (context.shape(0).size() < 2)
    context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(context.shape(0))));
  infer_like_first(context);
}

void infer_lp(InferContext& context) {
  require_float(context, 0);
  normal_axis(context, context.attributes().get_int("axis", -1), context.shape(0).size());
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> lrn_ops() {
  using enum AttributeKind;
  static const OpDef ops[] = {
      {.name = "LRN",
       .attributes = {{"alpha", kFloat},
                      {"beta", kFloat},
                      {"bias", kFloat},
                      {.name = "size", .required = true, .low = 1, .high = 1 << 24}},
       .infer = infer_lrn},
      {.name = "LpNormalization",
       .attributes = {{"axis"}, {.name = "p", .low = 1, .high = 2}},
       .infer = infer_lp},
  };
  return ops;
}

}  // namespace octet
