#include "ops/window.h"

namespace octet {

Dims conv_shape(const InferContext& context, size_t input, size_t weights) {
  const Dims& x = context.shape(input);
  const Dims& w = context.shape(weights);
  if (x.size() < 3) context.fail_here(fmt::format("the input has shape {}, expected N,C,...", to_string(x)));
  require_rank(context, weights, x.size());
  const int64_t group = context.attributes().get_int("group", 1);
  if (x[1].known() && w[1].known() && (Dim(group) * w[1]).value() != x[1].value())
    context.fail_here(fmt::format("the input has {} channels, but the weights {} in {} group(s)", x[1].text(),
                                  w[1].text(), group));
  if (w[0].known() && w[0].value() % group != 0)
    context.fail_here(fmt::format("{} output channels in {} groups", w[0].text(), group));
  const Dims taps(w.begin() + 2, w.end());
  std::vector<int64_t> kernel;
  if (all_known(taps)) kernel = evaluate(taps);
  const Window window = read_window(context, taps.size(), kernel);
  Dims shape{x[0], w[0]};
  for (size_t i = 0; i < taps.size(); ++i)
    shape.push_back(window_output(context, window, i, x[2 + i], false));
  return shape;
}

namespace {

void upgrade(Graph& graph, NodeId id, int) {
  upgrade_window(graph, id);
}

void infer(InferContext& context) {
  require_float(context, 0);
  require_same_dtype(context, 0, 1);
  Dims shape = conv_shape(context, 0, 1);
  const Dims& w = context.shape(1);
  if (context.has_input(2)) {
    require_same_dtype(context, 0, 2);
    require_rank(context, 2, 1);
    if (equal(context.shape(2)[0], w[0]) == false)
      context.fail_here(
          fmt::format("{} biases for {} output channels", context.shape(2)[0].text(), w[0].text()));
  }
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> conv_ops() {
  static const std::vector<OpDef> ops = [] {
    OpDef conv{.name = "Conv",
               .min_inputs = 2,
               .max_inputs = 3,
               .attributes = window_attributes(false, 1),
               .upgrade = upgrade,
               .infer = infer,
               .quant = QuantRule::kWeighted,
               .lowering = Lowering::kConv};
    conv.attributes.push_back({.name = "group", .low = 1, .high = 1 << 24});
    return std::vector<OpDef>{conv};
  }();
  return ops;
}

}  // namespace octet
