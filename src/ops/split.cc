#include "ops/support.h"

namespace octet {
namespace {

// Sizes were an attribute before opset 13. Equal parts are the number of outputs, without num_outputs.
void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset < 13) attribute_to_input(graph, id, "split", 1);
  const Node& node = graph.node(id);
  if (node.attributes.has("num_outputs") &&
      node.attributes.get_int("num_outputs", 0) != static_cast<int64_t>(node.outputs.size()))
    fail_node(graph, id,
              fmt::format("{} outputs, but num_outputs is {}", node.outputs.size(),
                          node.attributes.get_int("num_outputs", 0)));
  drop_attribute(graph, id, "num_outputs");
}

void infer(InferContext& context) {
  const Dims& x = context.shape(0);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", 0), x.size());
  const size_t count = context.output_count();
  Dims sizes;
  if (context.has_input(1)) {
    const std::optional<Dims> given = context.integers(1);
    if (!given) {
      std::vector<std::optional<Dim>> late(x.begin(), x.end());
      late[axis].reset();
      for (size_t i = 0; i < count; ++i) context.set_output_at_run(i, context.dtype(0), late);
      return;
    }
    sizes = *given;
    if (sizes.size() != count) context.fail_here(fmt::format("{} sizes for {} outputs", sizes.size(), count));
    Dim sum = 0;
    for (const Dim& size : sizes) sum = sum + size;
    if (equal(sum, x[axis]) == false)
      context.fail_here(
          fmt::format("the sizes add up to {}, axis {} has {}", sum.text(), axis, x[axis].text()));
  } else {
    // The last part is smaller where the division leaves a remainder.
    const Dim part = ceil_div(x[axis], Dim(static_cast<int64_t>(count)));
    sizes.assign(count, part);
    sizes.back() = x[axis] - part * Dim(static_cast<int64_t>(count) - 1);
  }
  for (size_t i = 0; i < count; ++i) {
    Dims shape = context.shape(0);
    shape[axis] = sizes[i];
    context.set_output(i, context.dtype(0), std::move(shape));
  }
  const std::optional<Dims> values = context.integers(0);
  if (!values || !all_known(sizes) || context.shape(0).size() != 1) return;
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto n = static_cast<size_t>(sizes[i].value());
    if (n > values->size() - at) return;
    context.set_integers(i, Dims(values->begin() + static_cast<std::ptrdiff_t>(at),
                                 values->begin() + static_cast<std::ptrdiff_t>(at + n)));
    at += n;
  }
}

// Without sizes, parts that are not equal need num_outputs, which the export adds.
int opset(const Graph& graph, const Node& node) {
  if (has_input(node, 1)) return 13;
  const auto& shape = graph.value(node.inputs.at(0)).shape;
  if (!shape) return 18;
  const auto rank = static_cast<int64_t>(shape->size());
  int64_t axis = node.attributes.get_int("axis", 0);
  axis = axis < 0 ? axis + rank : axis;
  if (axis < 0 || axis >= rank) return 18;
  const Dim& size = (*shape)[static_cast<size_t>(axis)];
  return size.known() && size.value() % static_cast<int64_t>(node.outputs.size()) == 0 ? 13 : 18;
}

}  // namespace

std::span<const OpDef> split_ops() {
  static const OpDef ops[] = {
      {.name = "Split",
       .min_inputs = 1,
       .max_inputs = 2,
       .max_outputs = 1 << 20,
       .attributes = {{"axis"},
                      {.name = "num_outputs", .low = 1, .since = 18, .until = kNewestOpset},
                      {.name = "split", .kind = AttributeKind::kInts, .low = 0, .until = 12}},
       .upgrade = upgrade,
       .infer = infer,
       .quant = QuantRule::kSameScale,
       .export_opset = opset},
  };
  return ops;
}

}  // namespace octet
