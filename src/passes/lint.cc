#include "passes/lint.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "passes/qdq.h"
#include "passes/quantize.h"

namespace octet {
namespace {

bool is_qdq(const Node& node) {
  return node.is("QuantizeLinear") || node.is("DequantizeLinear");
}

bool is_layer(const Node& node) {
  return node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul");
}

// Axis of the output channels in a layer's weights.
int64_t channel_axis(const Graph& graph, const Node& layer) {
  if (layer.is("ConvTranspose")) return 1;
  if (layer.is("Gemm")) return layer.attributes.get_int("transB", 0) != 0 ? 0 : 1;
  if (layer.is("Conv")) return 0;
  return graph.value(layer.inputs[1]).shape
             ? static_cast<int64_t>(graph.value(layer.inputs[1]).shape->size()) - 1
             : 1;
}

ValueId input_of(const Node& node, size_t i) {
  return node.inputs.size() > i ? node.inputs[i] : kNoId;
}

// The DequantizeLinear behind a value, if there is one.
const Node* dequantize_of(const Graph& graph, ValueId value) {
  const Node* node = value == kNoId ? nullptr : graph.producer(value);
  return node != nullptr && node->is("DequantizeLinear") ? node : nullptr;
}

bool on_constant(const Graph& graph, const Node& node) {
  return node.is("DequantizeLinear") && graph.is_constant(node.inputs[0]);
}

DType stored_type(const Graph& graph, const Node& node) {
  if (const ValueId zero = input_of(node, 2); zero != kNoId)
    return graph.value(zero).dtype.value_or(DType::kUInt8);
  if (node.is("DequantizeLinear")) return graph.value(node.inputs[0]).dtype.value_or(DType::kUInt8);
  return DType::kUInt8;
}

const std::optional<Tensor>& scale_of(const Graph& graph, const Node& node) {
  return graph.value(node.inputs[1]).constant;
}

std::vector<int64_t> zeros_of(const Graph& graph, const Node& node) {
  const ValueId zero = input_of(node, 2);
  if (zero == kNoId || !graph.is_constant(zero) || dtype_bits(graph.value(zero).constant->dtype()) == 4)
    return {0};
  return to_int64(*graph.value(zero).constant);
}

bool per_channel(const Graph& graph, const Node& node) {
  return scale_of(graph, node) && scale_of(graph, node)->count() > 1;
}

bool symmetric(const Graph& graph, const Node& node) {
  return std::ranges::all_of(zeros_of(graph, node), [](int64_t z) { return z == 0; });
}

std::vector<float> scales(const Graph& graph, const Node& node) {
  const auto& scale = scale_of(graph, node);
  return scale && scale->dtype() == DType::kFloat32 ? to_float(*scale) : std::vector<float>{};
}

// x * w by output channel, as an int32 bias has it; empty where they are not known.
std::vector<float> bias_scales(const Graph& graph, const Node& layer) {
  const Node *x = dequantize_of(graph, input_of(layer, 0)), *w = dequantize_of(graph, input_of(layer, 1));
  if (x == nullptr || w == nullptr) return {};
  const std::vector<float> sx = scales(graph, *x);
  std::vector<float> result = scales(graph, *w);
  if (sx.size() != 1) return {};
  for (float& s : result) s *= sx[0];
  return result;
}

bool same_scales(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.empty() || b.empty() || (a.size() != b.size() && a.size() != 1 && b.size() != 1)) return false;
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const float x = a[a.size() == 1 ? 0 : i], y = b[b.size() == 1 ? 0 : i];
    if (!(std::fabs(x - y) <= 1e-5f * std::fabs(y))) return false;
  }
  return true;
}

class Linter {
 public:
  Linter(const Graph& graph, LintTarget target) : graph_(graph), target_(target) {}

  std::vector<LintFinding> run() {
    for (const NodeId id : graph_.sorted()) {
      const Node& node = graph_.node(id);
      if (is_qdq(node)) check_pair(node);
      if (is_layer(node)) check_layer(node);
    }
    return std::move(found_);
  }

