// Constant, ConstantOfShape
#include "ops/support.h"

namespace octet {
namespace {

std::optional<Tensor> constant_value(const Attributes& attributes) {
  if (const Attribute* value = attributes.find("value")) return std::get<Tensor>(*value);
  if (attributes.has("value_float")) return Tensor::scalar(attributes.get_float("value_float", 0));
  if (attributes.has("value_int")) return Tensor::scalar(attributes.get_int("value_int", 0));
  if (attributes.has("value_floats")) {
    const std::vector<float> values = attributes.get_floats("value_floats");
    return Tensor::of<float>({static_cast<int64_t>(values.size())}, std::span<const float>(values));
  }
  if (attributes.has("value_ints")) {
    const std::vector<int64_t> values = attributes.get_ints("value_ints");
    return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values));
  }
  return std::nullopt;
}

// Becomes a constant of the graph.
void upgrade(Graph& graph, NodeId id, int) {
  const Node& node = graph.node(id);
  const std::optional<Tensor> tensor = constant_value(node.attributes);
  if (!tensor) fail_node(graph, id, "it has no value");
  const ValueId output = node.outputs.at(0);
  graph.remove_node(id);
  if (output == kNoId) return;
  Value& value = graph.value(output);
  value.dtype = tensor->dtype();
  value.shape = Dims(tensor->shape().begin(), tensor->shape().end());
  value.constant = *tensor;
}

void infer_of_shape(InferContext& context) {
  const Attribute* attribute = context.attributes().find("value");
  const Tensor* fill = attribute != nullptr ? std::get_if<Tensor>(attribute) : nullptr;
  if (fill != nullptr && fill->count() != 1) context.fail_here("the attribute 'value' has not one element");
  const DType dtype = fill != nullptr ? fill->dtype() : DType::kFloat32;
  const std::optional<Dims> shape = context.integers(0);
  context.set_output_dtype(0, dtype);
  if (!shape) {
    if (const Dims& length = context.shape(0);
        length.size() == 1 && length[0].known() && length[0].value() <= 32)
      context.set_output_at_run(0, dtype,
                                std::vector<std::optional<Dim>>(static_cast<size_t>(length[0].value())));
    return;
  }
  context.set_output(0, dtype, *shape);
  if (shape->size() > 1 || !all_known(*shape) || !is_integer(dtype) || dtype_bits(dtype) < 8) return;
  const int64_t count = product(*shape).value();
  if (count > 1024) return;
  const int64_t value = fill != nullptr ? to_int64(*fill)[0] : 0;
  context.set_integers(0, Dims(static_cast<size_t>(count), Dim(value)));
}

}  // namespace

std::span<const OpDef> constant_ops() {
  using enum AttributeKind;
  static const OpDef ops[] = {
      {.name = "Constant",
       .min_inputs = 0,
       .max_inputs = 0,
       .attributes = {{.name = "value", .kind = kTensor, .until = kNewestOpset},
                      {.name = "value_float", .kind = kFloat, .since = 12, .until = kNewestOpset},
                      {.name = "value_floats", .kind = kFloats, .since = 12, .until = kNewestOpset},
                      {.name = "value_int", .kind = kInt, .since = 12, .until = kNewestOpset},
                      {.name = "value_ints", .kind = kInts, .since = 12, .until = kNewestOpset}},
       .upgrade = upgrade},
      {.name = "ConstantOfShape",
       .since = 9,
       .attributes = {{.name = "value", .kind = kTensor}},
       .infer = infer_of_shape},
  };
  return ops;
}

}  // namespace octet
