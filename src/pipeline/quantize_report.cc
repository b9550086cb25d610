#include "pipeline/quantize_report.h"

#include <algorithm>
#include <map>
#include <set>

#include "pipeline/text.h"

namespace octet {
namespace {

constexpr size_t kBlamed = 5;
constexpr double kPoor = 15;  // decibels at the outputs, below which results are hardly usable

double quality(const LayerReport& layer) {
  if (!layer.compared) return 1e10;
  return layer.sums.sqnr_db().value_or(1e9);
}

}  // namespace

QuantizeReport make_report(const Graph& graph, const std::vector<QuantizedLayer>& layers,
                           const Comparison& comparison) {
  QuantizeReport report;
  report.outputs = comparison.outputs;
  report.samples = comparison.samples;
  for (const LayerComparison& output : comparison.outputs) report.all_outputs += output.sums;
  std::map<std::string, const QuantizedLayer*> by_value;
  for (const QuantizedLayer& layer : layers) by_value.emplace(layer.output, &layer);
  for (const LayerComparison& found : comparison.layers) {
    LayerReport layer{found.name, found.name, "", found.precision, found.sums, true};
    if (const auto known = by_value.find(found.name); known != by_value.end()) {
      layer.name = known->second->node;
      layer.op = known->second->op;
      by_value.erase(known);
    } else if (const auto value = graph.find_value(found.name)) {
      if (const Node* node = graph.producer(*value)) {
        layer.name = node->name;
        layer.op = node->op;
      }
    }
    report.layers.push_back(std::move(layer));
  }
  for (const QuantizedLayer& layer : layers)
    if (by_value.count(layer.output))
      report.layers.push_back({layer.node, layer.output, layer.op, "int8", {}});
  std::stable_sort(report.layers.begin(), report.layers.end(),
                   [](const LayerReport& a, const LayerReport& b) { return quality(a) < quality(b); });
  return report;
}

std::vector<FloatNode> float_nodes(const Graph& graph, const Placement& placement,
                                   const engine::Model* quantized) {
  std::vector<FloatNode> nodes;
  std::set<std::string> named;
  for (const auto& [id, reason] : placement.left_out) {
    nodes.push_back({graph.node(id).name, graph.node(id).op, reason});
    named.insert(graph.node(id).name);
  }
  if (quantized == nullptr) return nodes;
  for (const engine::StepDef& step : quantized->steps) {
    if (step.precision == "int8" || step.reason.empty() || !named.insert(step.name).second) continue;
    const auto id = graph.find_node(step.name);
    nodes.push_back({step.name, id ? graph.node(*id).op : step.kind, step.reason});
  }
  return nodes;
}

std::vector<std::string> quality_warnings(const QuantizeReport& report) {
  std::vector<std::string> warnings;
  const auto sqnr = report.all_outputs.sqnr_db();
  if (sqnr && *sqnr < kPoor) {
    std::string blamed;
    for (size_t i = 0; i < std::min(kBlamed, report.layers.size()); ++i)
      if (report.layers[i].compared)
        blamed += fmt::format("{}'{}' ({})", blamed.empty() ? "" : ", ", report.layers[i].name,
                              db_text(report.layers[i].sums.sqnr_db()));
    warnings.push_back(fmt::format("the result is poor: the outputs keep only {}; the worst layers are {}",
                                   db_text(sqnr), blamed));
  }
  for (const LayerComparison& output : report.outputs)
    if (output.sums.not_finite > 0)
      warnings.push_back(fmt::format("output '{}': {} are NaN or infinite", output.name,
                                     plural(output.sums.not_finite, "value")));
  return warnings;
}

}  // namespace octet