 private:
  void add(const Node& node, const char* rule, std::string text, bool fixable) {
    found_.push_back({node.name, rule, std::move(text), fixable});
  }

  void check_pair(const Node& node) {
    const bool tensorrt = target_ == LintTarget::kTensorRt;
    const DType type = stored_type(graph_, node);
    const bool constant = on_constant(graph_, node);
    if (!scale_of(graph_, node)) {
      add(node, "computed-scale", "its scale is computed at run time: rejected", false);
      return;
    }
    if (tensorrt && constant && type == DType::kInt32) {
      add(node, "int32-bias", "a bias of int32 is rejected: it has to be float", true);
      return;
    }
    if (tensorrt && type == DType::kUInt8)
      add(node, "uint8", "uint8 is rejected: 8-bit tensors are int8", true);
    else if (type != DType::kInt8 && type != DType::kUInt8 && type != DType::kInt32 && type != DType::kInt4)
      add(node, "type", fmt::format("{} is rejected: expected int8", dtype_name(type)), false);
    if (tensorrt && !symmetric(graph_, node) && type != DType::kUInt8)
      add(node, "zero-point", "its zero-point is not 0: rejected", true);
    if (!constant && per_channel(graph_, node))
      add(node, "activation-axis",
          target_ == LintTarget::kOpenVino
              ? "an activation with a scale per channel: what reads it runs in float"
              : "an activation with a scale per channel is not fused",
          true);
    if (node.is("DequantizeLinear") && !constant)
      if (const Node* q = graph_.producer(node.inputs[0]);
          q != nullptr && q->is("QuantizeLinear") && stored_type(graph_, *q) != type)
        add(node, "zero-point-type",
            fmt::format("its type {} is not the {} of its QuantizeLinear", dtype_name(type),
                        dtype_name(stored_type(graph_, *q))),
            false);
  }

  void check_layer(const Node& layer) {
    const Node *x = dequantize_of(graph_, input_of(layer, 0)), *w = dequantize_of(graph_, input_of(layer, 1));
    if (w == nullptr) return;
    const bool ort = target_ == LintTarget::kOnnxRuntime;
    if (on_constant(graph_, *w) && per_channel(graph_, *w)) {
      const int64_t rank = graph_.value(w->inputs[0]).constant->rank();
      int64_t axis = w->attributes.get_int("axis", 1);
      if (axis < 0) axis += rank;
      if (axis != channel_axis(graph_, layer))
        add(*w, "weight-axis",
            fmt::format("the weights of '{}' have scales along axis {}, their output channels are axis {}",
                        layer.name, axis, channel_axis(graph_, layer)),
            true);
    }
    if (target_ == LintTarget::kOpenVino && on_constant(graph_, *w) && !symmetric(graph_, *w))
      add(*w, "weight-zero-point",
          fmt::format("the weights of '{}' have a zero-point: it runs in float", layer.name), true);
    if (x == nullptr) {
      add(layer, "float-input", "its weights are quantized and its input is not: it runs in float", false);
      return;
    }
    if (!ort) return;
    if (stored_type(graph_, *x) == DType::kInt8 && stored_type(graph_, *w) == DType::kUInt8)
      add(*w, "weight-type", fmt::format("'{}' has an int8 input and uint8 weights: not fused", layer.name),
          true);
    const ValueId bias = input_of(layer, 2);
    if (layer.is("MatMul") || bias == kNoId) return;
    const std::vector<float> wanted = bias_scales(graph_, layer);
    const Node* b = dequantize_of(graph_, bias);
    if (b == nullptr)
      add(layer, "float-bias", "its bias is float: not fused",
          graph_.is_constant(bias) && !wanted.empty() && graph_.value(bias).dtype == DType::kFloat32);
    else if (stored_type(graph_, *b) != DType::kInt32 || !same_scales(scales(graph_, *b), wanted))
      add(*b, "bias-scale",
          fmt::format("the bias of '{}' is not int32 in steps of input scale * weight scale: refused",
                      layer.name),
          !wanted.empty() && graph_.is_constant(b->inputs[0]));
  }

