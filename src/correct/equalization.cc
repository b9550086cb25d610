#include "correct/equalization.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "passes/groups.h"
#include "passes/match.h"
#include "passes/quantize.h"

namespace octet {
namespace {

using kernels::Function;

constexpr int kMostSweeps = 100;
constexpr double kSettled = 1e-4;           // of log s: nothing moves any more
constexpr double kLargestFactor = 1 << 12;  // and its reciprocal is the smallest
constexpr double kDeviations = 3;           // of section 4.1.3

const Tensor& weights_of(const Graph& graph, NodeId layer) {
  return *graph.value(graph.node(layer).inputs[1]).constant;
}

// A layer whose weights, and bias if it has one, can be scaled.
bool scalable(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (!node.is("Conv") && !node.is("Gemm")) return false;
  if (!graph.is_constant(node.inputs[1]) || weights_of(graph, id).dtype() != DType::kFloat32) return false;
  if (weights_of(graph, id).count() == 0) return false;
  if (node.is("Conv") && weights_of(graph, id).rank() != 4) return false;
  if (node.is("Gemm") &&
      (node.attributes.get_float("alpha", 1) != 1 || node.attributes.get_float("beta", 1) != 1 ||
       node.attributes.get_int("transA", 0) != 0 || weights_of(graph, id).rank() != 2))
    return false;
  if (node.inputs.size() < 3 || node.inputs[2] == kNoId) return true;
  if (!graph.is_constant(node.inputs[2])) return false;
  const Tensor& bias = *graph.value(node.inputs[2]).constant;
  return bias.dtype() == DType::kFloat32 &&
         bias.shape() == Shape{weights_of(graph, id).shape()[weight_axis(graph, node)]};
}

bool keeps_factors(const Node& node) {
  return node.is("MaxPool") || node.is("AveragePool") || node.is("GlobalAveragePool") ||
         node.is("GlobalMaxPool");
}

// A layer whose output channels only other layers read.
struct Pair {
  NodeId root = kNoId, clip = kNoId;  // the clip that ends the group, when it is to become caps
  ValueId output = kNoId;
  float cap = 0;       // of the clip
  bool direct = true;  // nothing stands between it and its readers
  std::vector<NodeId> readers;
};

bool collect_readers(const Graph& graph, ValueId value, Pair& pair) {
  if (graph.is_output(value)) return false;
  for (NodeId id : graph.consumers(value)) {
    const Node& node = graph.node(id);
    if (keeps_factors(node) && node.outputs.size() == 1 && node.inputs[0] == value) {
      pair.direct = false;
      if (!collect_readers(graph, node.outputs[0], pair)) return false;
      continue;
    }
    if (!scalable(graph, id) || node.inputs[0] != value || !takes_channel_scales(graph, node) ||
        node.is("Gemm") != graph.node(pair.root).is("Gemm"))
      return false;
    pair.readers.push_back(id);
  }
  return true;
}

std::vector<Pair> find_pairs(const Graph& graph) {
  std::vector<Pair> pairs;
  const NodeGroups groups(graph);
  for (const NodeGroup& group : groups.groups()) {
    if (!scalable(graph, group.root) || group.residual != kNoId || !group.caps.empty()) continue;
    Pair pair{group.root, kNoId, group.output, 0, true, {}};
    if (group.activation) {
      const ActivationSpec& f = *group.activation;
      if (f.function == Function::kClip) {
        if (f.alpha != 0 || !(f.beta > 0) || !graph.node(group.root).is("Conv")) continue;
        if (f.beta < 1e30f) {
          pair.clip = group.nodes.back();
          pair.cap = f.beta;
        }
      } else if (f.function != Function::kRelu && f.function != Function::kLeakyRelu) {
        continue;
      }
    }
    if (collect_readers(graph, group.output, pair) && !pair.readers.empty()) pairs.push_back(std::move(pair));
  }
  return pairs;
}

// The largest weight between each two channels of a layer, and the factors that it is to be scaled by.
struct Scaled {
  int64_t outputs = 0, inputs = 0;  // inputs: 1 for a depthwise layer, or of a group
  bool depthwise = false;
  int64_t multiplier = 1;    // output channels per input channel of a depthwise layer
  std::vector<double> most;  // [outputs][inputs]
  std::vector<double> out, in;

