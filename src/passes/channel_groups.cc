#include "passes/channel_groups.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "passes/channels.h"
#include "passes/groups.h"
#include "passes/pads.h"
#include "passes/scale_axis.h"

namespace octet {
namespace {

class Grouper {
 public:
  Grouper(const Graph& graph, const Placement& placement, const QuantizeOptions& options)
      : graph_(graph),
        placement_(placement),
        options_(options),
        groups_(graph),
        weighted_(placement.weighted.begin(), placement.weighted.end()) {}

  std::vector<std::optional<ChannelGroup>> run() {
    const size_t count = placement_.groups.size();
    fits_.assign(count, true);
    for (const auto& [value, group] : placement_.group_of) add_value(value, group);
    parent_.resize(first_.empty() ? 0 : total_);
    std::iota(parent_.begin(), parent_.end(), 0);
    for (const auto& [value, group] : placement_.group_of)
      for (NodeId reader : graph_.consumers(value)) add_reader(value, group, reader);
    std::vector<std::optional<ChannelGroup>> found(count);
    std::vector<std::map<int64_t, int64_t>> index(count);
    for (const auto& [value, group] : placement_.group_of) {
      if (!fits_[group]) continue;
      if (!found[group]) found[group] = ChannelGroup{};
      std::vector<int64_t>& slots = found[group]->of[value];
      for (int64_t c = 0; c < channels_[value]; ++c) {
        const auto [it, fresh] = index[group].try_emplace(root(first_[value] + c), found[group]->slots);
        if (fresh) ++found[group]->slots;
        slots.push_back(it->second);
      }
    }
    return found;
  }

 private:
  void add_value(ValueId value, int32_t group) {
    const auto& shape = graph_.value(value).shape;
    const auto rank = shape ? static_cast<int>(shape->size()) : 0;
    const auto axis = static_cast<size_t>(scale_axis(rank));
    const NodeId maker = graph_.value(value).producer;
    if (rank < 2 || rank > 4 || !(*shape)[axis].known() || (*shape)[axis].value() < 1 ||
        (maker != kNoId && has_one_scale(graph_.node(maker))) ||
        (options_.quantize_outputs && graph_.is_output(value)) || (rank < 4 && !row_maker(value))) {
      fits_[group] = false;
      return;
    }
    first_[value] = total_;
    channels_[value] = (*shape)[axis].value();
    total_ += channels_[value];
  }

  // ONNX Runtime makes an operator of its own (QLinearAdd ...) of these between Q and DQ, which refuses a
  // scale per channel (1.31), and the model with it.
  bool has_one_scale(const Node& node) const {
    static constexpr std::string_view kOps[] = {
        "Add", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid", "Softmax"};
    const auto is_quantized = [&](ValueId v) { return placement_.group_of.count(v) > 0; };
    return std::find(std::begin(kOps), std::end(kOps), node.op) != std::end(kOps) &&
           std::all_of(node.inputs.begin(), node.inputs.end(), is_quantized) && is_quantized(node.outputs[0]);
  }

  // Whether rows of the value come from a step that can give each column a scale.
  bool row_maker(ValueId value) const {
    const Node* node = graph_.producer(value);
    if (node == nullptr) return false;
    const NodeGroup* group = groups_.find(graph_.value(value).producer);
    if (group != nullptr) return weighted_.count(group->root) > 0;
    if (!node->is("LayerNormalization") && !node->is("RMSNormalization")) return false;
    const int64_t axis = node->attributes.get_int("axis", -1);
    return axis == -1 || axis + 1 == static_cast<int64_t>(graph_.value(value).shape->size());
  }

  void add_reader(ValueId value, int32_t group, NodeId id) {
    if (!fits_[group]) return;
    const Node& node = graph_.node(id);
    if (has_one_scale(node)) {
      fits_[group] = false;
      return;
    }
    const bool image = graph_.value(value).shape->size() == 4;
    if (weighted_.count(id)) {
      if (node.inputs[0] == value && (image != node.is("Conv") || !takes_channel_scales(graph_, node)))
        fits_[group] = false;
      return;
    }
    // Other readers of rows see the floats, or need one scale.
    if (!image) {
      const bool integer = placement_.integer_nodes.count(id) > 0;
      if (integer || placement_.integer_nodes.count(graph_.value(value).producer)) fits_[group] = false;
      return;
    }
    if (keeps_scale(graph_, node)) return add_move(value, group, node);
    // An activation by itself becomes a table of bytes.
    if (activation_of(graph_, node) && !groups_.find(id)) fits_[group] = false;
  }

  void add_move(ValueId value, int32_t group, const Node& node) {
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      const auto out = placement_.group_of.find(node.outputs[o]);
      if (node.outputs[o] == kNoId || out == placement_.group_of.end() || out->second != group) continue;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i] != value) continue;
        const auto links = channel_links(graph_, node, i, o);
        if (!links) {
          fits_[group] = false;
          return;
        }
        for (const ChannelLink& link : *links)
          parent_[root(first_[value] + link.from)] = root(first_[node.outputs[o]] + link.to);
      }
    }
  }

  int64_t root(int64_t channel) {
    while (parent_[channel] != channel) channel = parent_[channel] = parent_[parent_[channel]];
    return channel;
  }

  const Graph& graph_;
  const Placement& placement_;
  const QuantizeOptions& options_;
  NodeGroups groups_;
  std::set<NodeId> weighted_;
  std::vector<bool> fits_;
  std::map<ValueId, int64_t> first_, channels_;
  int64_t total_ = 0;
  std::vector<int64_t> parent_;
};

}  // namespace

std::vector<std::optional<ChannelGroup>> channel_groups(const Graph& graph, const Placement& placement,
                                                        const QuantizeOptions& options) {
  return Grouper(graph, placement, options).run();
}

}  // namespace octet
