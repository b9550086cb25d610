#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  const std::optional<Dims> repeats = context.integers(1);
  context.set_output_dtype(0, context.dtype(0));
  if (!repeats) {
    context.set_output_at_run(0, context.dtype(0), std::vector<std::optional<Dim>>(context.shape(0).size()));
    return;
  }
  Dims shape = context.shape(0);
  if (repeats->size() != shape.size())
    context.fail_here(fmt::format("{} repeats for shape {}", repeats->size(), to_string(shape)));
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = shape[i] * (*repeats)[i];
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> tile_ops() {
  static const OpDef ops[] = {{.name = "Tile", .min_inputs = 2, .max_inputs = 2, .infer = infer}};
  return ops;
}

}  // namespace octet
