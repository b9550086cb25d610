// Sources: ONNX's operator pages for QLinearConv and QLinearMatMul; "Contrib Operators" of ONNX Runtime for
// the others.
#include "onnx/quantized_ops.h"

#include <algorithm>
#include <array>
#include <optional>

#include "ops/op_def.h"
#include "ops/support.h"

namespace octet {
namespace {

// The opset that the attributes of the plain operators are in: the last before lists became inputs.
constexpr int kOpset = 13;

class Expander {
 public:
  Expander(Graph& graph, NodeId id) : g_(graph), id_(id), node_(graph.node(id)) {}

  const Node& node() const { return node_; }
  bool has(size_t i) const { return i < node_.inputs.size() && node_.inputs[i] != kNoId; }
  ValueId input(size_t i) const { return has(i) ? node_.inputs[i] : kNoId; }

  void require_inputs(size_t low, size_t high) const {
    if (node_.inputs.size() < low || node_.inputs.size() > high)
      fail_node(g_, id_,
                fmt::format("{} inputs, expected {}", node_.inputs.size(),
                            low == high ? std::to_string(low) : fmt::format("{} to {}", low, high)));
    if (node_.outputs.size() != 1)
      fail_node(g_, id_, fmt::format("{} outputs, expected 1", node_.outputs.size()));
  }
  ValueId required(size_t i) const {
    if (!has(i)) fail_node(g_, id_, fmt::format("input {} is missing", i));
    return node_.inputs[i];
  }

  // The attributes but for those of the quantized form alone.
  Attributes attributes(std::initializer_list<std::string_view> dropped = {}) const {
    Attributes kept = node_.attributes;
    if (kept.get_int("channels_last", 0) != 0)
      fail_node(g_, id_,
                "attribute 'channels_last' is 1, supported is 0: save the model before it is optimized");
    kept.erase("channels_last");
    for (const std::string_view name : dropped) kept.erase(name);
    return kept;
  }

  // Inputs `data`, `data` + 1 and `data` + 2 are a tensor, its scale and its zero-point. `axis` counts where
  // the scale is no single number.
  ValueId dequantize(size_t data, int64_t axis = 1) {
    return dequantize(required(data), required(data + 1), input(data + 2), axis);
  }
  ValueId dequantize(ValueId data, ValueId scale, ValueId zero, int64_t axis) {
    Attributes attributes;
    if (!is_single(scale)) attributes.set("axis", axis);
    std::vector<ValueId> inputs{data, scale};
    if (zero != kNoId) inputs.push_back(spread(zero, scale));
    const std::string name = g_.value(data).name;
    return g_.add_op("DequantizeLinear", node_.name + "_DequantizeLinear", std::move(inputs),
                     name + "_dequantized", std::move(attributes));
  }

  // An int32 bias whose steps are those of the products, a_scale * b_scale * factor.
  ValueId dequantize_bias(size_t bias, size_t a_scale, size_t b_scale, float factor = 1) {
    const ValueId scale = product(required(a_scale), required(b_scale), factor);
    return dequantize(input(bias), scale, kNoId, 0);
  }

  ValueId product(ValueId a, ValueId b, float factor = 1) {
    const std::string name = node_.name + "_scale";
    if (g_.is_constant(a) && g_.is_constant(b)) {
      const Tensor &x = *g_.value(a).constant, &y = *g_.value(b).constant;
      if (!is_float(x.dtype()) || !is_float(y.dtype())) fail_node(g_, id_, "a scale is not a float");
      if (x.count() == 1 || y.count() == 1) {
        Tensor result(DType::kFloat32, x.count() == 1 ? y.shape() : x.shape());
        const std::vector<float> fx = to_float(x), fy = to_float(y);
        for (int64_t i = 0; i < result.count(); ++i)
          result.as<float>()[i] = factor * (fx[x.count() == 1 ? 0 : i] * fy[y.count() == 1 ? 0 : i]);
        return g_.add_constant(name, std::move(result));
      }
    }
    ValueId value = g_.add_op("Mul", name + "_Mul", {a, b}, name);
    if (factor != 1)
      value = g_.add_op("Mul", name + "_Mul", {value, g_.add_constant(name, Tensor::scalar(factor))}, name);
    return value;
  }

