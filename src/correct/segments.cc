#include "correct/segments.h"

#include <algorithm>

namespace octet {

CutGraph::CutGraph(const Graph& graph, const std::vector<int32_t>& segment_of,
                   const std::vector<std::vector<ValueId>>& demands)
    : segment_of_(segment_of),
      constant_(graph.node_slots(), false),
      borders_(demands.size()),
      nodes_(demands.size()),
      last_use_(graph.value_slots(), -1) {
  const std::vector<NodeId> order = graph.sorted();
  for (NodeId id : order) {
    const auto& inputs = graph.node(id).inputs;
    constant_[id] = !inputs.empty() && std::all_of(inputs.begin(), inputs.end(), [&](ValueId v) {
      return v == kNoId || graph.is_constant(v) ||
             (graph.value(v).producer != kNoId && constant_[graph.value(v).producer]);
    });
  }
  std::vector<int32_t> position(graph.node_slots(), 0);
  for (size_t i = 0; i < order.size(); ++i) position[order[i]] = static_cast<int32_t>(i);

  // From the last segment to the first: what a segment reads is what earlier ones must make.
  std::vector<std::set<ValueId>> wanted(demands.size());
  for (auto s = static_cast<int32_t>(demands.size()) - 1; s >= 0; --s) {
    std::set<NodeId> nodes;
    std::set<ValueId> inputs;
    for (ValueId v : demands[s])
      if (v != kNoId && !graph.is_constant(v)) inputs.insert(v);
    for (ValueId v : wanted[s]) collect(graph, s, v, nodes, inputs);
    for (ValueId v : inputs) {
      last_use_[v] = std::max(last_use_[v], s);
      const NodeId producer = graph.value(v).producer;
      if (producer != kNoId) wanted[segment_of_[producer]].insert(v);
    }
    borders_[s] = {{inputs.begin(), inputs.end()}, {wanted[s].begin(), wanted[s].end()}};
    nodes_[s].assign(nodes.begin(), nodes.end());
    std::sort(nodes_[s].begin(), nodes_[s].end(),
              [&](NodeId a, NodeId b) { return position[a] < position[b]; });
  }
}

bool CutGraph::replicated(const Graph& graph, NodeId id) const {
  return constant_[id] || graph.node(id).is("DequantizeLinear");
}

void CutGraph::collect(const Graph& graph, int32_t s, ValueId first, std::set<NodeId>& nodes,
                       std::set<ValueId>& inputs) const {
  std::vector<ValueId> open{first};
  while (!open.empty()) {
    const ValueId v = open.back();
    open.pop_back();
    if (v == kNoId || graph.is_constant(v)) continue;
    const NodeId producer = graph.value(v).producer;
    if (producer == kNoId || (segment_of_[producer] != s && !replicated(graph, producer))) {
      inputs.insert(v);
      continue;
    }
    if (!nodes.insert(producer).second) continue;
    for (ValueId in : graph.node(producer).inputs) open.push_back(in);
  }
}

Graph CutGraph::extract(const Graph& graph, int32_t s) const {
  Graph out;
  if (borders_[s].outputs.empty()) return out;
  std::map<ValueId, ValueId> moved;
  for (ValueId v : borders_[s].inputs)
    moved[v] = out.add_input(graph.value(v).name, *graph.value(v).dtype, *graph.value(v).shape);
  for (NodeId id : nodes_[s]) {
    const Node& node = graph.node(id);
    std::vector<ValueId> inputs, outputs;
    for (ValueId v : node.inputs) {
      if (v != kNoId && graph.is_constant(v) && !moved.count(v))
        moved[v] = out.add_constant(graph.value(v).name, *graph.value(v).constant);
      inputs.push_back(v == kNoId ? kNoId : moved.at(v));
    }
    for (ValueId v : node.outputs) {
      if (v != kNoId)
        moved[v] = out.add_value(graph.value(v).name, graph.value(v).dtype, graph.value(v).shape);
      outputs.push_back(v == kNoId ? kNoId : moved.at(v));
    }
    out.add_node(node.op, node.domain, node.name, inputs, outputs, node.attributes);
  }
  for (ValueId v : borders_[s].outputs) out.mark_output(moved.at(v));
  // A real value that the whole engine gives out is rounded after it was made, not while; so here too.
  for (ValueId v : graph.outputs()) {
    const auto made = moved.find(v);
    if (made != moved.end() && out.value(made->second).producer != kNoId && !out.is_output(made->second))
      out.mark_output(made->second);
  }
  return out;
}

KeptValue kept_value(const Graph& quantized, ValueId real) {
  const Node* node = quantized.producer(real);
  if (node != nullptr && node->is("DequantizeLinear")) return {node->inputs[0], node};
  return {real, nullptr};
}

namespace {

// Whether the layer's weights are integers under a DequantizeLinear, perhaps scaled by a constant.
bool has_integer_weights(const Graph& g, const Node& node) {
  const Node* source = g.producer(node.inputs[1]);
  if (source != nullptr && source->is("Div") && g.is_constant(source->inputs[1]))
    source = g.producer(source->inputs[0]);
  return source != nullptr && source->is("DequantizeLinear") && g.is_constant(source->inputs[0]);
}

}  // namespace

PairedSegments cut(const Graph& reference, const Graph& quantized) {
  PairedSegments result;
  const NodeGroups groups(reference);
  std::vector<int32_t> of_float(reference.node_slots(), 0), of_quantized(quantized.node_slots(), 0);
  int32_t segment = 0;
  for (NodeId id : reference.sorted()) {
    const NodeGroup* group = groups.find(id);
    if (group != nullptr && group->nodes.back() != id) continue;
    if (group != nullptr) {
      const Node& root = reference.node(group->root);
      const auto twin = quantized.find_node(root.name);
      const bool weighted = twin && (root.is("Conv") || root.is("Gemm") || root.is("MatMul")) &&
                            reference.is_constant(root.inputs[1]) &&
                            has_integer_weights(quantized, quantized.node(*twin));
      if (weighted) {
        ++segment;
        PairedLayer layer{*group, *twin, kept_value(quantized, quantized.node(*twin).inputs[0]), {}};
        if (group->residual != kNoId)
          for (NodeId n : group->nodes) {
            const auto add = quantized.find_node(reference.node(n).name);
            if (!reference.node(n).is("Add") || !add) continue;
            const size_t index = reference.node(n).inputs[0] == group->residual ? 0 : 1;
            layer.residual = kept_value(quantized, quantized.node(*add).inputs[index]);
          }
        result.layers.push_back(std::move(layer));
      }
      for (NodeId n : group->nodes) of_float[n] = segment;
    } else {
      of_float[id] = segment;
    }
  }
  for (NodeId id : quantized.sorted()) {
    const Node& node = quantized.node(id);
    if (const auto twin = reference.find_node(node.name)) {
      of_quantized[id] = of_float[*twin];
      continue;
    }
    for (ValueId v : node.inputs)
      if (v != kNoId && quantized.value(v).producer != kNoId)
        of_quantized[id] = std::max(of_quantized[id], of_quantized[quantized.value(v).producer]);
  }
  std::vector<std::vector<ValueId>> float_demands(segment + 1), quantized_demands(segment + 1);
  for (int32_t s = 1; s <= segment; ++s) {
    const PairedLayer& layer = result.layers[s - 1];
    float_demands[s] = {reference.node(layer.group.root).inputs[0], layer.group.residual};
    quantized_demands[s] = {layer.input.value, layer.residual.value};
  }
  result.sides.emplace_back(reference, of_float, float_demands);
  result.sides.emplace_back(quantized, of_quantized, quantized_demands);
  result.of_node = {std::move(of_float), std::move(of_quantized)};
  return result;
}

PairedSegments join(const Graph& reference, const Graph& quantized, const PairedSegments& fine,
                    const std::vector<int32_t>& joined,
                    const std::vector<std::vector<std::vector<ValueId>>>& demands) {
  PairedSegments result{fine.layers, {}, fine.of_node};
  for (size_t side = 0; side < 2; ++side) {
    for (int32_t& segment : result.of_node[side]) segment = joined[segment];
    result.sides.emplace_back(side == 0 ? reference : quantized, result.of_node[side], demands[side]);
  }
  return result;
}

}  // namespace octet
