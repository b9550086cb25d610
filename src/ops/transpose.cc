#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  const Dims& x = context.shape(0);
  const std::vector<int64_t> perm = context.attributes().get_ints("perm");
  if (!context.attributes().has("perm")) {
    context.set_output(0, context.dtype(0), Dims(x.rbegin(), x.rend()));
    return;
  }
  if (perm.size() != x.size() || normal_axes(context, perm, x.size()).size() != x.size())
    context.fail_here(fmt::format("perm {} of a tensor of shape {}", to_string(perm), to_string(x)));
  Dims shape;
  for (const int64_t from : perm) shape.push_back(x[static_cast<size_t>(from)]);
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> transpose_ops() {
  static const OpDef ops[] = {
      {.name = "Transpose",
       .attributes = {{.name = "perm", .kind = AttributeKind::kInts, .low = 0, .high = 31}},
       .infer = infer,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kTranspose},
  };
  return ops;
}

}  // namespace octet
