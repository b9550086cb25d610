#include "pipeline/float_tensors.h"

#include <algorithm>
#include <map>

#include "build/build.h"
#include "data/subset.h"
#include "ops/op_def.h"
#include "passes/groups.h"
#include "report/compare.h"

namespace octet {
namespace {

// Decibels. In the CPU's runtimes a float layer takes thrice the time, and a pass before it and behind it.
constexpr double kLeastGain = 0.5, kLeastGainOnCpu = 3;
constexpr double kMostMacs = 0.2;
constexpr int64_t kJudges = 8;    // samples
constexpr size_t kTriesEach = 2;  // for each tensor that may be kept

struct Candidate {
  ValueId value = kNoId;
  double harm = 0, macs = 0;
  std::vector<std::string> layers;
};

// Multiplications per sample, up to a factor that all layers share.
double macs_of(const Graph& graph, const Node& layer) {
  const Shape& w = graph.value(layer.inputs[1]).constant->shape();
  double macs = 1;
  for (const int64_t d : w) macs *= static_cast<double>(d);
  const auto& shape = graph.value(layer.outputs[0]).shape;
  if (layer.is("Conv") && shape)
    for (size_t d = 2; d < shape->size(); ++d)
      if ((*shape)[d].known()) macs *= static_cast<double>((*shape)[d].value());
  return macs;
}

// Sum of the squared weights of each output channel.
std::vector<double> weight_energies(const Graph& graph, const Node& layer) {
  const Tensor& w = *graph.value(layer.inputs[1]).constant;
  const int axis = weight_axis(graph, layer);
  const int64_t outputs = w.shape()[static_cast<size_t>(axis)];
  int64_t inner = 1;
  for (int d = axis + 1; d < w.rank(); ++d) inner *= w.shape()[static_cast<size_t>(d)];
  std::vector<double> sums(static_cast<size_t>(outputs), 0);
  for (int64_t i = 0; i < w.count(); ++i) {
    const double v = w.as<float>()[i];
    sums[static_cast<size_t>(i / inner % outputs)] += v * v;
  }
  return sums;
}

std::vector<double> variances(const TableChannels& channels) {
  std::vector<double> v;
  for (size_t c = 0; c < channels.mean.size(); ++c)
    v.push_back(std::max(0.0, channels.mean_square[c] - channels.mean[c] * channels.mean[c]));
  return v;
}

// What varies at each output channel: as observed, or else as if the input's values were independent.
std::vector<double> output_variances(const CalibrationTable& table, const std::string& output,
                                     const TableChannels& input, const std::vector<double>& energies,
                                     bool depthwise) {
  const auto y = table.tensors.find(output);
  if (y != table.tensors.end() && y->second.channels.mean.size() == energies.size())
    return variances(y->second.channels);
  const std::vector<double> x = variances(input);
  if (x.empty()) return {};
  double mean = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  std::vector<double> result;
  for (size_t o = 0; o < energies.size(); ++o)
    result.push_back(energies[o] * (depthwise ? x[o * x.size() / energies.size()] : mean));
  return result;
}

// Mean over output channels of noise / (noise + what varies there); 0 where the table does not know.
double harm_of(const Graph& graph, const Node& layer, const std::string& output,
               const CalibrationTable& table) {
  const auto x = table.tensors.find(graph.value(layer.inputs[0]).name);
  if (x == table.tensors.end()) return 0;
  const auto choice = x->second.methods.find(table.method);
  if (choice == x->second.methods.end()) return 0;
  const std::vector<double> energies = weight_energies(graph, layer);
  const bool depthwise = layer.is("Conv") && layer.attributes.get_int("group", 1) > 1;
  const std::vector<double> varies = output_variances(table, output, x->second.channels, energies, depthwise);
  if (varies.empty()) return 0;
  double sum = 0;
  for (size_t o = 0; o < energies.size(); ++o) {
    const double noise = choice->second.mse * energies[o];
    if (noise > 0) sum += noise / (noise + varies[o]);
  }
  return sum / static_cast<double>(energies.size());
}

// What only an average pool reads whose own result is float. Nothing multiplies it, but of what a layer
// without another behind it gives, rounding is all that is lost: means of values below half a step are zero.
std::vector<Candidate> pooled_results(const Graph& graph, const Placement& placement) {
  std::vector<Candidate> found;
  for (const NodeId id : placement.integer_nodes) {
    const Node& node = graph.node(id);
    const OpDef* op = find_op(node.op, node.domain);
    if (op != nullptr && op->quant == QuantRule::kAverage && placement.group_of.count(node.inputs[0]) > 0 &&
        placement.group_of.count(node.outputs[0]) == 0 && graph.consumers(node.inputs[0]).size() == 1)
      found.push_back({node.inputs[0], 0, 0, {node.name}});
  }
  return found;
}

std::vector<Candidate> candidates(const Graph& graph, const Placement& placement,
                                  const CalibrationTable& table) {
  const NodeGroups groups(graph);
  std::map<ValueId, Candidate> found;
  double all = 0;
  for (const NodeId id : placement.weighted) {
    const Node& layer = graph.node(id);
    if (placement.group_of.count(layer.inputs[0]) == 0) continue;
    Candidate& c = found[layer.inputs[0]];
    c.value = layer.inputs[0];
    const NodeGroup* group = groups.find(id);
    c.harm += harm_of(graph, layer, graph.value(group ? group->output : layer.outputs[0]).name, table);
    c.macs += macs_of(graph, layer);
    all += macs_of(graph, layer);
    c.layers.push_back(layer.name);
  }
  std::vector<Candidate> sorted;
  for (auto& [value, c] : found) {
    c.macs /= std::max(1.0, all);
    if (c.macs <= kMostMacs) sorted.push_back(std::move(c));
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Candidate& a, const Candidate& b) { return a.harm > b.harm; });
  return sorted;
}

// Of the network's outputs when activations are rounded and weights are not.
std::optional<double> activation_quality(const RecipeSetup& setup, const CalibrationTable& table,
                                         const QuantizeOptions& options, const Dataset& judges) {
  Graph graph = setup.model.graph;
  Placement placement = place(graph, options);
  const ActivationParams params = tensor_params(graph, placement, options, [&](const std::string& value) {
    const auto found = table.tensors.find(value);
    return found == table.tensors.end() ? std::nullopt : std::optional(found->second.range);
  });
  placement.weighted.clear();
  placement.tables.clear();
  insert_qdq(graph, placement, options, params);
  const engine::Engine engine(build_engine(graph));
  return quality(compare_engines(setup.engine, engine, judges, setup.runner("trying")));
}

}  // namespace

