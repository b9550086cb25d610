#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  require_same_dtype(context, 0, 1);
  require_same_dtype(context, 0, 2);
  context.set_output_dtype(0, context.dtype(0));
  const auto start = context.integers(0), limit = context.integers(1);
  const auto step = known_integers(context, 2);
  if (!start || !limit || !step || start->size() != 1 || limit->size() != 1 || step->size() != 1) {
    context.set_output_at_run(0, context.dtype(0), {std::nullopt});
    return;
  }
  const int64_t delta = (*step)[0];
  if (delta == 0) context.fail_here("a step of 0");
  if (delta == INT64_MIN) return;
  const Dim span = delta > 0 ? limit->front() - start->front() : start->front() - limit->front();
  const Dim length = ceil_div(span, delta > 0 ? delta : -delta);
  const Dim count = nonnegative(length) ? length : max(length, 0);
  context.set_output(0, context.dtype(0), {count});
  if (!count.known() || count.value() > 64) return;
  Dims values;
  for (int64_t i = 0; i < count.value(); ++i) values.push_back(start->front() + Dim(i) * Dim(delta));
  context.set_integers(0, std::move(values));
}

}  // namespace

std::span<const OpDef> range_ops() {
  static const OpDef ops[] = {
      {.name = "Range", .since = 11, .min_inputs = 3, .max_inputs = 3, .infer = infer}};
  return ops;
}

}  // namespace octet
