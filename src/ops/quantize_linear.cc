// QuantizeLinear, DequantizeLinear: per tensor, per channel of `axis`, or per block of `block_size` along it.
#include <cmath>

#include "ops/support.h"

namespace octet {
namespace {

void upgrade(Graph& graph, NodeId id, int) {
  Attributes& attributes = graph.node(id).attributes;
  attributes.erase("saturate");  // of 8-bit floats
  attributes.erase("precision");
  for (const auto* name : {"block_size", "output_dtype"})
    if (attributes.get_int(name, 0) == 0) attributes.erase(name);
}

void check_scale(const InferContext& context, const Tensor& scale) {
  for (const float value : to_float(scale))
    if (!(value > 0) || !std::isfinite(value))
      context.fail_here(fmt::format("a scale is {}, expected a positive number", value));
}

// The shapes of scale and zero-point, and the scale's values where they are known.
void check_parameters(const InferContext& context) {
  const Dims& x = context.shape(0);
  const Dims& scale = context.shape(1);
  if (!is_float(context.dtype(1))) context.fail_here("the scale is not a float");
  if (const Tensor* constant = context.constant(1)) check_scale(context, *constant);
  if (context.has_input(2) && context.has_shape(2)) {
    const Dims& zero = context.shape(2);
    bool same = zero.size() == scale.size();
    for (size_t i = 0; same && i < zero.size(); ++i) same = equal(zero[i], scale[i]) != false;
    // One element as a scalar or as a list of one.
    if (!same && !(all_known(zero) && all_known(scale) && product(zero) == product(scale)))
      context.fail_here(
          fmt::format("the scale has shape {}, the zero-point {}", to_string(scale), to_string(zero)));
  }
  if (scale.empty() ||
      (scale.size() == 1 && equal(scale[0], 1) == true && !context.attributes().has("block_size")))
    return;
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", 1), x.size());
  const int64_t block = context.attributes().get_int("block_size", 0);
  if (block == 0) {
    if (scale.size() != 1 || equal(scale[0], x[axis]) == false)
      context.fail_here(fmt::format("the scale has shape {}, axis {} of the input {}", to_string(scale), axis,
                                    x[axis].text()));
    return;
  }
  require_rank(context, 1, x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const Dim wanted = i == axis ? ceil_div(x[i], Dim(block)) : x[i];
    if (equal(scale[i], wanted) == false)
      context.fail_here(fmt::format("the scale has shape {} for blocks of {} along axis {} of {}",
                                    to_string(scale), block, axis, to_string(x)));
  }
}

void infer_quantize(InferContext& context) {
  DType dtype = DType::kUInt8;
  const int64_t code = context.attributes().get_int("output_dtype", 0);
  if (code != 0) {
    const std::optional<DType> wanted = dtype_from_onnx(code);
    if (!wanted) context.fail_here(fmt::format("element type {} of ONNX is not supported", code));
    dtype = *wanted;
  }
  if (context.has_input(2)) {
    if (code != 0 && context.dtype(2) != dtype)
      context.fail_here("output_dtype differs from the zero-point's");
    dtype = context.dtype(2);
  }
  if (!is_integer(dtype) || dtype_bits(dtype) > 16)
    context.fail_here(fmt::format("an output of {}", dtype_name(dtype)));
  if (context.dtype(0) != DType::kInt32) require_float(context, 0);
  check_parameters(context);
  context.set_output(0, dtype, context.shape(0));
}

void infer_dequantize(InferContext& context) {
  const DType from = context.dtype(0);
  if (!is_integer(from) || dtype_bits(from) > 32 || from == DType::kUInt32)
    context.fail_here(fmt::format("an input of {}", dtype_name(from)));
  if (context.has_input(2)) require_same_dtype(context, 0, 2);
  check_parameters(context);
  DType to = context.dtype(1);
  if (const int64_t code = context.attributes().get_int("output_dtype", 0); code != 0) {
    const std::optional<DType> wanted = dtype_from_onnx(code);
    if (!wanted || !is_float(*wanted)) context.fail_here(fmt::format("output_dtype {}", code));
    to = *wanted;
  }
  context.set_output(0, to, context.shape(0));
}

// 16 and 4 bits, and blocks, came with opset 21; scales of 16-bit floats with 19.
int opset(const Graph& graph, const Node& node) {
  int lowest = 13;
  const ValueId integers = node.op == "QuantizeLinear" ? node.outputs.at(0) : node.inputs.at(0);
  const auto dtype = graph.value(integers).dtype;
  if (dtype && (dtype_bits(*dtype) == 16 || dtype_bits(*dtype) == 4)) lowest = 21;
  const auto scale = graph.value(node.inputs.at(1)).dtype;
  if (scale && *scale != DType::kFloat32) lowest = std::max(lowest, 19);
  return lowest;
}

}  // namespace

std::span<const OpDef> quantize_linear_ops() {
  const auto define = [](std::string_view name, auto infer, Lowering lowering, int output_dtype_since) {
    return OpDef{
        .name = name,
        .since = 10,
        .min_inputs = 2,
        .max_inputs = 3,
        .attributes = {{.name = "axis", .since = 13},
                       {.name = "block_size", .low = 0, .high = 1 << 30, .since = 21},
                       {.name = "output_dtype", .since = output_dtype_since},
                       {.name = "precision", .since = 23, .until = kNewestOpset},
                       {.name = "saturate", .low = 0, .high = 1, .since = 19, .until = kNewestOpset}},
        .upgrade = upgrade,
        .infer = infer,
        .lowering = lowering,
        .export_opset = opset};
  };
  static const OpDef ops[] = {
      define("DequantizeLinear", infer_dequantize, Lowering::kDequantize, 23),
      define("QuantizeLinear", infer_quantize, Lowering::kQuantize, 21),
  };
  return ops;
}

}  // namespace octet
