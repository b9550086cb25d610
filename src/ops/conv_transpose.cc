#include "ops/window.h"

namespace octet {
namespace {

void upgrade(Graph& graph, NodeId id, int) {
  if (graph.node(id).attributes.has("output_shape"))
    fail_node(graph, id, "the attribute 'output_shape' is not supported, give 'pads' instead");
  const std::string auto_pad = graph.node(id).attributes.get_string("auto_pad", "NOTSET");
  if (auto_pad.starts_with("SAME")) fail_node(graph, id, "auto_pad " + auto_pad + " is not supported");
  upgrade_window(graph, id);
}

// Output size: stride * (in - 1) + output_padding + (k - 1) * dilation + 1 - pads.
void infer(InferContext& context) {
  require_float(context, 0);
  require_same_dtype(context, 0, 1);
  const Dims& x = context.shape(0);
  const Dims& w = context.shape(1);
  if (x.size() < 3) context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(x)));
  require_rank(context, 1, x.size());
  if (equal(x[1], w[0]) == false)
    context.fail_here(fmt::format("the input has {} channels, the weights {}", x[1].text(), w[0].text()));
  const int64_t group = context.attributes().get_int("group", 1);
  if (w[0].known() && w[0].value() % group != 0)
    context.fail_here(fmt::format("{} input channels in {} groups", w[0].text(), group));
  const Dims taps(w.begin() + 2, w.end());
  std::vector<int64_t> kernel;
  if (all_known(taps)) kernel = evaluate(taps);
  const Window window = read_window(context, taps.size(), kernel);
  const std::vector<int64_t> extra = spatial_attribute(context, "output_padding", taps.size(), 0);
  Dims shape{x[0], w[1] * Dim(group)};
  if (context.has_input(2) && (context.shape(2).size() != 1 || equal(context.shape(2)[0], shape[1]) == false))
    context.fail_here(
        fmt::format("the bias has shape {}, expected {}", to_string(context.shape(2)), shape[1].text()));
  for (size_t i = 0; i < taps.size(); ++i) {
    const int64_t extent = (window.kernel[i] - 1) * window.dilations[i] + 1;
    shape.push_back((x[2 + i] - 1) * Dim(window.strides[i]) +
                    Dim(extra[i] + extent - window.pads[i] - window.pads[taps.size() + i]));
  }
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> conv_transpose_ops() {
  static const std::vector<OpDef> ops = [] {
    OpDef conv{.name = "ConvTranspose",
               .min_inputs = 2,
               .max_inputs = 3,
               .attributes = window_attributes(false, 1),
               .upgrade = upgrade,
               .infer = infer};
    conv.attributes.push_back({.name = "group", .low = 1, .high = 1 << 24});
    conv.attributes.push_back(
        {.name = "output_padding", .kind = AttributeKind::kInts, .low = 0, .high = 1 << 24});
    conv.attributes.push_back({.name = "output_shape", .kind = AttributeKind::kInts, .until = kNewestOpset});
    return std::vector<OpDef>{conv};
  }();
  return ops;
}

}  // namespace octet
