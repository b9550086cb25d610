// Elementwise functions of several tensors, with broadcasting. Those of integers that derive from shapes stay
// symbolic.
#include "ops/support.h"

namespace octet {
namespace {

using Combine = std::optional<Dim> (*)(const InferContext&, const Dim&, const Dim&);

void propagate(InferContext& context, Combine combine) {
  const std::optional<Dims> a = context.integers(0), b = context.integers(1);
  if (!a || !b || context.shape(0).size() > 1 || context.shape(1).size() > 1) return;
  const size_t n = a->size() == 1 ? b->size() : a->size();
  if ((a->size() != 1 && a->size() != n) || (b->size() != 1 && b->size() != n)) return;
  Dims result;
  for (size_t i = 0; i < n; ++i) {
    const std::optional<Dim> r = combine(context, (*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
    if (!r) return;
    result.push_back(*r);
  }
  context.set_integers(0, std::move(result));
}

template <typename F>
void infer_with(InferContext& context, F combine) {
  if (context.dtype(0) == DType::kBool) context.fail_here("the inputs are bool, expected numbers");
  infer_broadcast(context);
  if (context.input_count() == 2) propagate(context, combine);
}

void infer_add(InferContext& context) {
  infer_with(context,
             [](const InferContext&, const Dim& a, const Dim& b) -> std::optional<Dim> { return a + b; });
}

void infer_sub(InferContext& context) {
  infer_with(context,
             [](const InferContext&, const Dim& a, const Dim& b) -> std::optional<Dim> { return a - b; });
}

void infer_mul(InferContext& context) {
  infer_with(context,
             [](const InferContext&, const Dim& a, const Dim& b) -> std::optional<Dim> { return a * b; });
}

// Integers: truncation, which is floor where nothing is negative, and 0 for what is less than the divisor
// below that: exporters write (size - 1) / stride + 1. Floats: only what leaves no remainder for certain.
std::optional<Dim> divide(const InferContext& context, const Dim& a, const Dim& b) {
  if (b.known() && b.value() == 0) return std::nullopt;
  if (is_float(context.dtype(0))) {
    if (a.known() && b.known() && a.value() % b.value() == 0) return Dim(a.value() / b.value());
    return b.known() && b.value() == 1 ? std::optional<Dim>(a) : std::nullopt;
  }
  if (nonnegative(a) && nonnegative(b)) return floor_div(a, b);
  if (b.known() && b.value() > 0 && nonnegative(a + Dim(b.value() - 1))) return floor_div(max(a, Dim(0)), b);
  if (a.known() && b.known() && b.value() != -1) return Dim(a.value() / b.value());
  return std::nullopt;
}

void infer_div(InferContext& context) {
  infer_with(context, divide);
}

void infer_min(InferContext& context) {
  infer_with(context,
             [](const InferContext&, const Dim& a, const Dim& b) -> std::optional<Dim> { return min(a, b); });
}

void infer_max(InferContext& context) {
  infer_with(context,
             [](const InferContext&, const Dim& a, const Dim& b) -> std::optional<Dim> { return max(a, b); });
}

// With fmod 0: the sign of the divisor, as floor division gives it.
void infer_mod(InferContext& context) {
  if (is_float(context.dtype(0)) && context.attributes().get_int("fmod", 0) == 0)
    context.fail_here("floats need fmod 1");
  infer_with(context, [](const InferContext&, const Dim& a, const Dim& b) -> std::optional<Dim> {
    if (!nonnegative(a) || !b.known() || b.value() <= 0) return std::nullopt;
    return a - floor_div(a, b) * b;
  });
}

void infer_pow(InferContext& context) {
  context.set_output(0, context.dtype(0), broadcast(context, context.shape(0), context.shape(1)));
}

void infer_float_broadcast(InferContext& context) {
  require_float(context, 0);
  infer_broadcast(context);
}

// Short integers came with opset 14.
int opset(const Graph& graph, const Node& node) {
  const auto dtype = graph.value(node.inputs.at(0)).dtype;
  return dtype && is_integer(*dtype) && dtype_bits(*dtype) < 32 ? 14 : 13;
}

}  // namespace

std::span<const OpDef> arithmetic_ops() {
  constexpr int kMany = 1 << 20;
  static const OpDef ops[] = {
      {.name = "Add",
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = infer_add,
       .quant = QuantRule::kArithmetic,
       .lowering = Lowering::kAdd,
       .export_opset = opset},
      {.name = "Div",
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = infer_div,
       .lowering = Lowering::kBinary,
       .export_opset = opset},
      {.name = "Max", .max_inputs = kMany, .infer = infer_max},
      {.name = "Mean", .max_inputs = kMany, .infer = infer_float_broadcast},
      {.name = "Min", .max_inputs = kMany, .infer = infer_min},
      {.name = "Mod",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{.name = "fmod", .low = 0, .high = 1}},
       .infer = infer_mod},
      {.name = "Mul",
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = infer_mul,
       .quant = QuantRule::kArithmetic,
       .lowering = Lowering::kMul,
       .export_opset = opset},
      {.name = "Pow", .min_inputs = 2, .max_inputs = 2, .infer = infer_pow},
      {.name = "Sub",
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = infer_sub,
       .lowering = Lowering::kBinary,
       .export_opset = opset},
      {.name = "Sum", .max_inputs = kMany, .infer = infer_float_broadcast},
  };
  return ops;
}

}  // namespace octet