  const Graph& graph_;
  LintTarget target_;
  std::vector<LintFinding> found_;
};

class Fixer {
 public:
  Fixer(Graph& graph, LintTarget target) : graph_(graph), target_(target) {}

  void run() {
    for (const NodeId id : graph_.sorted()) {
      const Node node = graph_.node(id);
      if (is_layer(node)) fix_weights(id);
    }
    for (const NodeId id : graph_.sorted()) {
      const Node node = graph_.node(id);
      if (node.is("QuantizeLinear")) fix_activation(id);
      if (on_constant(graph_, node) && target_ == LintTarget::kTensorRt) fix_constant(id);
    }
    for (const NodeId id : graph_.sorted())
      if (is_layer(graph_.node(id)) && target_ == LintTarget::kOnnxRuntime) fix_bias(id);
    graph_.prune();
  }

 private:
  // Another constant instead of what the DequantizeLinear `id` makes, for all or for one reader.
  void replace(NodeId id, const Tensor& real, int axis) {
    const Node node = graph_.node(id);
    QuantizedWeights q = quantize_weights(real, axis);
    const std::string name = graph_.value(node.inputs[0]).name;
    const ValueId made =
        add_dequantize(graph_, graph_.add_constant(name + "_int8", std::move(q.values)), q.params);
    graph_.replace_uses(node.outputs[0], made, /*outputs_too=*/false);
  }

  void fix_weights(NodeId id) {
    const Node layer = graph_.node(id);
    const Node *w = dequantize_of(graph_, input_of(layer, 1)), *x = dequantize_of(graph_, input_of(layer, 0));
    if (w == nullptr || !on_constant(graph_, *w) || !scale_of(graph_, *w)) return;
    const bool channels = per_channel(graph_, *w);
    const int64_t rank = graph_.value(w->inputs[0]).constant->rank();
    int64_t axis = w->attributes.get_int("axis", 1);
    if (axis < 0) axis += rank;
    const bool wrong_axis = channels && axis != channel_axis(graph_, layer);
    const DType type = stored_type(graph_, *w);
    const bool tensorrt = target_ == LintTarget::kTensorRt;
    const bool wrong_type =
        target_ == LintTarget::kOpenVino ? !symmetric(graph_, *w)
        : tensorrt ? type == DType::kUInt8 || (type == DType::kInt8 && !symmetric(graph_, *w))
                   : x != nullptr && type == DType::kUInt8 && stored_type(graph_, *x) == DType::kInt8;
    if (!wrong_axis && !wrong_type) return;
    if (auto real = dequantized_constant(graph_, *w))
      replace(graph_.value(layer.inputs[1]).producer, *real,
              channels ? static_cast<int>(channel_axis(graph_, layer)) : -1);
  }

  // Constants that are no layer's weights: biases to float, others to int8.
  void fix_constant(NodeId id) {
    const Node node = graph_.node(id);
    const DType type = stored_type(graph_, node);
    if (graph_.consumers(node.outputs[0]).empty()) return;
    if (type != DType::kInt32 && type != DType::kUInt8 && symmetric(graph_, node)) return;
    auto real = dequantized_constant(graph_, node);
    if (!real) return;
    if (type == DType::kInt32) {
      const std::string name = graph_.value(node.inputs[0]).name;
      graph_.replace_uses(node.outputs[0], graph_.add_constant(name + "_float", std::move(*real)),
                          /*outputs_too=*/false);
      return;
    }
    const int64_t axis = node.attributes.get_int("axis", 1);
    replace(id, *real,
            per_channel(graph_, node) ? static_cast<int>(axis < 0 ? axis + real->rank() : axis) : -1);
  }

