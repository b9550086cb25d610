#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  if (context.dtype(0) != DType::kBool) context.fail_here("the condition is not bool");
  require_same_dtype(context, 1, 2);
  Dims shape = broadcast(context, context.shape(0), broadcast(context, context.shape(1), context.shape(2)));
  const bool vector = shape.size() <= 1;
  context.set_output(0, context.dtype(1), std::move(shape));
  const auto condition = context.integers(0), a = context.integers(1), b = context.integers(2);
  if (!vector || !condition || !a || !b || !all_known(*condition)) return;
  const size_t n = std::max(condition->size(), std::max(a->size(), b->size()));
  for (const auto* list : {&condition, &a, &b})
    if ((*list)->size() != n && (*list)->size() != 1) return;
  const auto entry = [](const Dims& list, size_t i) { return list[list.size() == 1 ? 0 : i]; };
  Dims result;
  for (size_t i = 0; i < n; ++i)
    result.push_back(entry(*condition, i).value() != 0 ? entry(*a, i) : entry(*b, i));
  context.set_integers(0, std::move(result));
}

}  // namespace

std::span<const OpDef> where_ops() {
  static const OpDef ops[] = {
      {.name = "Where", .since = 9, .min_inputs = 3, .max_inputs = 3, .infer = infer}};
  return ops;
}

}  // namespace octet
