// DepthToSpace, SpaceToDepth
#include "ops/support.h"

namespace octet {
namespace {

constexpr int64_t kMaxBlock = 32767;

Dim divided(const InferContext& context, const Dim& size, int64_t by) {
  if (size.known() && size.value() % by != 0)
    context.fail_here(fmt::format("a size of {} does not divide into {}", size.text(), by));
  return floor_div(size, by);
}

void infer_to_space(InferContext& context) {
  require_rank(context, 0, 4);
  const int64_t block = context.attributes().get_int("blocksize", 1);
  const Dims& x = context.shape(0);
  context.set_output(0, context.dtype(0),
                     {x[0], divided(context, x[1], block * block), x[2] * Dim(block), x[3] * Dim(block)});
}

void infer_to_depth(InferContext& context) {
  require_rank(context, 0, 4);
  const int64_t block = context.attributes().get_int("blocksize", 1);
  const Dims& x = context.shape(0);
  context.set_output(
      0, context.dtype(0),
      {x[0], x[1] * Dim(block * block), divided(context, x[2], block), divided(context, x[3], block)});
}

}  // namespace

std::span<const OpDef> depth_to_space_ops() {
  const AttributeDef block{.name = "blocksize", .required = true, .low = 1, .high = kMaxBlock};
  static const OpDef ops[] = {
      {.name = "DepthToSpace",
       .attributes =
           {block, {.name = "mode", .kind = AttributeKind::kString, .choices = {"DCR", "CRD"}, .since = 11}},
       .infer = infer_to_space,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kDepthToSpace},
      {.name = "SpaceToDepth",
       .attributes = {block},
       .infer = infer_to_depth,
       .quant = QuantRule::kSameScale},
  };
  return ops;
}

}  // namespace octet