  double input_factor(int64_t o, int64_t i) const { return depthwise ? in[o / multiplier] : in[i]; }
  double output_range(int64_t o) const {
    double range = 0;
    for (int64_t i = 0; i < inputs; ++i) range = std::max(range, most[o * inputs + i] * input_factor(o, i));
    return range / out[o];
  }
  double largest() const {
    double range = 0;
    for (int64_t o = 0; o < outputs; ++o) range = std::max(range, output_range(o));
    return range;
  }
  void input_ranges(std::vector<double>& ranges) const {
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t i = 0; i < inputs; ++i) {
        double& r = ranges[depthwise ? o / multiplier : i];
        r = std::max(r, most[o * inputs + i] * input_factor(o, i) / out[o]);
      }
  }
  double bits() const {  // mean over channels that are not zero
    const double whole = largest();
    double sum = 0;
    int64_t count = 0;
    for (int64_t o = 0; o < outputs; ++o)
      if (const double range = output_range(o); range > 0) {
        sum += std::log2(range / whole);
        ++count;
      }
    return count > 0 ? sum / static_cast<double>(count) : 0;
  }
};

// Calls body(element, output channel, input channel of the group).
template <typename Body>
void for_weights(const Graph& graph, NodeId id, const Body& body) {
  const Node& node = graph.node(id);
  const Shape& shape = weights_of(graph, id).shape();
  const bool turned = weight_axis(graph, node) != 0;
  int64_t taps = 1;
  for (size_t d = 2; d < shape.size(); ++d) taps *= shape[d];
  for (int64_t i = 0; i < shape[0] * shape[1] * taps; ++i) {
    const int64_t first = i / (shape[1] * taps), second = i / taps % shape[1];
    body(i, turned ? second : first, turned ? first : second);
  }
}

Scaled describe(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  const Tensor& w = weights_of(graph, id);
  Scaled s;
  const int axis = weight_axis(graph, node);
  s.outputs = w.shape()[axis];
  s.inputs = w.shape()[1 - axis];
  const int64_t groups = node.attributes.get_int("group", 1);
  s.depthwise = node.is("Conv") && groups > 1 && s.inputs == 1;
  if (s.depthwise) s.multiplier = s.outputs / groups;
  s.most.assign(s.outputs * s.inputs, 0);
  for_weights(graph, id, [&](int64_t i, int64_t o, int64_t c) {
    double& most = s.most[o * s.inputs + c];
    most = std::max(most, std::abs(static_cast<double>(w.as<float>()[i])));
  });
  s.out.assign(s.outputs, 1);
  s.in.assign(s.depthwise ? groups : s.inputs, 1);
  return s;
}

// A constant that only this node reads afterwards.
void set_constant(Graph& graph, NodeId id, size_t index, Tensor tensor) {
  const std::string name = graph.value(graph.node(id).inputs[index]).name;
  graph.set_input(id, index, graph.add_constant(name + "_equalized", std::move(tensor)));
}

void write_factors(Graph& graph, NodeId id, const Scaled& s) {
  Tensor w = weights_of(graph, id).clone();
  for_weights(graph, id, [&](int64_t i, int64_t o, int64_t c) {
    w.as<float>()[i] = static_cast<float>(w.as<float>()[i] * s.input_factor(o, c) / s.out[o]);
  });
  set_constant(graph, id, 1, std::move(w));
  const Node& node = graph.node(id);
  if (node.inputs.size() < 3 || node.inputs[2] == kNoId) return;
  Tensor b = graph.value(node.inputs[2]).constant->clone();
  for (int64_t o = 0; o < s.outputs; ++o) b.as<float>()[o] = static_cast<float>(b.as<float>()[o] / s.out[o]);
  set_constant(graph, id, 2, std::move(b));
}

void write_caps(Graph& graph, const Pair& pair, const std::vector<double>& factors) {
  const Node clip = graph.node(pair.clip);
  const ValueId x = clip.inputs[0], y = clip.outputs[0];
  Tensor caps(DType::kFloat32, {1, static_cast<int64_t>(factors.size()), 1, 1});
  for (size_t c = 0; c < factors.size(); ++c) caps.as<float>()[c] = static_cast<float>(pair.cap / factors[c]);
  const ValueId relu = graph.add_op("Relu", clip.name + "_Relu", {x}, graph.value(y).name + "_relu", {});
  graph.value(relu).dtype = graph.value(y).dtype;
  graph.value(relu).shape = graph.value(y).shape;
  become(graph, pair.clip, "Min", "", {relu, graph.add_constant(clip.name + "_caps", std::move(caps))});
}

}  // namespace

EqualizationReport equalize_weights(Graph& graph) {
  EqualizationReport report;
  const std::vector<Pair> pairs = find_pairs(graph);
  std::map<NodeId, Scaled> layers;
  for (const Pair& pair : pairs) {
    layers.try_emplace(pair.root, describe(graph, pair.root));
    for (NodeId id : pair.readers) layers.try_emplace(id, describe(graph, id));
  }
  for (const auto& [id, layer] : layers) report.bits_before += layer.bits();
  double moved = 1;
  while (moved > kSettled && report.sweeps < kMostSweeps) {
    moved = 0;
    ++report.sweeps;
    for (const Pair& pair : pairs) {
      Scaled& from = layers.at(pair.root);
      std::vector<double> read(from.outputs, 0);
      for (NodeId id : pair.readers) layers.at(id).input_ranges(read);
      for (int64_t c = 0; c < from.outputs; ++c) {
        const double made = from.output_range(c);
        if (!(made > 0) || !(read[c] > 0)) continue;  // a dead channel
        const double before = from.out[c];
        from.out[c] = std::clamp(before * std::sqrt(made / read[c]), 1 / kLargestFactor, kLargestFactor);
        moved = std::max(moved, std::abs(std::log(from.out[c] / before)));
        for (NodeId id : pair.readers) layers.at(id).in[c] = from.out[c];
      }
    }
  }
  for (const auto& [id, layer] : layers) report.bits_after += layer.bits();
  if (!layers.empty()) {
    report.bits_before /= static_cast<double>(layers.size());
    report.bits_after /= static_cast<double>(layers.size());
  }
  for (const auto& [id, layer] : layers) write_factors(graph, id, layer);
  for (const Pair& pair : pairs) {
    ++report.pairs;
    if (pair.clip == kNoId) continue;
    write_caps(graph, pair, layers.at(pair.root).out);
    ++report.caps;
  }
  graph.prune();
  return report;
}

