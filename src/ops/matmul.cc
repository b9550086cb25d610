#include "ops/support.h"

namespace octet {

Dims matmul_shape(const InferContext& context, size_t first, size_t second) {
  Dims a = context.shape(first), b = context.shape(second);
  if (a.empty() || b.empty()) context.fail_here("an input is a scalar");
  const bool vector_a = a.size() == 1, vector_b = b.size() == 1;
  if (vector_a) a.insert(a.begin(), Dim(1));
  if (vector_b) b.emplace_back(1);
  if (equal(a.back(), b[b.size() - 2]) == false)
    context.fail_here(
        fmt::format("inner dimensions {} and {} differ", a.back().text(), b[b.size() - 2].text()));
  if (!a.back().known() && !b[b.size() - 2].known())
    context.assume_equal(a.back(), b[b.size() - 2]);
  else
    context.require_equal(a.back(), b[b.size() - 2]);
  Dims shape = broadcast(context, Dims(a.begin(), a.end() - 2), Dims(b.begin(), b.end() - 2));
  if (!vector_a) shape.push_back(a[a.size() - 2]);
  if (!vector_b) shape.push_back(b.back());
  return shape;
}

namespace {

void infer(InferContext& context) {
  require_same_dtype(context, 0, 1);
  context.set_output(0, context.dtype(0), matmul_shape(context, 0, 1));
}

}  // namespace

std::span<const OpDef> matmul_ops() {
  static const OpDef ops[] = {
      {.name = "MatMul",
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = infer,
       .quant = QuantRule::kWeighted,
       .lowering = Lowering::kMatMul},
  };
  return ops;
}

}  // namespace octet
