// Comparisons and logic.
#include "ops/support.h"

namespace octet {
namespace {

void infer_compare(InferContext& context) {
  require_same_dtype(context, 0, 1);
  context.set_output(0, DType::kBool, broadcast(context, context.shape(0), context.shape(1)));
}

// Exporters ask whether an entry of a shape is -1.
void infer_equal(InferContext& context) {
  infer_compare(context);
  const std::optional<Dims> a = context.integers(0), b = context.integers(1);
  if (!a || !b || context.shape(0).size() > 1 || context.shape(1).size() > 1) return;
  const size_t n = a->size() == 1 ? b->size() : a->size();
  if ((a->size() != 1 && a->size() != n) || (b->size() != 1 && b->size() != n)) return;
  Dims result;
  for (size_t i = 0; i < n; ++i) {
    const auto same = equal((*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
    if (!same) return;
    result.emplace_back(*same ? 1 : 0);
  }
  context.set_integers(0, std::move(result));
}

void infer_logic(InferContext& context) {
  for (size_t i = 0; i < context.input_count(); ++i)
    if (context.dtype(i) != DType::kBool)
      context.fail_here(fmt::format("input {} is {}, expected bool", i, dtype_name(context.dtype(i))));
  Dims shape = context.shape(0);
  if (context.input_count() > 1) shape = broadcast(context, shape, context.shape(1));
  context.set_output(0, DType::kBool, std::move(shape));
}

OpDef compare(std::string_view name, int since) {
  return {.name = name, .since = since, .min_inputs = 2, .max_inputs = 2, .infer = infer_compare};
}

// Not never changed; the others had no broadcasting before opset 7.
OpDef logic(std::string_view name, int inputs) {
  return {.name = name,
          .min_inputs = inputs,
          .max_inputs = inputs,
          .infer = infer_logic,
          .oldest = inputs == 1 ? 1 : kOldestOpset};
}

}  // namespace

std::span<const OpDef> compare_ops() {
  static const OpDef ops[] = {
      logic("And", 2),       {.name = "Equal", .min_inputs = 2, .max_inputs = 2, .infer = infer_equal},
      compare("Greater", 7), compare("GreaterOrEqual", 12),
      compare("Less", 7),    compare("LessOrEqual", 12),
      logic("Not", 1),       logic("Or", 2),
      logic("Xor", 2),
  };
  return ops;
}

}  // namespace octet
