#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  require_same_dtype(context, 0, 1);
  require_rank(context, 0, 2);
  require_rank(context, 1, 2);
  const size_t ta = context.attributes().get_int("transA", 0) != 0 ? 1 : 0;
  const size_t tb = context.attributes().get_int("transB", 0) != 0 ? 1 : 0;
  const Dims& a = context.shape(0);
  const Dims& b = context.shape(1);
  if (equal(a[1 - ta], b[tb]) == false)
    context.fail_here(fmt::format("inner dimensions {} and {} differ", a[1 - ta].text(), b[tb].text()));
  context.require_equal(a[1 - ta], b[tb]);
  Dims shape{a[ta], b[1 - tb]};
  if (context.has_input(2)) {
    require_same_dtype(context, 0, 2);
    const Dims& c = context.shape(2);
    if (c.size() > 2) context.fail_here(fmt::format("C has shape {}", to_string(c)));
    for (size_t i = 0; i < c.size(); ++i) {
      const Dim& have = c[c.size() - 1 - i];
      if (equal(have, 1) != true && equal(have, shape[1 - i]) == false)
        context.fail_here(fmt::format("C has shape {}, the product {}", to_string(c), to_string(shape)));
    }
  }
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> gemm_ops() {
  static const OpDef ops[] = {
      {.name = "Gemm",
       .min_inputs = 2,
       .max_inputs = 3,
       .attributes = {{"alpha", AttributeKind::kFloat},
                      {"beta", AttributeKind::kFloat},
                      {.name = "transA", .low = 0, .high = 1},
                      {.name = "transB", .low = 0, .high = 1}},
       .infer = infer,
       .quant = QuantRule::kWeighted,
       .lowering = Lowering::kGemm},
  };
  return ops;
}

}  // namespace octet
