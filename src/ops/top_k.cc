// Operators that choose elements by their values, most of them as many as the data say; and OneHot.
#include "ops/support.h"

namespace octet {
namespace {

using Gaps = std::vector<std::optional<Dim>>;

// Before opset 10 k was an attribute.
void upgrade_top_k(Graph& graph, NodeId id, int opset) {
  if (opset >= 10) return;
  if (!graph.node(id).attributes.has("k")) fail_node(graph, id, "attribute 'k' is missing");
  const int64_t k = graph.node(id).attributes.get_int("k", 0);
  drop_attribute(graph, id, "k");
  put_input(graph, id, 1, add_ints(graph, graph.node(id).name + ".k", {k}));
}

void infer_top_k(InferContext& context) {
  const Dims& x = context.shape(0);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", -1), x.size());
  Gaps shape(x.begin(), x.end());
  shape[axis].reset();
  if (const std::optional<Dims> k = context.integers(1); k && k->size() == 1) shape[axis] = k->front();
  if (shape[axis] && shape[axis]->known() && x[axis].known() && shape[axis]->value() > x[axis].value())
    context.fail_here(fmt::format("k is {}, axis {} has {}", shape[axis]->text(), axis, x[axis].text()));
  if (const Dims* values = context.set_output_at_run(0, context.dtype(0), shape); values != nullptr)
    context.set_output(1, DType::kInt64, *values);
}

void infer_non_zero(InferContext& context) {
  const auto rank = static_cast<int64_t>(std::max<size_t>(context.shape(0).size(), 1));
  context.set_output_at_run(0, DType::kInt64, {Dim(rank), std::nullopt});
}

void infer_compress(InferContext& context) {
  if (context.dtype(1) != DType::kBool) context.fail_here("the condition is not bool");
  const Dims& x = context.shape(0);
  if (!context.attributes().has("axis")) {
    context.set_output_at_run(0, context.dtype(0), {std::nullopt});
    return;
  }
  Gaps shape(x.begin(), x.end());
  shape[normal_axis(context, context.attributes().get_int("axis", 0), x.size())].reset();
  context.set_output_at_run(0, context.dtype(0), shape);
}

void infer_unique(InferContext& context) {
  const Dims& x = context.shape(0);
  const bool flat = !context.attributes().has("axis");
  const size_t axis = flat ? 0 : normal_axis(context, context.attributes().get_int("axis", 0), x.size());
  Gaps shape = flat ? Gaps{std::nullopt} : Gaps(x.begin(), x.end());
  shape[axis].reset();
  const Dims* values = context.set_output_at_run(0, context.dtype(0), shape);
  if (values == nullptr) return;
  const Dim count = (*values)[axis], all = flat ? product(x) : x[axis];
  context.set_output(1, DType::kInt64, {count});
  context.set_output(2, DType::kInt64, {all});
  context.set_output(3, DType::kInt64, {count});
}

void infer_one_hot(InferContext& context) {
  const Dims& indices = context.shape(0);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", -1), indices.size() + 1);
  Gaps shape(indices.begin(), indices.end());
  std::optional<Dim> depth;
  if (const std::optional<Dims> given = context.integers(1); given && given->size() == 1)
    depth = given->front();
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), depth);
  context.set_output_at_run(0, context.dtype(2), shape);
}

void infer_non_max_suppression(InferContext& context) {
  require_rank(context, 0, 3);
  require_rank(context, 1, 3);
  context.set_output_at_run(0, DType::kInt64, {std::nullopt, Dim(3)});
}

}  // namespace

std::span<const OpDef> top_k_ops() {
  static const OpDef ops[] = {
      {.name = "Compress",
       .since = 9,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{"axis"}},
       .infer = infer_compress},
      {.name = "NonMaxSuppression",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 5,
       .attributes = {{.name = "center_point_box", .low = 0, .high = 1}},
       .infer = infer_non_max_suppression},
      {.name = "NonZero", .since = 9, .infer = infer_non_zero, .quant = QuantRule::kInteger},
      {.name = "OneHot",
       .since = 9,
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = {{"axis"}},
       .infer = infer_one_hot},
      {.name = "TopK",
       .min_inputs = 2,
       .max_inputs = 2,
       .max_outputs = 2,
       .attributes = {{"axis"},
                      {.name = "k", .low = 0, .until = 9},
                      {.name = "largest", .low = 0, .high = 1, .since = 11},
                      {.name = "sorted", .low = 0, .high = 1, .since = 11}},
       .upgrade = upgrade_top_k,
       .infer = infer_top_k},
      {.name = "Unique",
       .since = 11,
       .max_outputs = 4,
       .attributes = {{"axis"}, {.name = "sorted", .low = 0, .high = 1}},
       .infer = infer_unique},
  };
  return ops;
}

}  // namespace octet