  // The plain operator, and behind it what makes the node's output: a QuantizeLinear with the parameters at
  // inputs `scale` and `scale` + 1.
  NodeId finish(std::string op, std::vector<ValueId> inputs, Attributes attributes, size_t scale) {
    const ValueId output = node_.outputs[0], y_scale = required(scale);
    const std::string name = node_.name, y_name = g_.value(output).name;
    const ValueId zero = has(scale + 1) ? input(scale + 1) : implied_zero();
    const ValueId real = g_.add_value(y_name + "_float");
    const std::vector<ValueId> q{real, y_scale, zero};
    g_.remove_node(id_);
    const NodeId made =
        g_.add_node(std::move(op), "", name, std::move(inputs), {real}, std::move(attributes));
    g_.add_node("QuantizeLinear", "", name + "_QuantizeLinear", q, {output});
    return made;
  }

  // Without a quantized output: a Cast-free float result, plus a bias.
  void finish_float(std::string op, std::vector<ValueId> inputs, Attributes attributes, ValueId bias) {
    const ValueId output = node_.outputs[0];
    const std::string name = node_.name;
    g_.remove_node(id_);
    if (bias == kNoId) {
      g_.add_node(std::move(op), "", name, std::move(inputs), {output}, std::move(attributes));
      return;
    }
    const ValueId sum = g_.add_op(std::move(op), name, std::move(inputs), g_.value(output).name + "_product",
                                  std::move(attributes));
    g_.add_node("Add", "", name + "_Add", {sum, bias}, {output});
  }

  // A * B where A is quantized as it comes.
  void dynamic_matmul() {
    require_inputs(3, 5);
    const ValueId a = required(0);
    const std::string stem = g_.value(a).name;
    const ValueId y = g_.add_value(stem + "_quantized"), scale = g_.add_value(stem + "_scale"),
                  zero = g_.add_value(stem + "_zero_point");
    g_.add_node("DynamicQuantizeLinear", "", stem + "_QuantizeLinear", {a}, {y, scale, zero});
    const ValueId x = dequantize(y, scale, zero, 1);
    const ValueId w = dequantize(required(1), required(2), input(3), -1);
    finish_float("MatMul", {x, w}, attributes(), input(4));
  }

 private:
  bool is_single(ValueId scale) const {
    if (const auto& constant = g_.value(scale).constant) return constant->count() == 1;
    return g_.value(scale).shape ? g_.value(scale).shape->empty() : true;
  }

  // One zero-point for many scales, once for each.
  ValueId spread(ValueId zero, ValueId scale) {
    if (!g_.is_constant(zero) || !g_.is_constant(scale)) return zero;
    const Tensor one = *g_.value(zero).constant;
    const Shape shape = g_.value(scale).constant->shape();
    if (one.count() != 1 || g_.value(scale).constant->count() == 1 || dtype_bits(one.dtype()) != 8)
      return zero;
    Tensor many(one.dtype(), shape);
    std::fill_n(static_cast<std::byte*>(many.raw()), many.count(), *static_cast<const std::byte*>(one.raw()));
    return g_.add_constant(g_.value(zero).name, std::move(many));
  }

  // A zero-point that is left out is 0 of the inputs' type; a QuantizeLinear without one would give uint8.
  ValueId implied_zero() {
    for (const ValueId v : node_.inputs)
      if (v != kNoId && g_.value(v).dtype == DType::kInt8 &&
          (!g_.is_constant(v) || g_.value(v).constant->count() == 1))
        return g_.add_constant(node_.name + "_zero_point", Tensor::scalar(int8_t{0}));
    return kNoId;
  }

