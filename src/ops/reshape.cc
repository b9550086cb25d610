#include "ops/support.h"

namespace octet {
namespace {

void infer(InferContext& context) {
  const std::optional<Dims> wanted = context.integers(1);
  if (context.dtype(1) != DType::kInt64) context.fail_here("the shape is not int64");
  context.set_output_dtype(0, context.dtype(0));
  if (!wanted) return infer_from_data(context, 0);
  const Dims& x = context.shape(0);
  const bool allow_zero = context.attributes().get_int("allowzero", 0) != 0;
  Dims shape = *wanted;
  std::optional<size_t> rest;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!shape[i].known()) continue;
    const int64_t size = shape[i].value();
    if (size < -1) context.fail_here(fmt::format("the wanted shape has a dimension {}", size));
    if (size == -1) {
      if (rest) context.fail_here("the wanted shape has -1 twice");
      rest = i;
    } else if (size == 0 && !allow_zero) {
      if (i >= x.size())
        context.fail_here(fmt::format("0 at position {} of the shape, input has rank {}", i, x.size()));
      shape[i] = x[i];
    }
  }
  if (rest) {
    shape[*rest] = 1;
    for (size_t i = 0; i < shape.size(); ++i)
      if (shape[i].known() && shape[i].value() == 0) context.fail_here("the wanted shape has both 0 and -1");
    if (all_known(x) && all_known(shape) && product(x).value() % product(shape).value() != 0)
      context.fail_here(fmt::format("{} elements of shape {} do not divide into {}", product(x).text(),
                                    to_string(x), to_string(*wanted)));
    shape[*rest] = exact_quotient(x, shape);
  } else if (all_known(x) && all_known(shape) && product(x) != product(shape)) {
    context.fail_here(fmt::format("the input of shape {} cannot become {}", to_string(x), to_string(shape)));
  } else {
    require_same_count(context, x, shape);
  }
  const size_t rank = shape.size();
  context.set_output(0, context.dtype(0), std::move(shape));
  if (auto values = context.integers(0); values && rank <= 1) context.set_integers(0, *values);
}

int opset(const Graph&, const Node& node) {
  return node.attributes.get_int("allowzero", 0) != 0 ? 14 : 13;
}

// 0 is the default, and older opsets have not got it.
void upgrade(Graph& graph, NodeId id, int) {
  if (graph.node(id).attributes.get_int("allowzero", 0) == 0) drop_attribute(graph, id, "allowzero");
}

}  // namespace

std::span<const OpDef> reshape_ops() {
  static const OpDef ops[] = {
      {.name = "Reshape",
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{.name = "allowzero", .low = 0, .high = 1, .since = 14}},
       .upgrade = upgrade,
       .infer = infer,
       .quant = QuantRule::kSameScale,
       .lowering = Lowering::kReshape,
       .export_opset = opset},
  };
  return ops;
}

}  // namespace octet
