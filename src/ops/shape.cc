// Shape, Size
#include <algorithm>

#include "ops/support.h"

namespace octet {
namespace {

void infer_shape(InferContext& context) {
  const Dims& x = context.shape(0);
  const auto rank = static_cast<int64_t>(x.size());
  const auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
  const int64_t start = clamp(context.attributes().get_int("start", 0));
  const int64_t end = std::max(start, clamp(context.attributes().get_int("end", rank)));
  Dims values(x.begin() + start, x.begin() + end);
  context.set_output(0, DType::kInt64, {Dim(end - start)});
  context.set_integers(0, std::move(values));
}

void infer_size(InferContext& context) {
  Dim count = product(context.shape(0));
  context.set_output(0, DType::kInt64, {});
  context.set_integers(0, {std::move(count)});
}

// Whole shapes are what older opsets give.
void upgrade_shape(Graph& graph, NodeId id, int) {
  if (graph.node(id).attributes.get_int("start", 0) == 0) drop_attribute(graph, id, "start");
}

}  // namespace

std::span<const OpDef> shape_ops() {
  static const OpDef ops[] = {
      {.name = "Shape",
       .attributes = {{.name = "end", .since = 15}, {.name = "start", .since = 15}},
       .upgrade = upgrade_shape,
       .infer = infer_shape,
       .quant = QuantRule::kInteger},
      {.name = "Size", .infer = infer_size, .quant = QuantRule::kInteger},
  };
  return ops;
}

}  // namespace octet
