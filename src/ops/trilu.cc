#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  if (context.shape(0).size() < 2)
    context.fail_here(fmt::format("the input has shape {}, expected matrices", to_string(context.shape(0))));
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> trilu_ops() {
  static const OpDef ops[] = {{.name = "Trilu",
                               .since = 14,
                               .max_inputs = 2,
                               .attributes = {{.name = "upper", .low = 0, .high = 1}},
                               .infer = infer,
                               .valid_from = 14}};
  return ops;
}

}  // namespace octet
