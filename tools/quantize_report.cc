#include "quantize_report.h"

#include <algorithm>
#include <set>

namespace octet::tools {
namespace {

constexpr size_t kShown = 15;
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

std::string scales_text(const ChosenParams& scales, bool verbose) {
  if (scales.choices.empty())
    return scales.off.empty() ? "" : fmt::format("one scale per activation tensor: {}\n", scales.off);
  std::string text;
  const auto count = static_cast<int64_t>(scales.choices.size());
  if (scales.taken > 0)
    text = fmt::format("{} with a scale per channel, predicted to gain up to {:.1f} dB at their readers\n",
                       plural(scales.taken, "activation tensor"), scales.choices.front().gain_db);
  else
    text = fmt::format(
        "{} would gain by a scale per channel{}{}: '{}' by {:.1f} dB; 16 bits for them would help as well\n",
        plural(count, "activation tensor"), scales.off.empty() ? "" : ", but ", scales.off,
        scales.choices.front().value, scales.choices.front().gain_db);
  if (!verbose) return text;
  std::vector<std::vector<std::string>> rows;
  for (const ChannelChoice& c : scales.choices)
    rows.push_back({c.value, fmt::format("{:.1f} dB", c.gain_db), fmt::format("alpha {}", c.alpha)});
  return text + columns(rows, 1);
}

Json scales_json(const ChosenParams& scales) {
  Json tensors = Json::array();
  for (const ChannelChoice& c : scales.choices)
    tensors.push_back(
        {{"value", c.value}, {"gain_db", c.gain_db}, {"alpha", c.alpha}, {"per_channel", c.taken}});
  return {{"per_channel", scales.taken}, {"off", scales.off}, {"tensors", tensors}};
}

std::string report_text(const QuantizeReport& report, bool verbose) {
  std::vector<std::vector<std::string>> rows{{"layer, worst first", "operator", "runs as", "SQNR", "cosine"}};
  const size_t shown = verbose ? report.layers.size() : std::min(kShown, report.layers.size());
  for (size_t i = 0; i < shown; ++i) {
    const LayerReport& l = report.layers[i];
    rows.push_back({l.name, l.op, l.precision, l.compared ? db_text(l.sums.sqnr_db()) : "-",
                    l.compared ? fmt::format("{:.5f}", l.sums.cosine()) : "-"});
  }
  std::string text = columns(rows, 3);
  if (shown < report.layers.size())
    text += fmt::format("  ... and {} (--verbose shows all)\n",
                        plural(static_cast<int64_t>(report.layers.size() - shown), "better layer"));
  text += fmt::format("outputs against float, {}:\n", plural(report.samples, "sample"));
  rows.clear();
  for (const LayerComparison& o : report.outputs)
    rows.push_back({o.name, db_text(o.sums.sqnr_db()), fmt::format("cosine {:.5f}", o.sums.cosine())});
  return text + columns(rows, 1);
}

Json layers_json(const QuantizeReport& report) {
  Json list = Json::array();
  for (const LayerReport& l : report.layers) {
    Json entry{{"name", l.name}, {"value", l.value}, {"operator", l.op}, {"precision", l.precision}};
    if (l.compared) {
      entry["sqnr_db"] = db_json(l.sums.sqnr_db());
      entry["cosine"] = l.sums.cosine();
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json outputs_json(const std::vector<LayerComparison>& outputs) {
  Json object = Json::object();
  for (const LayerComparison& o : outputs)
    object[o.name] = {{"sqnr_db", db_json(o.sums.sqnr_db())}, {"cosine", o.sums.cosine()}};
  return object;
}

}  // namespace octet::tools
