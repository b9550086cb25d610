// What quantization cost, layer by layer.
#pragma once

#include <string>
#include <vector>

#include "engine/model.h"
#include "graph/graph.h"
#include "passes/quantize.h"
#include "report/compare.h"

namespace octet {

struct LayerReport {
  std::string name;   // of the node, or of the value where no node is known
  std::string value;  // that it makes
  std::string op;
  std::string precision;  // of the step that makes it in the quantized engine
  PairSums sums;
  bool compared = false;  // false: both engines have no such value in common
};

struct QuantizeReport {
  std::vector<LayerReport> layers;  // worst first
  std::vector<LayerComparison> outputs;
  PairSums all_outputs;
  int64_t samples = 0;
};

// `graph` is the float one, `layers` what insert_qdq did to it.
QuantizeReport make_report(const Graph& graph, const std::vector<QuantizedLayer>& layers,
                           const Comparison& comparison);

// A node that runs in float although it might not, and why.
struct FloatNode {
  std::string node, op, reason;
};
std::vector<FloatNode> float_nodes(const Graph& graph, const Placement& placement,
                                   const engine::Model* quantized);

// What the user should know: poor outputs and the layers to blame.
std::vector<std::string> quality_warnings(const QuantizeReport& report);

}  // namespace octet
