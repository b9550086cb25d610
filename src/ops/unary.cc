// Elementwise functions of one tensor.
#include "ops/support.h"

namespace octet {
namespace {

void infer_number(InferContext& context) {
  if (context.dtype(0) == DType::kBool) context.fail_here("the input is bool, expected numbers");
  infer_like_first(context);
}

void infer_float(InferContext& context) {
  require_float(context, 0);
  infer_like_first(context);
}

void infer_test(InferContext& context) {
  require_float(context, 0);
  context.set_output(0, DType::kBool, context.shape(0));
}

// Of numbers without a fraction: the integers pass through.
void infer_rounding(InferContext& context) {
  infer_float(context);
  if (auto values = context.integers(0)) context.set_integers(0, *values);
}

void infer_neg(InferContext& context) {
  infer_number(context);
  if (auto values = context.integers(0)) {
    for (Dim& value : *values) value = Dim(0) - value;
    context.set_integers(0, *values);
  }
}

// x * sigmoid(alpha * x)
void upgrade_swish(Graph& graph, NodeId id, int) {
  const Node node = graph.node(id);
  const float alpha = node.attributes.get_float("alpha", 1.0f);
  if (node.inputs.size() != 1 || node.inputs[0] == kNoId) fail_node(graph, id, "expected one input");
  const ValueId x = node.inputs[0], y = node.outputs[0];
  graph.remove_node(id);
  if (alpha == 1.0f) {
    graph.add_node("Silu", std::string(kOctetDomain), node.name, {x}, {y});
    return;
  }
  const ValueId factor = graph.add_constant(node.name + ".alpha", Tensor::scalar(alpha));
  const ValueId scaled = graph.add_op("Mul", node.name + "_scale", {x, factor}, node.name + "_scaled");
  const ValueId gate = graph.add_op("Sigmoid", node.name + "_sigmoid", {scaled}, node.name + "_gate");
  graph.add_node("Mul", "", node.name, {x, gate}, {y});
}

}  // namespace

std::span<const OpDef> unary_ops() {
  constexpr auto kFloatAttribute = AttributeKind::kFloat;
  constexpr auto kFunction = QuantRule::kActivation;
  constexpr auto kLowered = Lowering::kActivation;
  static const OpDef ops[] = {
      {.name = "Abs", .infer = infer_number},
      {.name = "Acos", .infer = infer_float},
      {.name = "Acosh", .since = 9, .infer = infer_float},
      {.name = "Asin", .infer = infer_float},
      {.name = "Asinh", .since = 9, .infer = infer_float},
      {.name = "Atan", .infer = infer_float},
      {.name = "Atanh", .since = 9, .infer = infer_float},
      {.name = "Ceil", .infer = infer_rounding},
      {.name = "Celu", .since = 12, .attributes = {{"alpha", kFloatAttribute}}, .infer = infer_float},
      {.name = "Cos", .infer = infer_float, .valid_from = 13},
      {.name = "Cosh", .since = 9, .infer = infer_float},
      {.name = "Elu", .attributes = {{"alpha", kFloatAttribute}}, .infer = infer_float},
      {.name = "Erf", .since = 9, .infer = infer_number},
      {.name = "Exp", .infer = infer_float},
      {.name = "Floor", .infer = infer_rounding},
      {.name = "Gelu",
       .since = 20,
       .attributes = {{.name = "approximate", .kind = AttributeKind::kString, .choices = {"none", "tanh"}}},
       .infer = infer_float,
       .quant = kFunction,
       .lowering = kLowered,
       .valid_from = 20},
      {.name = "HardSigmoid",
       .attributes = {{"alpha", kFloatAttribute}, {"beta", kFloatAttribute}},
       .infer = infer_float,
       .quant = kFunction,
       .lowering = kLowered},
      {.name = "HardSwish",
       .since = 14,
       .infer = infer_float,
       .quant = kFunction,
       .lowering = kLowered,
       .valid_from = 14},
      {.name = "IsInf",
       .since = 10,
       .attributes = {{.name = "detect_negative", .low = 0, .high = 1},
                      {.name = "detect_positive", .low = 0, .high = 1}},
       .infer = infer_test,
       .valid_from = 20},
      {.name = "IsNaN", .since = 9, .infer = infer_test},
      {.name = "LeakyRelu",
       .attributes = {{"alpha", kFloatAttribute}},
       .infer = infer_float,
       .quant = kFunction,
       .lowering = kLowered},
      {.name = "Log", .infer = infer_float},
      {.name = "Mish", .since = 18, .infer = infer_float, .valid_from = 18},
      {.name = "Neg", .infer = infer_neg},
      {.name = "Reciprocal", .infer = infer_float},
      {.name = "Relu", .infer = infer_number, .quant = kFunction, .lowering = kLowered},
      {.name = "Round", .since = 11, .infer = infer_rounding},
      {.name = "Selu",
       .attributes = {{"alpha", kFloatAttribute}, {"gamma", kFloatAttribute}},
       .infer = infer_float},
      {.name = "Shrink",
       .since = 9,
       .attributes = {{"bias", kFloatAttribute}, {"lambd", kFloatAttribute}},
       .infer = infer_number},
      {.name = "Sigmoid", .infer = infer_float, .quant = kFunction, .lowering = kLowered},
      {.name = "Sign", .since = 9, .infer = infer_number},
      {.name = "Silu",
       .domain = kOctetDomain,
       .infer = infer_float,
       .quant = kFunction,
       .lowering = kLowered},
      {.name = "Sin", .infer = infer_float},
      {.name = "Sinh", .since = 9, .infer = infer_float},
      {.name = "Softplus", .infer = infer_float},
      {.name = "Softsign", .infer = infer_float},
      {.name = "Sqrt", .infer = infer_float},
      {.name = "Swish",
       .since = 24,
       .attributes = {{.name = "alpha", .kind = kFloatAttribute, .until = kNewestOpset}},
       .upgrade = upgrade_swish,
       .infer = infer_float,
       .valid_from = 24},
      {.name = "Tan", .infer = infer_float},
      {.name = "Tanh", .infer = infer_float, .quant = kFunction, .lowering = kLowered},
      {.name = "ThresholdedRelu",
       .since = 10,
       .attributes = {{"alpha", kFloatAttribute}},
       .infer = infer_float},
  };
  return ops;
}

}  // namespace octet
