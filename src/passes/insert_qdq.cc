#include <algorithm>
#include <cmath>
#include <set>

#include "passes/attention.h"
#include "passes/groups.h"
#include "passes/layer_weights.h"
#include "passes/qdq.h"
#include "passes/quantize.h"

namespace octet {
namespace {

class Inserter {
 public:
  Inserter(Graph& graph, const Placement& placement, const QuantizeOptions& options,
           const ActivationParams& params, const GivenWeights& given)
      : graph_(graph),
        placement_(placement),
        options_(options),
        target_(options.target ? *options.target : find_target("octet")),
        params_(params),
        given_(given) {}

  std::vector<QuantizedLayer> run() {
    std::vector<QuantizedLayer> layers = describe();
    for (NodeId root : placement_.weighted) quantize_weighted(root);
    for (NodeId gather : placement_.tables) quantize_table(gather);
    for (const auto& [value, group] : placement_.group_of) insert(value, params_.at(value));
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
          weighted ||
          std::find(placement_.tables.begin(), placement_.tables.end(), id) != placement_.tables.end() ||
          (!node.inputs.empty() && placement_.group_of.count(node.inputs[0]) &&
           placement_.group_of.count(out));
      const auto placed = [&](ValueId v) { return placement_.group_of.count(v) > 0; };
      const bool product =
          is_variable_matmul(graph_, node) && placed(node.inputs[0]) && placed(node.inputs[1]);
      if (eight_bits || product) layers.push_back({node.name, node.op, graph_.value(out).name});
    }
    return layers;
  }

  void quantize_weighted(NodeId id) {
    const WeightTransform transform = weight_transform(graph_, id, options_, params_);
    const auto bias = integer_bias(id);
    const std::vector<float> x_scale = bias ? output_factors(graph_, id, params_) : std::vector<float>{};
    const auto given = given_.find(id);
    QuantizedWeights q = given != given_.end() ? given->second
                                               : quantize_weights(transformed_weights(graph_, id, transform),
                                                                  transform.axis, transform.smallest_scales);
    const ValueId weight = graph_.node(id).inputs[1];
    const std::string name = graph_.value(weight).name;
    const auto dims = graph_.value(weight).shape;
    ValueId real = dequantized(name, std::move(q.values), q.params);
    if (!transform.input_scale.empty()) real = divided(name, real, dims, transform);
    graph_.set_input(id, 1, real);
    if (bias) quantize_bias(id, *bias, x_scale, q.params);
  }

  ValueId divided(const std::string& name, ValueId real, const std::optional<Dims>& dims,
                  const WeightTransform& transform) {
    Shape shape(dims->size(), 1);
    shape[transform.input_axis] = static_cast<int64_t>(transform.input_scale.size());
    const ValueId divisor = graph_.add_constant(
        name + "_input_scale", Tensor::of<float>(shape, std::span<const float>(transform.input_scale)));
    return graph_.add_op("Div", name + "_Div", {real, divisor}, name + "_divided");
  }

  std::optional<std::vector<float>> integer_bias(NodeId id) const {
    auto bias = float_bias(graph_, id);
    if (!target_.integer_bias || !bias || !params_.count(graph_.node(id).inputs[0])) return {};
    return bias;
  }

  // An int32 bias in steps of x_scale * w_scale; x_scale is 1 where the weights absorb it.
  void quantize_bias(NodeId id, const std::vector<float>& bias, const std::vector<float>& x_scale,
                     const QuantParams& weights) {
    QuantParams q{DType::kInt32, weights.per_channel() || x_scale.size() > 1 ? 0 : -1, {}, {}};
    for (size_t c = 0; c < std::max(weights.scale.size(), x_scale.size()); ++c) {
      q.scale.push_back(x_scale[x_scale.size() == 1 ? 0 : c] *
                        weights.scale[weights.scale.size() == 1 ? 0 : c]);
      q.zero_point.push_back(0);
    }
    const ValueId value = graph_.node(id).inputs[2];
    Tensor ints(DType::kInt32, graph_.value(value).constant->shape());
    for (size_t i = 0; i < bias.size(); ++i) {
      const double steps =
          std::nearbyint(bias[i] / static_cast<double>(q.scale[q.scale.size() == 1 ? 0 : i]));
      ints.as<int32_t>()[i] = static_cast<int32_t>(std::clamp(steps, -2147483648.0, 2147483647.0));
    }
    graph_.set_input(id, 2, dequantized(graph_.value(value).name, std::move(ints), q));
  }

