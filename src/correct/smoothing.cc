#include "correct/smoothing.h"

#include <algorithm>
#include <optional>
#include <set>

#include "passes/groups.h"
#include "passes/scale_axis.h"

namespace octet {
namespace {

using kernels::Function;

bool homogeneous(const std::optional<ActivationSpec>& f) {
  if (!f) return true;
  if (f->function == Function::kClip) return f->alpha == 0 && f->beta > 1e30f;
  return f->function == Function::kRelu || f->function == Function::kLeakyRelu;
}

class Smoother {
 public:
  Smoother(Graph& graph, const Placement& placement, const QuantizeOptions& options)
      : graph_(graph),
        placement_(placement),
        channels_(channel_groups(graph, placement, options)),
        node_groups_(graph),
        weighted_(placement.weighted.begin(), placement.weighted.end()) {}

  std::optional<SmoothedTensor> smooth(const ChannelChoice& choice) {
    const auto& group = channels_.at(static_cast<size_t>(choice.group));
    if (!group || choice.scale.size() != static_cast<size_t>(group->slots)) return {};
    const auto& members = placement_.groups[static_cast<size_t>(choice.group)];
    const std::set<ValueId> computed(members.begin(), members.end());
    std::map<ValueId, Readers> readers;
    bool any = false;
    for (const auto& [value, slots] : group->of) {
      Readers r = readers_of(value, group->of);
      any = any || !r.layers.empty();
      if (group->of.size() > 1 && r.others) return {};
      if (computed.count(value) > 0 && graph_.value(value).producer == kNoId) return {};
      readers.emplace(value, std::move(r));
    }
    if (!any) return {};

    const double largest = *std::max_element(choice.scale.begin(), choice.scale.end());
    SmoothedTensor done{choice.value, choice.gain_db, 0, 0};
    for (const auto& [value, slots] : group->of) {
      std::vector<float> factors;
      for (const int64_t s : slots)
        factors.push_back(static_cast<float>(choice.scale[static_cast<size_t>(s)] / largest));
      const Readers& r = readers.at(value);
      for (const NodeId layer : r.layers) scale_input(layer, factors);
      if (computed.count(value) == 0) continue;
      if (!r.others && divide_layer(value, factors))
        ++done.folded;
      else {
        multiply(value, factors, r);
        ++done.multiplied;
      }
    }
    return done;
  }

 private:
  struct Readers {
    std::vector<NodeId> layers, moves;
    bool others = false;
  };

  Readers readers_of(ValueId value, const std::map<ValueId, std::vector<int64_t>>& members) const {
    Readers r;
    r.others = graph_.is_output(value);
    std::set<NodeId> seen;
    for (const NodeId id : graph_.consumers(value)) {
      if (!seen.insert(id).second) continue;
      const Node& node = graph_.node(id);
      if (weighted_.count(id) > 0 && node.inputs[0] == value &&
          std::count(node.inputs.begin(), node.inputs.end(), value) == 1) {
        r.layers.push_back(id);
        continue;
      }
      const bool moves = placement_.integer_nodes.count(id) > 0 && !node_groups_.find(id) &&
                         !node.outputs.empty() &&
                         std::all_of(node.outputs.begin(), node.outputs.end(),
                                     [&](ValueId out) { return members.count(out) > 0 && out != value; });
      if (moves)
        r.moves.push_back(id);
      else
        r.others = true;
    }
    return r;
  }

  void replace(NodeId id, size_t index, Tensor tensor) {
    const std::string name = graph_.value(graph_.node(id).inputs[index]).name;
    graph_.set_input(id, index, graph_.add_constant(name + "_smoothed", std::move(tensor)));
  }

