#include "ops/support.h"

namespace octet {
namespace {

// saturate and round_mode are about 8-bit floats alone.
void upgrade(Graph& graph, NodeId id, int) {
  drop_attribute(graph, id, "saturate");
  drop_attribute(graph, id, "round_mode");
}

void infer(InferContext& context) {
  const int64_t code = context.attributes().get_int("to", 0);
  const std::optional<DType> to = dtype_from_onnx(code);
  if (!to) context.fail_here(fmt::format("element type {} of ONNX is not supported", code));
  context.set_output(0, *to, context.shape(0));
  // Where the elements are integers, every number type keeps them.
  if (auto values = context.integers(0); values && *to != DType::kBool && dtype_bits(*to) >= 32)
    context.set_integers(0, *values);
}

void infer_like(InferContext& context) {
  context.set_output(0, context.dtype(1), context.shape(0));
}

int opset(const Graph&, const Node& node) {
  const auto to = dtype_from_onnx(node.attributes.get_int("to", 0));
  return to && dtype_bits(*to) == 4 ? 21 : 13;
}

}  // namespace

std::span<const OpDef> cast_ops() {
  static const OpDef ops[] = {
      {.name = "Cast",
       .attributes =
           {{.name = "to", .required = true},
            {.name = "round_mode", .kind = AttributeKind::kString, .since = 24, .until = kNewestOpset},
            {.name = "saturate", .low = 0, .high = 1, .since = 19, .until = kNewestOpset}},
       .upgrade = upgrade,
       .infer = infer,
       .export_opset = opset},
      {.name = "CastLike",
       .since = 15,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes =
           {{.name = "round_mode", .kind = AttributeKind::kString, .since = 24, .until = kNewestOpset},
            {.name = "saturate", .low = 0, .high = 1, .since = 19, .until = kNewestOpset}},
       .upgrade = upgrade,
       .infer = infer_like,
       .valid_from = 15},
  };
  return ops;
}

}  // namespace octet