namespace {

bool pads_nothing(const Node& node) {
  const auto pads = node.attributes.get_ints("pads", {});
  const std::string mode = node.attributes.get_string("auto_pad", "NOTSET");
  return (mode.empty() || mode == "NOTSET" || mode == "VALID") &&
         std::all_of(pads.begin(), pads.end(), [](int64_t p) { return p == 0; });
}

// c of each channel; empty where the table does not know them.
std::vector<double> offsets(const CalibrationTable& table, const std::string& value, int64_t channels) {
  const auto found = table.tensors.find(value);
  if (found == table.tensors.end()) return {};
  const TableChannels& t = found->second.channels;
  const auto n = static_cast<size_t>(channels);
  if (t.min.size() != n || t.mean.size() != n || t.mean_square.size() != n) return {};
  std::vector<double> c(n);
  for (size_t i = 0; i < n; ++i) {
    const double sigma = std::sqrt(std::max(0.0, t.mean_square[i] - t.mean[i] * t.mean[i]));
    c[i] = std::max(0.0, std::min(t.mean[i] - kDeviations * sigma, static_cast<double>(t.min[i])));
  }
  return c;
}

void add_to_bias(Graph& graph, NodeId id, const std::vector<double>& more) {
  const Node& node = graph.node(id);
  const bool missing = node.inputs.size() < 3 || node.inputs[2] == kNoId;
  Tensor bias = missing ? Tensor(DType::kFloat32, {static_cast<int64_t>(more.size())})
                        : graph.value(node.inputs[2]).constant->clone();
  for (size_t o = 0; o < more.size(); ++o)
    bias.as<float>()[o] = static_cast<float>(bias.as<float>()[o] + more[o]);
  if (!missing) return set_constant(graph, id, 2, std::move(bias));
  const ValueId value = graph.add_constant(node.name + "_bias", std::move(bias));
  if (graph.node(id).inputs.size() > 2)
    graph.set_input(id, 2, value);
  else
    graph.append_input(id, value);
}

}  // namespace

AbsorptionReport absorb_high_biases(Graph& graph, const CalibrationTable& table) {
  AbsorptionReport report;
  const std::vector<NodeGroup> groups = NodeGroups(graph).groups();
  for (const NodeGroup& group : groups) {
    const bool relu = group.activation && group.activation->function == Function::kRelu;
    if (!scalable(graph, group.root) || group.residual != kNoId || (!relu && group.caps.empty())) continue;
    Pair pair{group.root, kNoId, group.output, 0, true, {}};
    if (!collect_readers(graph, group.output, pair) || !pair.direct || pair.readers.empty()) continue;
    if (!std::all_of(pair.readers.begin(), pair.readers.end(),
                     [&](NodeId id) { return pads_nothing(graph.node(id)); }))
      continue;
    const int64_t channels =
        weights_of(graph, group.root).shape()[weight_axis(graph, graph.node(group.root))];
    std::vector<double> c = offsets(table, graph.value(group.output).name, channels);
    for (size_t i = 0; i < group.caps.size() && i < c.size(); ++i)
      if (c[i] > 0.9 * static_cast<double>(group.caps[i])) c[i] = 0;  // it is always at its cap
    const auto absorbed = std::count_if(c.begin(), c.end(), [](double v) { return v > 0; });
    if (absorbed == 0) continue;
    ++report.layers;
    report.channels += absorbed;
    for (NodeId id : pair.readers) {
      const Tensor& w = weights_of(graph, id);
      const Scaled s = describe(graph, id);
      std::vector<double> more(s.outputs, 0);
      for_weights(graph, id, [&](int64_t i, int64_t o, int64_t in) {
        more[o] += w.as<float>()[i] * c[s.depthwise ? o / s.multiplier : in];
      });
      add_to_bias(graph, id, more);
    }
    for (double& v : c) v = -v;
    add_to_bias(graph, group.root, c);
    if (group.caps.empty()) continue;
    Tensor caps(DType::kFloat32, {1, channels, 1, 1});
    for (int64_t i = 0; i < channels; ++i) caps.as<float>()[i] = static_cast<float>(group.caps[i] + c[i]);
    const Node& min = graph.node(group.nodes.back());
    set_constant(graph, group.nodes.back(), graph.is_constant(min.inputs[0]) ? 0 : 1, std::move(caps));
  }
  graph.prune();
  return report;
}

}  // namespace octet
