// ArgMax, ArgMin
#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  Dims shape = context.shape(0);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", 0), shape.size());
  if (context.attributes().get_int("keepdims", 1) != 0)
    shape[axis] = 1;
  else
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  context.set_output(0, DType::kInt64, std::move(shape));
}

OpDef arg(std::string_view name) {
  return {.name = name,
          .attributes = {{"axis"},
                         {.name = "keepdims", .low = 0, .high = 1},
                         {.name = "select_last_index", .low = 0, .high = 1, .since = 12}},
          .infer = infer};
}

}  // namespace

std::span<const OpDef> arg_max_ops() {
  static const OpDef ops[] = {arg("ArgMax"), arg("ArgMin")};
  return ops;
}

}  // namespace octet