FloatTensors choose_float_tensors(const RecipeSetup& setup, const CalibrationTable& table, int most) {
  FloatTensors result;
  const auto data = setup.data ? setup.data(0) : nullptr;
  if (data == nullptr || data->size() < 2) return result;
  std::vector<int64_t> held_back;
  const int64_t step = std::max<int64_t>(1, data->size() / kJudges);
  for (int64_t i = step - 1; i < data->size(); i += step) held_back.push_back(i);
  const Subset judges(*data, std::move(held_back));

  QuantizeOptions options = setup.quantization.options();
  const double least = options.target->symmetric ? kLeastGain : kLeastGainOnCpu;
  result.before_db = result.after_db = activation_quality(setup, table, options, judges);
  if (!result.before_db) return result;
  double macs = 0;
  const auto attempt = [&](const Candidate& c) {
    const std::string& name = setup.model.graph.value(c.value).name;
    const size_t excluded = options.exclude.size();
    options.exclude.insert(options.exclude.end(), c.layers.begin(), c.layers.end());
    const auto db = activation_quality(setup, table, options, judges);
    const double gain = db ? *db - *result.after_db : 0;
    if (gain < least) {
      options.exclude.resize(excluded);
      return;
    }
    result.after_db = db;
    macs += c.macs;
    result.kept.push_back({name, c.layers, gain, c.macs});
  };
  for (const Candidate& c : pooled_results(setup.model.graph, setup.placement)) attempt(c);
  const size_t pooled = result.kept.size();
  size_t tries = 0;
  for (const Candidate& c : candidates(setup.model.graph, setup.placement, table)) {
    if (result.kept.size() - pooled >= static_cast<size_t>(most) ||
        tries >= kTriesEach * static_cast<size_t>(most))
      break;
    if (!(c.harm > 0) || macs + c.macs > kMostMacs) continue;
    ++tries;
    attempt(c);
  }
  return result;
}

bool keeps_float(const FloatTensors& tensors, const std::string& layer) {
  return std::any_of(tensors.kept.begin(), tensors.kept.end(), [&](const FloatTensor& t) {
    return std::find(t.layers.begin(), t.layers.end(), layer) != t.layers.end();
  });
}

}  // namespace octet