  void fix_activation(NodeId id) {
    const Node node = graph_.node(id);
    const std::vector<float> s = scales(graph_, node);
    const std::vector<int64_t> z = zeros_of(graph_, node);
    const DType type = stored_type(graph_, node);
    if (s.empty() || (type != DType::kInt8 && type != DType::kUInt8)) return;
    const bool tensorrt = target_ == LintTarget::kTensorRt;
    const bool asymmetric = type == DType::kUInt8 || !symmetric(graph_, node);
    if (!(s.size() > 1 || (tensorrt && asymmetric))) return;
    for (const NodeId reader : graph_.consumers(node.outputs[0]))
      if (!graph_.node(reader).is("DequantizeLinear")) return;
    const IntLimits limits = int_limits(type);
    Range all;
    for (size_t c = 0; c < s.size(); ++c) {
      const auto zero = static_cast<float>(z[z.size() == 1 ? 0 : c]);
      all.low = std::min(all.low, (static_cast<float>(limits.low) - zero) * s[c]);
      all.high = std::max(all.high, (static_cast<float>(limits.high) - zero) * s[c]);
    }
    QuantParams q = tensorrt ? symmetric_params(all, DType::kInt8) : affine_params(all, type);
    if (tensorrt && s.size() == 1 && type == DType::kUInt8 && z[0] == 128) q.scale[0] = s[0];
    const ValueId stored = add_quantize(graph_, node.inputs[0], q);
    for (const NodeId reader : std::vector<NodeId>(graph_.consumers(node.outputs[0]))) {
      const Node quantize = graph_.node(graph_.value(stored).producer);
      for (size_t i = 0; i < 3; ++i) {
        const ValueId value = i == 0 ? stored : quantize.inputs[i];
        if (graph_.node(reader).inputs.size() > i)
          graph_.set_input(reader, i, value);
        else
          graph_.append_input(reader, value);
      }
      graph_.node(reader).attributes.erase("axis");
    }
  }

  void fix_bias(NodeId id) {
    const Node layer = graph_.node(id);
    const ValueId bias = input_of(layer, 2);
    const std::vector<float> wanted = bias_scales(graph_, layer);
    if (layer.is("MatMul") || bias == kNoId || wanted.empty()) return;
    const Node* b = dequantize_of(graph_, bias);
    if (b != nullptr && stored_type(graph_, *b) == DType::kInt32 && same_scales(scales(graph_, *b), wanted))
      return;
    std::optional<Tensor> real =
        b != nullptr ? dequantized_constant(graph_, *b) : graph_.value(bias).constant;
    if (!real || real->dtype() != DType::kFloat32 || real->rank() != 1 ||
        (wanted.size() != 1 && real->count() != static_cast<int64_t>(wanted.size())))
      return;
    Tensor steps(DType::kInt32, real->shape());
    for (size_t i = 0; i < real->as<float>().size(); ++i) {
      const double step =
          std::nearbyint(static_cast<double>(real->as<float>()[i]) / wanted[wanted.size() == 1 ? 0 : i]);
      steps.as<int32_t>()[i] =
          std::isfinite(step) ? static_cast<int32_t>(std::clamp(step, -2147483648.0, 2147483647.0)) : 0;
    }
    const QuantParams q{DType::kInt32, wanted.size() > 1 ? 0 : -1, wanted,
                        std::vector<int32_t>(wanted.size(), 0)};
    const std::string name = graph_.value(bias).name;
    graph_.set_input(id, 2,
                     add_dequantize(graph_, graph_.add_constant(name + "_int32", std::move(steps)), q));
  }

  Graph& graph_;
  LintTarget target_;
};

}  // namespace

LintTarget parse_lint_target(std::string_view name) {
  if (name == "tensorrt") return LintTarget::kTensorRt;
  if (name == "onnxruntime") return LintTarget::kOnnxRuntime;
  if (name == "openvino") return LintTarget::kOpenVino;
  fail(ErrorCode::kInvalidArgument,
       "no rules for the target '{}': expected tensorrt, onnxruntime or openvino", name);
}

std::vector<LintFinding> lint_qdq(const Graph& graph, LintTarget target) {
  return Linter(graph, target).run();
}

void fix_qdq(Graph& graph, LintTarget target) {
  Fixer(graph, target).run();
}

}  // namespace octet
