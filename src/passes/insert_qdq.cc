#include <algorithm>
#include <cmath>
#include <set>

#include "passes/groups.h"
#include "passes/quantize.h"
#include "quant/round.h"

namespace octet {
namespace {

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

class Inserter {
 public:
  Inserter(Graph& graph, const Placement& placement, const QuantizeOptions& options, const RangeOf& range_of)
      : graph_(graph),
        placement_(placement),
        options_(options),
        target_(options.target ? *options.target : find_target("octet")),
        range_of_(range_of) {}

  std::vector<QuantizedLayer> run() {
    const std::vector<QuantizedLayer> layers = describe();
    choose_params();
    for (NodeId root : placement_.weighted) quantize_weighted(root);
    for (const auto& [value, group] : placement_.group_of) insert(value, params_[group]);
    graph_.prune();
    return layers;
  }

 private:
  std::vector<QuantizedLayer> describe() const {
    std::vector<QuantizedLayer> layers;
    const NodeGroups groups(graph_);
    for (NodeId id : graph_.sorted()) {
      const NodeGroup* group = groups.find(id);
      if (group && group->root != id) continue;
      const Node& node = graph_.node(id);
      const ValueId out = group ? group->output : (node.outputs.empty() ? kNoId : node.outputs[0]);
      const bool weighted =
          std::find(placement_.weighted.begin(), placement_.weighted.end(), id) != placement_.weighted.end();
      const bool eight_bits =
          weighted || (!node.inputs.empty() && placement_.group_of.count(node.inputs[0]) &&
                       placement_.group_of.count(out));
      if (eight_bits) layers.push_back({node.name, node.op, graph_.value(out).name});
    }
    return layers;
  }

  void choose_params() {
    std::string missing;
    for (const auto& members : placement_.groups) {
      std::optional<Range> all;
      for (ValueId v : members) {
        const auto range = range_of_(graph_.value(v).name);
        if (!range) {
          missing += (missing.empty() ? "'" : ", '") + graph_.value(v).name + "'";
          continue;
        }
        all = all ? Range{std::min(all->low, range->low), std::max(all->high, range->high)} : *range;
      }
      const Range range = all.value_or(Range{});
      params_.push_back(target_.symmetric ? symmetric_params(range, target_.activation)
                                          : affine_params(range, target_.activation));
    }
    if (!missing.empty())
      fail(ErrorCode::kInvalidArgument,
           "the calibration table has no range for {}: calibrate this model again", missing);
  }

  void quantize_weighted(NodeId id) {
    const Node node = graph_.node(id);
    const ValueId weight = node.inputs[1];
    const int axis = options_.weights_per_tensor ? -1 : weight_axis(graph_, node);
    const std::string name = graph_.value(weight).name;
    const auto bias = integer_bias(node);
    QuantizedWeights q = quantize_weights(*graph_.value(weight).constant, axis,
                                          bias ? bias->smallest_scales(axis) : std::vector<float>{});
    graph_.set_input(id, 1, dequantized(name, std::move(q.values), q.params));
    if (bias) quantize_bias(id, *bias, q.params);
  }

  // A bias that becomes int32 steps of x_scale * w_scale.
  struct IntegerBias {
    static constexpr double kMaxSteps = 1 << 30;  // the other half of int32 is for the products
    float x_scale;
    std::vector<float> values;

    // Weight scales below which the steps would exceed that range: channels whose weights are next to
    // nothing.
    std::vector<float> smallest_scales(int axis) const {
      std::vector<float> scales;
      for (float v : values) scales.push_back(static_cast<float>(std::abs(v) / (x_scale * kMaxSteps)));
      if (axis < 0 && !scales.empty()) scales = {*std::max_element(scales.begin(), scales.end())};
      return scales;
    }
  };

  std::optional<IntegerBias> integer_bias(const Node& node) const {
    if (!target_.integer_bias || node.inputs.size() < 3 || node.inputs[2] == kNoId) return {};
    const auto group = placement_.group_of.find(node.inputs[0]);
    if (!graph_.is_constant(node.inputs[2]) || group == placement_.group_of.end()) return {};
    const Tensor& bias = *graph_.value(node.inputs[2]).constant;
    const int64_t channels = graph_.value(node.inputs[1]).constant->shape().at(weight_axis(graph_, node));
    if (bias.shape() != Shape{channels}) return {};
    return IntegerBias{params_[group->second].scale[0], to_float(bias)};
  }

