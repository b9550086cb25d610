// Operators on quantized tensors whose parameters are inputs. QLinearConv and QLinearMatMul with constant
// parameters become Q/DQ at import; here is what runs where only the data decide them.
#include "ops/window.h"

namespace octet {
namespace {

void require_bytes(const InferContext& context, size_t i) {
  const DType dtype = context.dtype(i);
  if (dtype != DType::kInt8 && dtype != DType::kUInt8)
    context.fail_here(fmt::format("input {} is {}, expected int8 or uint8", i, dtype_name(dtype)));
}

void infer_mat_mul_integer(InferContext& context) {
  require_bytes(context, 0);
  require_bytes(context, 1);
  context.set_output(0, DType::kInt32, matmul_shape(context, 0, 1));
}

void infer_conv_integer(InferContext& context) {
  require_bytes(context, 0);
  require_bytes(context, 1);
  context.set_output(0, DType::kInt32, conv_shape(context, 0, 1));
}

void require_parameters(const InferContext& context) {
  for (const size_t i : {0, 3, 7}) require_bytes(context, i);
  for (const size_t i : {1, 4, 6}) require_float(context, i);
  require_same_dtype(context, 0, 2);
  require_same_dtype(context, 3, 5);
}

void infer_qlinear_mat_mul(InferContext& context) {
  require_parameters(context);
  context.set_output(0, context.dtype(7), matmul_shape(context, 0, 3));
}

void infer_qlinear_conv(InferContext& context) {
  require_parameters(context);
  if (context.has_input(8) && context.dtype(8) != DType::kInt32) context.fail_here("the bias is not int32");
  context.set_output(0, context.dtype(7), conv_shape(context, 0, 3));
}

void infer_dynamic_quantize(InferContext& context) {
  if (context.dtype(0) != DType::kFloat32) context.fail_here("the input is not float32");
  context.set_output(0, DType::kUInt8, context.shape(0));
  context.set_output(1, DType::kFloat32, {});
  context.set_output(2, DType::kUInt8, {});
}

void upgrade_conv(Graph& graph, NodeId id, int) {
  upgrade_window(graph, id);
}

OpDef conv(std::string_view name, int low, int high, void (*infer)(InferContext&)) {
  OpDef def{.name = name,
            .since = 10,
            .min_inputs = low,
            .max_inputs = high,
            .attributes = window_attributes(false, 1),
            .upgrade = upgrade_conv,
            .infer = infer};
  def.attributes.push_back({.name = "group", .low = 1, .high = 1 << 24});
  return def;
}

}  // namespace

std::span<const OpDef> integer_ops() {
  static const std::vector<OpDef> ops{
      conv("ConvInteger", 2, 4, infer_conv_integer),
      {.name = "DynamicQuantizeLinear",
       .since = 11,
       .min_outputs = 3,
       .max_outputs = 3,
       .infer = infer_dynamic_quantize},
      {.name = "MatMulInteger",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 4,
       .infer = infer_mat_mul_integer},
      conv("QLinearConv", 8, 9, infer_qlinear_conv),
      {.name = "QLinearMatMul",
       .since = 10,
       .min_inputs = 8,
       .max_inputs = 8,
       .infer = infer_qlinear_mat_mul},
  };
  return ops;
}

}  // namespace octet