  Graph& g_;
  NodeId id_;
  Node node_;
};

using Old = std::vector<OldNode>;

Old expand_conv(Expander& e) {
  e.require_inputs(8, 9);
  std::vector<ValueId> inputs{e.dequantize(0), e.dequantize(3, 0)};
  if (e.has(8)) inputs.push_back(e.dequantize_bias(8, 1, 4));
  e.finish("Conv", std::move(inputs), e.attributes(), 6);
  return {};
}

Old expand_matmul(Expander& e) {
  e.require_inputs(8, 8);
  const std::vector<ValueId> inputs{e.dequantize(0, -2), e.dequantize(3, -1)};
  e.finish("MatMul", inputs, e.attributes(), 6);
  return {};
}

Old expand_gemm(Expander& e) {
  e.require_inputs(6, 9);
  const Attributes attributes = e.attributes();
  const bool transposed = attributes.get_int("transB", 0) != 0;
  std::vector<ValueId> inputs{e.dequantize(0), e.dequantize(3, transposed ? 0 : 1)};
  if (e.has(6)) inputs.push_back(e.dequantize_bias(6, 1, 4, attributes.get_float("alpha", 1)));
  if (e.has(7))
    e.finish("Gemm", std::move(inputs), attributes, 7);
  else
    e.finish_float("Gemm", std::move(inputs), attributes, kNoId);
  return {};
}

Old expand_binary(Expander& e) {
  e.require_inputs(7, 8);
  const std::vector<ValueId> inputs{e.dequantize(0), e.dequantize(3)};
  e.finish(e.node().op.substr(7), inputs, e.attributes(), 6);
  return {};
}

Old expand_unary(Expander& e) {
  e.require_inputs(4, 5);
  const std::vector<ValueId> inputs{e.dequantize(0)};
  const NodeId made = e.finish(e.node().op.substr(7), inputs, e.attributes(), 3);
  return {{made, kOpset}};
}

// The meaning of the axis depends on the opset, which is an attribute.
Old expand_softmax(Expander& e) {
  e.require_inputs(4, 5);
  const int64_t opset =
      std::clamp<int64_t>(e.node().attributes.get_int("opset", kOpset), kOldestOpset, kNewestOpset);
  const std::vector<ValueId> inputs{e.dequantize(0)};
  const NodeId made = e.finish("Softmax", inputs, e.attributes({"opset"}), 3);
  return {{made, static_cast<int>(opset)}};
}

Old expand_concat(Expander& e) {
  const size_t count = e.node().inputs.size();
  if (count < 5 || (count - 2) % 3 == 1) e.require_inputs(5, 5);
  std::vector<ValueId> inputs;
  for (size_t i = 2; i < count; i += 3) inputs.push_back(e.dequantize(i));
  e.finish("Concat", std::move(inputs), e.attributes(), 0);
  return {};
}

Old expand_where(Expander& e) {
  e.require_inputs(8, 9);
  const std::vector<ValueId> inputs{e.required(0), e.dequantize(1), e.dequantize(4)};
  e.finish("Where", inputs, e.attributes(), 7);
  return {};
}

// Quantized factors, a float product: A, B, a_scale, b_scale, and of either kind a zero-point, then a bias.
Old expand_matmul_to_float(Expander& e) {
  e.require_inputs(4, 7);
  const std::vector<ValueId> inputs{e.dequantize(e.required(0), e.required(2), e.input(4), -2),
                                    e.dequantize(e.required(1), e.required(3), e.input(5), -1)};
  e.finish_float("MatMul", inputs, e.attributes(), e.input(6));
  return {};
}

Old expand_dynamic_matmul(Expander& e) {
  e.dynamic_matmul();
  return {};
}

struct Operator {
  std::string_view name, domain;
  Old (*expand)(Expander&);
};
constexpr std::array<Operator, 16> kOperators{{
    {"QLinearConv", "", expand_conv},
    {"QLinearMatMul", "", expand_matmul},
    {"QLinearConv", kMicrosoftDomain, expand_conv},
    {"QGemm", kMicrosoftDomain, expand_gemm},
    {"QLinearAdd", kMicrosoftDomain, expand_binary},
    {"QLinearMul", kMicrosoftDomain, expand_binary},
    {"QLinearConcat", kMicrosoftDomain, expand_concat},
    {"QLinearWhere", kMicrosoftDomain, expand_where},
    {"QLinearSoftmax", kMicrosoftDomain, expand_softmax},
    {"QLinearAveragePool", kMicrosoftDomain, expand_unary},
    {"QLinearGlobalAveragePool", kMicrosoftDomain, expand_unary},
    {"QLinearLeakyRelu", kMicrosoftDomain, expand_unary},
    {"QLinearReduceMean", kMicrosoftDomain, expand_unary},
    {"QLinearSigmoid", kMicrosoftDomain, expand_unary},
    {"MatMulIntegerToFloat", kMicrosoftDomain, expand_matmul_to_float},
    {"DynamicQuantizeMatMul", kMicrosoftDomain, expand_dynamic_matmul},
}};

const Operator* find(std::string_view op, std::string_view domain) {
  const auto found =
      std::ranges::find_if(kOperators, [&](const Operator& o) { return o.name == op && o.domain == domain; });
  return found == kOperators.end() ? nullptr : &*found;
}

}  // namespace

bool is_quantized_operator(std::string_view op, std::string_view domain) {
  return find(op, domain) != nullptr;
}

std::vector<OldNode> expand_quantized(Graph& graph, NodeId node) {
  Expander expander(graph, node);
  const Operator* found = find(graph.node(node).op, graph.node(node).domain);
  if (found == nullptr) fail_node(graph, node, "unknown operator");
  return found->expand(expander);
}

}  // namespace octet
