#include "calibrate/late_ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "passes/groups.h"
#include "passes/pads.h"

namespace octet {
namespace {

constexpr double kMost = 1.5;   // factor at the end of the network,
constexpr double kDeep = 16;    // layers, below which it is less
constexpr double kBegin = 0.4;  // 1 up to here
constexpr double kShare =
    0.5;  // of its tensor's range, that a channel has at least at the end; 0 at the inputs
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Limits {
  double low = -kInfinity, high = kInfinity;
};

Limits of_function(const ActivationSpec& spec) {
  using kernels::Function;
  switch (spec.function) {
    case Function::kSigmoid:
    case Function::kHardSigmoid:
      return {0, 1};
    case Function::kTanh:
      return {-1, 1};
    case Function::kRelu:
      return {0, kInfinity};
    case Function::kClip:
      return {spec.alpha, spec.beta};
    case Function::kSilu:
      return {-0.2785, kInfinity};  // the least values of these
    case Function::kHardSwish:
      return {-0.375, kInfinity};
    case Function::kGelu:
    case Function::kGeluTanh:
      return {-0.1701, kInfinity};
    case Function::kNone:
    case Function::kLeakyRelu:
      break;
  }
  return {};
}

// Averages and moved values stay within what they are made of.
bool within_inputs(const Graph& graph, const Node& node) {
  return (keeps_scale(graph, node) && !pads_with_zeros(graph, node)) || node.is("AveragePool") ||
         node.is("GlobalAveragePool") || node.is("ReduceMean");
}

class Walk {
 public:
  explicit Walk(const Graph& graph)
      : graph_(graph), limits_(graph.value_slots()), depth_(graph.value_slots(), 0) {
    for (const NodeId id : graph.sorted()) visit(graph.node(id));
  }

  const Limits& limits(ValueId v) const { return limits_[static_cast<size_t>(v)]; }
  // 0 at the inputs, 1 at the deepest layer.
  double place(ValueId v) const {
    return deepest_ > 0 ? static_cast<double>(depth_[static_cast<size_t>(v)]) / deepest_ : 0;
  }

  int deepest() const { return deepest_; }

 private:
  void visit(const Node& node) {
    int depth = 0;
    Limits limits{kInfinity, -kInfinity};
    for (const ValueId v : node.inputs) {
      if (v == kNoId || graph_.is_constant(v)) continue;
      depth = std::max(depth, depth_[static_cast<size_t>(v)]);
      limits.low = std::min(limits.low, limits_[static_cast<size_t>(v)].low);
      limits.high = std::max(limits.high, limits_[static_cast<size_t>(v)].high);
    }
    if (is_weighted(graph_, node)) ++depth;
    deepest_ = std::max(deepest_, depth);
    const auto function = activation_of(graph_, node);
    if (function)
      limits = of_function(*function);
    else if (node.is("Softmax"))
      limits = {0, 1};
    else if (!within_inputs(graph_, node) || limits.low > limits.high)
      limits = {};
    for (const ValueId v : node.outputs) {
      if (v == kNoId) continue;
      limits_[static_cast<size_t>(v)] = limits;
      depth_[static_cast<size_t>(v)] = depth;
    }
  }

  const Graph& graph_;
  std::vector<Limits> limits_;
  std::vector<int> depth_;
  int deepest_ = 0;
};

}  // namespace

void widen_late_ranges(const Graph& graph, CalibrationTable& table) {
  const Walk walk(graph);
  for (auto& [name, tensor] : table.tensors) {
    const auto value = graph.find_value(name);
    if (!value) continue;
    const double late = std::max(0.0, (walk.place(*value) - kBegin) / (1 - kBegin));
    const double factor = std::pow(kMost, late * std::min(1.0, walk.deepest() / kDeep));
    const Limits& limits = walk.limits(*value);
    const auto widen = [&](Range& range) {
      // What was observed stays inside, whatever rounding made of the limit.
      range.low = static_cast<float>(std::min<double>(range.low, std::max(range.low * factor, limits.low)));
      range.high =
          static_cast<float>(std::max<double>(range.high, std::min(range.high * factor, limits.high)));
    };
    widen(tensor.range);
    for (auto& [method, choice] : tensor.methods) widen(choice.range);
    TableChannels& channels = tensor.channels;
    const Range least{
        static_cast<float>(std::max(kShare * walk.place(*value) * tensor.range.low, limits.low)),
        static_cast<float>(std::min(kShare * walk.place(*value) * tensor.range.high, limits.high))};
    for (size_t c = 0; c < channels.min.size(); ++c) {
      Range range{channels.min[c], channels.max[c]};
      widen(range);
      channels.min[c] = std::min(range.low, least.low);
      channels.max[c] = std::max(range.high, least.high);
    }
  }
}

}  // namespace octet
