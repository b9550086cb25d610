#include "correct/centering.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "passes/groups.h"
#include "passes/match.h"

namespace octet {
namespace {

using kernels::Function;

constexpr double kLeastGain = 3;
constexpr float kOpenEnd = 1e30f;  // a clip beyond it has no upper limit

bool pads_nothing(const Node& node) {
  const auto pads = node.attributes.get_ints("pads", {});
  const std::string mode = node.attributes.get_string("auto_pad", "NOTSET");
  return (mode.empty() || mode == "NOTSET" || mode == "VALID") &&
         std::all_of(pads.begin(), pads.end(), [](int64_t p) { return p == 0; });
}

// f(x - c) = f(x) - c, whatever is padded.
bool moves(const Node& node) {
  static constexpr std::string_view kOps[] = {"MaxPool", "Concat",  "Split",        "Slice",       "Reshape",
                                              "Flatten", "Squeeze", "Unsqueeze",    "Transpose",   "Identity",
                                              "Expand",  "Tile",    "DepthToSpace", "SpaceToDepth"};
  return node.domain.empty() && std::find(std::begin(kOps), std::end(kOps), node.op) != std::end(kOps);
}

class Centerer {
 public:
  Centerer(Graph& graph, const Placement& placement, const CalibrationTable& table)
      : graph_(graph),
        placement_(placement),
        table_(table),
        groups_(graph),
        weighted_(placement.weighted.begin(), placement.weighted.end()) {
    for (const auto& [value, group] : placement.group_of) values_[group].push_back(value);
  }

  std::optional<CenteredTensor> center(int32_t group) {
    const auto& members = placement_.groups[static_cast<size_t>(group)];
    if (members.empty()) return {};
    const auto range = range_of(members);
    if (!range) return {};
    const double low = range->low, high = range->high, half = (high - low) / 2;
    const double gain = half > 0 ? 20 * std::log10(std::max(-low, high) / half) : 0;
    if (gain < kLeastGain) return {};
    const auto offset = static_cast<float>((low + high) / 2);
    std::vector<NodeId> layers, movers;
    for (const ValueId v : values_.at(group))
      if (!collect(v, group, layers, movers)) return {};
    if (layers.empty()) return {};
    for (const ValueId v : members)
      if (graph_.value(v).producer == kNoId) return {};

    for (const NodeId layer : layers) add_to_bias(layer, input_sums(layer, offset));
    CenteredTensor done{graph_.value(members.front()).name, gain, 0, 0};
    for (const ValueId v : members) {
      if (move_layer(v, offset)) {
        ++done.folded;
      } else {
        add(v, offset);
        ++done.added;
      }
    }
    return done;
  }

 private:
  std::optional<Range> range_of(const std::vector<ValueId>& members) const {
    Range range{0, 0};
    for (const ValueId v : members) {
      const auto found = table_.tensors.find(graph_.value(v).name);
      if (found == table_.tensors.end() || found->second.scale > 0) return {};
      // Symmetric ranges are wider than what was seen.
      const TableTensor& t = found->second;
      range.low = std::min(range.low, std::max(t.min, t.range.low));
      range.high = std::max(range.high, std::min(t.max, t.range.high));
    }
    return range;
  }

  // Whether all readers of the value allow it.
  bool collect(ValueId value, int32_t group, std::vector<NodeId>& layers, std::vector<NodeId>& movers) const {
    if (graph_.is_output(value)) return false;
    for (const NodeId id : graph_.consumers(value)) {
      const Node& node = graph_.node(id);
      const bool once = std::count(node.inputs.begin(), node.inputs.end(), value) == 1;
      if (weighted_.count(id) > 0) {
        if (!once || node.inputs[0] != value || !absorbs(id)) return false;
        if (std::find(layers.begin(), layers.end(), id) == layers.end()) layers.push_back(id);
        continue;
      }
      const bool within = std::all_of(node.outputs.begin(), node.outputs.end(), [&](ValueId out) {
        const auto found = placement_.group_of.find(out);
        return found != placement_.group_of.end() && found->second == group;
      });
      if (!moves(node) || !within || placement_.integer_nodes.count(id) == 0) return false;
      movers.push_back(id);
    }
    return true;
  }

  bool absorbs(NodeId id) const {
    const Node& node = graph_.node(id);
    if (node.is("Conv")) {
      if (!pads_nothing(node)) return false;
    } else if (!node.is("Gemm") || node.attributes.get_float("alpha", 1) != 1 ||
               node.attributes.get_float("beta", 1) != 1) {
      return false;
    }
    return plain_bias(id);
  }

  // Whether the layer has no bias, or one number per output channel.
  bool plain_bias(NodeId id) const {
    const Node& node = graph_.node(id);
    if (node.inputs.size() < 3 || node.inputs[2] == kNoId) return true;
    if (!graph_.is_constant(node.inputs[2])) return false;
    const Tensor& bias = *graph_.value(node.inputs[2]).constant;
    return bias.dtype() == DType::kFloat32 && bias.shape() == Shape{outputs_of(id)};
  }

