#include "passes/qdq.h"

namespace octet {
namespace {

Attributes axis_of(const QuantParams& params) {
  Attributes attributes;
  if (params.per_channel()) attributes.set("axis", int64_t{params.axis});
  return attributes;
}

// The name that `stored` was made from.
std::string plain_name(const std::string& stored) {
  constexpr std::string_view kSuffix = "_quantized";
  return stored.ends_with(kSuffix) ? stored.substr(0, stored.size() - kSuffix.size()) : stored;
}

}  // namespace

Tensor scale_tensor(const QuantParams& q) {
  return Tensor::of<float>(q.per_channel() ? Shape{static_cast<int64_t>(q.scale.size())} : Shape{},
                           std::span<const float>(q.scale));
}

Tensor zero_tensor(const QuantParams& q) {
  Tensor t(q.dtype, q.per_channel() ? Shape{static_cast<int64_t>(q.zero_point.size())} : Shape{});
  for (size_t i = 0; i < q.zero_point.size(); ++i) {
    if (q.dtype == DType::kUInt8) t.as<uint8_t>()[i] = static_cast<uint8_t>(q.zero_point[i]);
    if (q.dtype == DType::kInt8) t.as<int8_t>()[i] = static_cast<int8_t>(q.zero_point[i]);
    if (q.dtype == DType::kInt32) t.as<int32_t>()[i] = q.zero_point[i];
  }
  return t;
}

ValueId add_quantize(Graph& graph, ValueId value, const QuantParams& q) {
  const std::string name = graph.value(value).name;
  const ValueId scale = graph.add_constant(name + "_scale", scale_tensor(q));
  const ValueId zero = graph.add_constant(name + "_zero_point", zero_tensor(q));
  const ValueId stored = graph.add_op("QuantizeLinear", name + "_QuantizeLinear", {value, scale, zero},
                                      name + "_quantized", axis_of(q));
  graph.value(stored).dtype = q.dtype;
  graph.value(stored).shape = graph.value(value).shape;
  return stored;
}

ValueId add_dequantize(Graph& graph, ValueId stored, const QuantParams& q) {
  const std::string name = plain_name(graph.value(stored).name);
  // Those of the QuantizeLinear, where there is one.
  const Node* quantize = graph.producer(stored);
  const bool shared = quantize != nullptr && quantize->is("QuantizeLinear") && quantize->inputs.size() == 3;
  const ValueId scale = shared ? quantize->inputs[1] : graph.add_constant(name + "_scale", scale_tensor(q));
  const ValueId zero =
      shared ? quantize->inputs[2] : graph.add_constant(name + "_zero_point", zero_tensor(q));
  const ValueId real = graph.add_op("DequantizeLinear", name + "_DequantizeLinear", {stored, scale, zero},
                                    name + "_dequantized", axis_of(q));
  graph.value(real).dtype = DType::kFloat32;
  graph.value(real).shape = graph.value(stored).shape;
  return real;
}

}  // namespace octet