  void quantize_table(NodeId gather) {
    const ValueId table = graph_.node(gather).inputs[0];
    QuantizedWeights q =
        quantize_weights(*graph_.value(table).constant, options_.weights_per_tensor ? -1 : 1);
    graph_.set_input(gather, 0, dequantized(graph_.value(table).name, std::move(q.values), q.params));
  }

  // A constant under a DequantizeLinear.
  // `name` is a copy: those of values move while values are added.
  ValueId dequantized(std::string name, Tensor values, const QuantParams& q) {
    name += "_quantized";
    return add_dequantize(graph_, graph_.add_constant(name, std::move(values)), q);
  }

  // value -> Q -> DQ -> everything that read value.
  void insert(ValueId value, const QuantParams& q) {
    const std::string name = graph_.value(value).name;
    const ValueId stored = add_quantize(graph_, value, q);
    const ValueId real = add_dequantize(graph_, stored, q);
    const NodeId quantize = graph_.value(stored).producer;
    const NodeId producer = graph_.value(value).producer;
    const bool integer = placement_.integer_nodes.count(producer) > 0;
    const bool output =
        graph_.is_output(value) && (options_.quantize_outputs || (integer && target_.quantized_sums));
    if (!output && !integer) {
      const std::vector<NodeId> readers = graph_.consumers(value);
      for (NodeId reader : readers) {
        if (!placement_.integer_nodes.count(reader)) continue;
        for (size_t i = 0; i < graph_.node(reader).inputs.size(); ++i)
          if (graph_.node(reader).inputs[i] == value) graph_.set_input(reader, i, real);
      }
      return;
    }
    graph_.replace_uses(value, real, /*outputs_too=*/output, /*keep=*/quantize);
    if (q.per_channel()) read_float_in_concats(real, value);
    if (!output) return;
    graph_.rename(value, name + "_float");
    graph_.rename(real, name);
  }

  // ONNX Runtime refuses a Concat between 8-bit tensors with a scale per channel. The QuantizeLinear behind
  // it does the same to what it reads; quantize_before_concat() brings it back.
  void read_float_in_concats(ValueId real, ValueId value) {
    const std::vector<NodeId> readers = graph_.consumers(real);
    for (const NodeId reader : readers) {
      const Node node = graph_.node(reader);
      if (!node.is("Concat") || !params_.count(node.outputs[0])) continue;
      for (size_t i = 0; i < node.inputs.size(); ++i)
        if (node.inputs[i] == real) graph_.set_input(reader, i, value);
    }
  }

  Graph& graph_;
  const Placement& placement_;
  const QuantizeOptions& options_;
  const TargetRules& target_;
  const ActivationParams& params_;
  const GivenWeights& given_;
};

}  // namespace

ActivationParams tensor_params(const Graph& graph, const Placement& placement, const QuantizeOptions& options,
                               const RangeOf& range_of) {
  const TargetRules& target = options.target ? *options.target : find_target("octet");
  std::vector<QuantParams> of_group;
  std::string missing;
  for (const auto& members : placement.groups) {
    std::optional<Range> all;
    for (ValueId v : members) {
      const auto range = range_of(graph.value(v).name);
      if (!range) {
        missing += (missing.empty() ? "'" : ", '") + graph.value(v).name + "'";
        continue;
      }
      all = all ? Range{std::min(all->low, range->low), std::max(all->high, range->high)} : *range;
    }
    const Range range = all.value_or(Range{});
    of_group.push_back(target.symmetric ? symmetric_params(range, target.activation)
                                        : affine_params(range, target.activation));
  }
  if (!missing.empty())
    fail(ErrorCode::kInvalidArgument,
         "the calibration table has no range for {}: calibrate this model again with --target {}", missing,
         target.name);
  ActivationParams params;
  for (const auto& [value, group] : placement.group_of) params[value] = of_group[group];
  return params;
}

std::vector<QuantizedLayer> insert_qdq(Graph& graph, const Placement& placement,
                                       const QuantizeOptions& options, const ActivationParams& params,
                                       const GivenWeights& given) {
  return Inserter(graph, placement, options, params, given).run();
}

std::vector<QuantizedLayer> insert_qdq(Graph& graph, const Placement& placement,
                                       const QuantizeOptions& options, const RangeOf& range_of) {
  return insert_qdq(graph, placement, options, tensor_params(graph, placement, options, range_of));
}

}  // namespace octet