  // The weights that read channel c times factors[c].
  void scale_input(NodeId layer, const std::vector<float>& factors) {
    const Node& node = graph_.node(layer);
    const Tensor& w = *graph_.value(node.inputs[1]).constant;
    const int64_t groups = node.is("Conv") ? node.attributes.get_int("group", 1) : 1;
    if (groups == 1)
      return replace(layer, 1, scaled_along(w, weight_input_axis(graph_, node), factors, false));
    // Depthwise: each input channel makes some output channels of its own.
    const int64_t outputs = w.shape()[0], each = outputs / static_cast<int64_t>(factors.size());
    std::vector<float> by_output;
    for (int64_t o = 0; o < outputs; ++o) by_output.push_back(factors[static_cast<size_t>(o / each)]);
    replace(layer, 1, scaled_along(w, 0, by_output, false));
  }

  // Whether weights and bias of the layer that makes the value could be divided, and were.
  bool divide_layer(ValueId value, const std::vector<float>& factors) {
    const NodeGroup* group = node_groups_.find(graph_.value(value).producer);
    if (group == nullptr || group->output != value || weighted_.count(group->root) == 0 ||
        group->residual != kNoId || group->bias != kNoId || !group->caps.empty() || group->final_clip ||
        !homogeneous(group->activation))
      return false;
    const Node& node = graph_.node(group->root);
    const bool plain = !node.is("Gemm") || (node.attributes.get_float("alpha", 1) == 1 &&
                                            node.attributes.get_float("beta", 1) == 1);
    const bool biased = node.inputs.size() > 2 && node.inputs[2] != kNoId;
    if (!plain) return false;
    const auto channels = static_cast<int64_t>(factors.size());
    const Tensor* bias = nullptr;
    if (biased) {
      if (!graph_.is_constant(node.inputs[2])) return false;
      bias = &*graph_.value(node.inputs[2]).constant;
      if (bias->dtype() != DType::kFloat32 || bias->shape() != Shape{channels}) return false;
    }
    const Tensor& w = *graph_.value(node.inputs[1]).constant;
    const int axis = weight_axis(graph_, node);
    if (w.shape()[static_cast<size_t>(axis)] != channels) return false;
    Tensor divided = scaled_along(w, axis, factors, true);
    if (bias != nullptr) replace(group->root, 2, scaled_along(*bias, 0, factors, true));
    replace(group->root, 1, std::move(divided));
    return true;
  }

  // Layers and moves read the value divided; who else reads it goes on as before.
  void multiply(ValueId value, const std::vector<float>& factors, const Readers& readers) {
    const auto channels = static_cast<int64_t>(factors.size());
    const Value source = graph_.value(value);
    const int rank = static_cast<int>(source.shape->size());
    Tensor reciprocals(DType::kFloat32, rank == 4 ? Shape{1, channels, 1, 1} : Shape{channels});
    for (int64_t c = 0; c < channels; ++c) reciprocals.as<float>()[c] = 1 / factors[static_cast<size_t>(c)];
    const ValueId made =
        graph_.add_op("Mul", source.name + "_smooth",
                      {value, graph_.add_constant(source.name + "_factors", std::move(reciprocals))},
                      source.name + "_smoothed");
    graph_.value(made).dtype = source.dtype;
    graph_.value(made).shape = source.shape;
    for (const auto* nodes : {&readers.layers, &readers.moves})
      for (const NodeId id : *nodes)
        for (size_t i = 0; i < graph_.node(id).inputs.size(); ++i)
          if (graph_.node(id).inputs[i] == value) graph_.set_input(id, i, made);
  }

  Graph& graph_;
  const Placement& placement_;
  std::vector<std::optional<ChannelGroup>> channels_;
  NodeGroups node_groups_;  // of the graph as it was: the nodes that count here stay
  std::set<NodeId> weighted_;
};

}  // namespace

std::vector<SmoothedTensor> smooth_channels(Graph& graph, const Placement& placement,
                                            const QuantizeOptions& options, const ChosenParams& chosen) {
  std::vector<SmoothedTensor> all;
  Smoother smoother(graph, placement, options);
  for (const ChannelChoice& choice : chosen.choices)
    if (!choice.taken)
      if (auto done = smoother.smooth(choice)) all.push_back(std::move(*done));
  if (!all.empty()) graph.prune();
  return all;
}

}  // namespace octet
