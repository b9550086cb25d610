// RNN, GRU, LSTM
#include <algorithm>
#include <array>

#include "ops/support.h"

namespace octet {
namespace {

constexpr std::array<std::string_view, 11> kActivations{
    "affine",  "elu",      "hardsigmoid", "leakyrelu", "relu",           "scaledtanh",
    "sigmoid", "softplus", "softsign",    "tanh",      "thresholdedrelu"};

void check_activations(const InferContext& context) {
  const Attribute* given = context.attributes().find("activations");
  const auto* names = given != nullptr ? std::get_if<std::vector<std::string>>(given) : nullptr;
  if (names == nullptr) return;
  for (std::string name : *names) {
    std::ranges::transform(name, name.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (std::ranges::find(kActivations, name) == kActivations.end())
      context.fail_here(fmt::format("unknown activation '{}'", name.substr(0, 40)));
  }
}

void infer(InferContext& context, int64_t gates) {
  require_float(context, 0);
  check_activations(context);
  for (size_t i = 0; i < 3; ++i) require_rank(context, i, 3);
  for (size_t i = 1; i < context.input_count(); ++i)
    if (i != 4 && context.has_input(i)) require_same_dtype(context, 0, i);
  const Attributes& attributes = context.attributes();
  const Dims &x = context.shape(0), &r = context.shape(2);
  const bool batch_first = attributes.get_int("layout", 0) != 0;
  const Dim directions = attributes.get_string("direction", "forward") == "bidirectional" ? 2 : 1;
  const Dim hidden = r[2], steps = x[batch_first ? 1 : 0], batch = x[batch_first ? 0 : 1];
  const Dims weights[] = {{directions, hidden * Dim(gates), x[2]}, {directions, hidden * Dim(gates), hidden}};
  for (size_t i = 1; i < 3; ++i)
    for (size_t d = 0; d < 3; ++d)
      if (equal(context.shape(i)[d], weights[i - 1][d]) == false)
        context.fail_here(fmt::format("input {} has shape {}, expected {}", i, to_string(context.shape(i)),
                                      to_string(weights[i - 1])));
  if (attributes.has("hidden_size") && equal(hidden, Dim(attributes.get_int("hidden_size", 0))) == false)
    context.fail_here(fmt::format("hidden_size is {}, but R has shape {}",
                                  attributes.get_int("hidden_size", 0), to_string(r)));
  const Dims state = batch_first ? Dims{batch, directions, hidden} : Dims{directions, batch, hidden};
  context.set_output(
      0, context.dtype(0),
      batch_first ? Dims{batch, steps, directions, hidden} : Dims{steps, directions, batch, hidden});
  for (size_t i = 1; i < context.output_count(); ++i) context.set_output(i, context.dtype(0), state);
}

OpDef layer(std::string_view name, int inputs, int outputs, void (*inference)(InferContext&)) {
  using enum AttributeKind;
  return {.name = name,
          .min_inputs = 3,
          .max_inputs = inputs,
          .min_outputs = 0,
          .max_outputs = outputs,
          .attributes = {{"activation_alpha", kFloats},
                         {"activation_beta", kFloats},
                         {"activations", kStrings},
                         {"clip", kFloat},
                         {.name = "direction",
                          .kind = kString,
                          .choices = {"forward", "reverse", "bidirectional"}},
                         {.name = "hidden_size", .low = 1, .high = 1 << 24},
                         {.name = "layout", .low = 0, .high = 1, .since = 14}},
          .infer = inference,
          .valid_from = 14};
}

}  // namespace

std::span<const OpDef> recurrent_ops() {
  static const std::vector<OpDef> ops = [] {
    OpDef gru = layer("GRU", 6, 2, [](InferContext& context) { infer(context, 3); });
    gru.attributes.push_back({.name = "linear_before_reset", .low = 0, .high = 1});
    OpDef lstm = layer("LSTM", 8, 3, [](InferContext& context) { infer(context, 4); });
    lstm.attributes.push_back({.name = "input_forget", .low = 0, .high = 1});
    return std::vector<OpDef>{gru, lstm,
                              layer("RNN", 6, 2, [](InferContext& context) { infer(context, 1); })};
  }();
  return ops;
}

}  // namespace octet
