#include "ops/window.h"

namespace octet {
namespace {

void upgrade(Graph& graph, NodeId id, int) {
  upgrade_window(graph, id);
  if (graph.node(id).attributes.has("output_shape"))
    drop_attribute(graph, id, "pads");  // they follow from it
}

// Output size: stride * (in - 1) + output_padding + (k - 1) * dilation + 1 - pads; with auto_pad SAME stride
// * in.
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
  const std::vector<int64_t> given = context.attributes().get_ints("output_shape");
  if (!given.empty() && given.size() != taps.size())
    context.fail_here(fmt::format("output_shape has {} entries, expected {}", given.size(), taps.size()));
  for (size_t i = 0; i < taps.size(); ++i) {
    if (!given.empty() || window.auto_pad.starts_with("SAME")) {
      shape.push_back(given.empty() ? x[2 + i] * Dim(window.strides[i]) : Dim(given[i]));
      continue;
    }
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
    conv.attributes.push_back(
        {.name = "output_shape", .kind = AttributeKind::kInts, .low = 1, .high = 1 << 24});
    return std::vector<OpDef>{conv};
  }();
  return ops;
}

}  // namespace octet
