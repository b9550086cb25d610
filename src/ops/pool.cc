#include "ops/window.h"

namespace octet {
namespace {

void upgrade_max(Graph& graph, NodeId id, int) {
  upgrade_window(graph, id);
  drop_unused_outputs(graph, id, 1);
  if (graph.node(id).outputs.size() < 2) drop_attribute(graph, id, "storage_order");
}

void upgrade_average(Graph& graph, NodeId id, int) {
  upgrade_window(graph, id);
}

void infer(InferContext& context) {
  const Dims& x = context.shape(0);
  if (x.size() < 3) context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(x)));
  const Window window = read_window(context, x.size() - 2, {});
  Dims shape{x[0], x[1]};
  for (size_t i = 0; i + 2 < x.size(); ++i)
    shape.push_back(
        window_output(context, window, i, x[2 + i], context.attributes().get_int("ceil_mode", 0) != 0));
  if (context.has_output(1)) context.set_output(1, DType::kInt64, shape);
  context.set_output(0, context.dtype(0), std::move(shape));
}

// Before opset 22 nobody said that a window beginning in the end padding does not count.
int opset(const Graph& graph, const Node& node) {
  if (node.attributes.get_int("ceil_mode", 0) == 0) return 13;
  const auto& in = graph.value(node.inputs.at(0)).shape;
  const auto& out = graph.value(node.outputs.at(0)).shape;
  const std::vector<int64_t> kernel = node.attributes.get_ints("kernel_shape");
  const size_t n = kernel.size();
  const std::vector<int64_t> ones(n, 1);
  const std::vector<int64_t> strides = node.attributes.get_ints("strides", ones);
  const std::vector<int64_t> dilations = node.attributes.get_ints("dilations", ones);
  const std::vector<int64_t> pads = node.attributes.get_ints("pads", std::vector<int64_t>(2 * n, 0));
  if (!in || !out || in->size() != n + 2 || out->size() != n + 2 || strides.size() != n ||
      dilations.size() != n || pads.size() != 2 * n)
    return 13;
  for (size_t i = 0; i < n; ++i) {
    const Dim room = (*in)[2 + i] + Dim(pads[i] + pads[n + i] - (kernel[i] - 1) * dilations[i] - 1);
    if (equal((*out)[2 + i], ceil_div(room, Dim(strides[i])) + 1) == false) return 22;
  }
  return 13;
}

void infer_average(InferContext& context) {
  require_float(context, 0);
  infer(context);
}

}  // namespace

std::span<const OpDef> pool_ops() {
  static const std::vector<OpDef> ops = [] {
    const AttributeDef ceil_mode{.name = "ceil_mode", .low = 0, .high = 1, .since = 10};
    OpDef max{.name = "MaxPool",
              .max_outputs = 2,
              .attributes = window_attributes(true, 10),
              .upgrade = upgrade_max,
              .infer = infer,
              .quant = QuantRule::kSameScale,
              .lowering = Lowering::kMaxPool,
              .export_opset = opset};
    max.attributes.push_back(ceil_mode);
    max.attributes.push_back({.name = "storage_order", .low = 0, .high = 1, .since = 8});
    OpDef average{.name = "AveragePool",
                  .attributes = window_attributes(true, 19),
                  .upgrade = upgrade_average,
                  .infer = infer_average,
                  .quant = QuantRule::kAverage,
                  .lowering = Lowering::kAveragePool,
                  .export_opset = opset};
    average.attributes.push_back(ceil_mode);
    average.attributes.push_back({.name = "count_include_pad", .low = 0, .high = 1});
    OpDef lp{.name = "LpPool",
             .attributes = window_attributes(true, 18),
             .upgrade = upgrade_average,
             .infer = infer_average,
             .valid_from = 18,
             .export_opset = opset};
    lp.attributes.push_back({.name = "ceil_mode", .low = 0, .high = 1, .since = 18});
    lp.attributes.push_back({.name = "p", .low = 1, .high = 1 << 16});
    return std::vector<OpDef>{average, lp, max};
  }();
  return ops;
}

}  // namespace octet