  void quantize_bias(NodeId id, const IntegerBias& bias, const QuantParams& weights) {
    QuantParams q{DType::kInt32, weights.per_channel() ? 0 : -1, {}, {}};
    for (float s : weights.scale) {
      q.scale.push_back(bias.x_scale * s);
      q.zero_point.push_back(0);
    }
    const ValueId value = graph_.node(id).inputs[2];
    Tensor ints(DType::kInt32, graph_.value(value).constant->shape());
    for (size_t i = 0; i < bias.values.size(); ++i) {
      const double steps =
          std::nearbyint(bias.values[i] / static_cast<double>(q.scale[q.scale.size() == 1 ? 0 : i]));
      ints.as<int32_t>()[i] = static_cast<int32_t>(std::clamp(steps, -2147483648.0, 2147483647.0));
    }
    graph_.set_input(id, 2, dequantized(graph_.value(value).name, std::move(ints), q));
  }

  // A constant under a DequantizeLinear.
  // `name` is a copy: those of values move while values are added.
  ValueId dequantized(std::string name, Tensor values, const QuantParams& q) {
    const ValueId stored = graph_.add_constant(name + "_quantized", std::move(values));
    const ValueId scale = graph_.add_constant(name + "_scale", scale_tensor(q));
    const ValueId zero = graph_.add_constant(name + "_zero_point", zero_tensor(q));
    Attributes attributes;
    if (q.per_channel()) attributes.set("axis", int64_t{q.axis});
    return graph_.add_op("DequantizeLinear", name + "_DequantizeLinear", {stored, scale, zero},
                         name + "_dequantized", std::move(attributes));
  }

  // value -> Q -> DQ -> everything that read value.
  void insert(ValueId value, const QuantParams& q) {
    const std::string name = graph_.value(value).name;
    const auto dims = graph_.value(value).shape;
    const ValueId scale = graph_.add_constant(name + "_scale", scale_tensor(q));
    const ValueId zero = graph_.add_constant(name + "_zero_point", zero_tensor(q));
    const ValueId stored =
        graph_.add_op("QuantizeLinear", name + "_QuantizeLinear", {value, scale, zero}, name + "_quantized");
    const ValueId real = graph_.add_op("DequantizeLinear", name + "_DequantizeLinear", {stored, scale, zero},
                                       name + "_dequantized");
    graph_.value(stored).dtype = q.dtype;
    graph_.value(stored).shape = dims;
    graph_.value(real).dtype = DType::kFloat32;
    graph_.value(real).shape = dims;
    const bool output = options_.quantize_outputs && graph_.is_output(value);
    graph_.replace_uses(value, real, /*outputs_too=*/output, /*keep=*/graph_.value(stored).producer);
    if (!output) return;
    graph_.rename(value, name + "_float");
    graph_.rename(real, name);
  }

  Graph& graph_;
  const Placement& placement_;
  const QuantizeOptions& options_;
  const TargetRules& target_;
  const RangeOf& range_of_;
  std::vector<QuantParams> params_;
};

}  // namespace

std::vector<QuantizedLayer> insert_qdq(Graph& graph, const Placement& placement,
                                       const QuantizeOptions& options, const RangeOf& range_of) {
  return Inserter(graph, placement, options, range_of).run();
}

int weight_axis(const Graph& graph, const Node& node) {
  if (node.is("Conv")) return 0;
  if (node.is("Gemm")) return node.attributes.get_int("transB", 0) != 0 ? 0 : 1;
  return graph.value(node.inputs[1]).shape ? static_cast<int>(graph.value(node.inputs[1]).shape->size()) - 1
                                           : 1;
}

QuantizedWeights quantize_weights(const Tensor& weights, int axis, std::span<const float> smallest_scales) {
  const Shape& shape = weights.shape();
  const int64_t channels = axis < 0 ? 1 : shape.at(axis);
  int64_t inner = 1;
  for (int d = axis + 1; axis >= 0 && d < weights.rank(); ++d) inner *= shape[d];
  const auto w = weights.as<float>();
  const auto channel = [&](int64_t i) { return axis < 0 ? 0 : i / inner % channels; };
  std::vector<float> extreme(channels, 0);
  for (int64_t i = 0; i < weights.count(); ++i) {
    if (!std::isfinite(w[i])) fail(ErrorCode::kInvalidArgument, "a weight is {}: the model is damaged", w[i]);
    extreme[channel(i)] = std::max(extreme[channel(i)], std::abs(w[i]));
  }
  QuantizedWeights q{
      Tensor(DType::kInt8, shape),
      {DType::kInt8, axis, std::vector<float>(channels, 1), std::vector<int32_t>(channels, 0)}};
  for (int64_t c = 0; c < channels; ++c)
    if (extreme[c] > 0) q.params.scale[c] = std::max(extreme[c] / 127, 1e-30f);
  for (size_t c = 0; c < smallest_scales.size(); ++c)
    q.params.scale[c] = std::max(q.params.scale[c], smallest_scales[c]);
  for (int64_t i = 0; i < weights.count(); ++i)
    q.values.as<int8_t>()[i] =
        static_cast<int8_t>(quantize_one(w[i], q.params.scale[channel(i)], 0, {-127, 127}));
  return q;
}

}  // namespace octet