  int64_t outputs_of(NodeId id) const {
    const Node& node = graph_.node(id);
    return graph_.value(node.inputs[1]).constant->shape()[static_cast<size_t>(weight_axis(graph_, node))];
  }

  // offset * sum of the weights of each output channel.
  std::vector<double> input_sums(NodeId id, float offset) const {
    const Node& node = graph_.node(id);
    const Tensor& w = *graph_.value(node.inputs[1]).constant;
    const int axis = weight_axis(graph_, node);
    int64_t inner = 1;
    for (int d = axis + 1; d < w.rank(); ++d) inner *= w.shape()[static_cast<size_t>(d)];
    const int64_t outputs = outputs_of(id);
    std::vector<double> sums(static_cast<size_t>(outputs), 0);
    for (int64_t i = 0; i < w.count(); ++i)
      sums[static_cast<size_t>(i / inner % outputs)] +=
          static_cast<double>(w.as<float>()[i]) * static_cast<double>(offset);
    return sums;
  }

  void add_to_bias(NodeId id, const std::vector<double>& more) {
    const Node& node = graph_.node(id);
    const bool missing = node.inputs.size() < 3 || node.inputs[2] == kNoId;
    Tensor bias = missing ? Tensor(DType::kFloat32, {static_cast<int64_t>(more.size())})
                          : graph_.value(node.inputs[2]).constant->clone();
    for (size_t o = 0; o < more.size(); ++o)
      bias.as<float>()[o] = static_cast<float>(static_cast<double>(bias.as<float>()[o]) + more[o]);
    const ValueId value = graph_.add_constant(node.name + "_centered_bias", std::move(bias));
    if (graph_.node(id).inputs.size() > 2)
      graph_.set_input(id, 2, value);
    else
      graph_.append_input(id, value);
  }

  // Whether the layer that makes the value now makes it minus the offset.
  bool move_layer(ValueId value, float offset) {
    const NodeGroup* group = groups_.find(graph_.value(value).producer);
    if (group == nullptr || group->output != value || weighted_.count(group->root) == 0 ||
        group->residual != kNoId || group->bias != kNoId || !group->caps.empty() || group->final_clip ||
        graph_.node(group->root).is("MatMul") || !absorbs_own(group->root))
      return false;
    const auto& f = group->activation;
    if (f && f->function != Function::kRelu && f->function != Function::kClip) return false;
    add_to_bias(group->root, std::vector<double>(static_cast<size_t>(outputs_of(group->root)), -offset));
    if (!f) return true;
    const float low = f->function == Function::kRelu ? 0 : f->alpha;
    const float high = f->function == Function::kRelu ? kOpenEnd : f->beta;
    const NodeId last = group->nodes.back();
    const std::string name = graph_.node(last).name;
    const auto limit = [&](float v, const char* which) {
      return std::abs(v) >= kOpenEnd ? kNoId
                                     : graph_.add_constant(name + which, Tensor::scalar<float>(v - offset));
    };
    std::vector<ValueId> inputs{graph_.node(last).inputs[0], limit(low, "_low")};
    if (const ValueId most = limit(high, "_high"); most != kNoId) inputs.push_back(most);
    become(graph_, last, "Clip", "", std::move(inputs));
    return true;
  }

  bool absorbs_own(NodeId id) const {
    const Node& node = graph_.node(id);
    return plain_bias(id) && (node.is("Conv") || (node.attributes.get_float("alpha", 1) == 1 &&
                                                  node.attributes.get_float("beta", 1) == 1));
  }

  void add(ValueId value, float offset) {
    const Value source = graph_.value(value);
    const ValueId made =
        graph_.add_op("Add", source.name + "_center",
                      {value, graph_.add_constant(source.name + "_offset", Tensor::scalar<float>(-offset))},
                      source.name + "_centered");
    graph_.value(made).dtype = source.dtype;
    graph_.value(made).shape = source.shape;
    graph_.replace_uses(value, made, false, graph_.value(made).producer);
  }

  Graph& graph_;
  const Placement& placement_;
  const CalibrationTable& table_;
  NodeGroups groups_;  // of the graph as it was
  std::set<NodeId> weighted_;
  std::map<int32_t, std::vector<ValueId>> values_;
};

}  // namespace

std::vector<CenteredTensor> center_tensors(Graph& graph, const Placement& placement,
                                           const CalibrationTable& table) {
  std::vector<CenteredTensor> all;
  Centerer centerer(graph, placement, table);
  for (size_t g = 0; g < placement.groups.size(); ++g)
    if (auto done = centerer.center(static_cast<int32_t>(g))) all.push_back(std::move(*done));
  if (!all.empty()) graph.prune();
  return all;
}

}  // namespace octet
