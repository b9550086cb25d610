#include <optional>

#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

// Which pixels of `x` a chain of Slices takes: every second one from (row, column) on.
struct Phase {
  ValueId x = kNoId;
  int64_t row = 0, column = 0;
};

std::optional<std::vector<int64_t>> integers(const Graph& graph, const Node& node, size_t index) {
  if (index >= node.inputs.size() || !graph.is_constant(node.inputs[index])) return {};
  return to_int64(*graph.value(node.inputs[index]).constant);
}

std::optional<Phase> phase_of(const Graph& graph, ValueId value) {
  Phase phase{value};
  bool halved[2] = {false, false};
  for (const Node* slice = producer_of(graph, value, "Slice"); slice != nullptr && !(halved[0] && halved[1]);
       slice = producer_of(graph, phase.x, "Slice")) {
    const auto starts = integers(graph, *slice, 1), ends = integers(graph, *slice, 2),
               axes = integers(graph, *slice, 3), steps = integers(graph, *slice, 4);
    const auto& shape = graph.value(slice->inputs[0]).shape;
    if (!starts || !ends || !axes || !steps || !shape || shape->size() != 4) return {};
    if (starts->size() != axes->size() || ends->size() != axes->size() || steps->size() != axes->size())
      return {};
    for (size_t i = 0; i < axes->size(); ++i) {
      const int64_t axis = (*axes)[i] < 0 ? (*axes)[i] + 4 : (*axes)[i];
      if (axis != 2 && axis != 3) return {};
      const Dim& size = (*shape)[axis];
      if (!size.known() || size.value() % 2 != 0 || (*ends)[i] < size.value()) return {};
      if (halved[axis - 2] || (*steps)[i] != 2 || (*starts)[i] < 0 || (*starts)[i] > 1) return {};
      halved[axis - 2] = true;
      (axis == 2 ? phase.row : phase.column) = (*starts)[i];
    }
    phase.x = slice->inputs[0];
  }
  return halved[0] && halved[1] ? std::optional(phase) : std::nullopt;
}

std::vector<int64_t> doubled(std::vector<int64_t> values) {
  for (int64_t& v : values) v *= 2;
  return values;
}

bool fold(Graph& graph, NodeId id) {
  const Node conv = graph.node(id);
  const Node* concat = producer_of(graph, conv.inputs[0], "Concat");
  if (concat == nullptr || !only_use(graph, conv.inputs[0]) || !graph.is_constant(conv.inputs[1]))
    return false;
  const Tensor& weights = *graph.value(conv.inputs[1]).constant;
  const int64_t axis = concat->attributes.get_int("axis", 1);
  if (weights.dtype() != DType::kFloat32 || weights.rank() != 4 || (axis != 1 && axis != -3)) return false;
  const Attributes& a = conv.attributes;
  if (a.get_int("group", 1) != 1 || a.get_string("auto_pad", "NOTSET") != "NOTSET" ||
      a.get_ints("dilations", {1, 1}) != std::vector<int64_t>{1, 1})
    return false;
  std::vector<Phase> phases;
  for (const ValueId part : concat->inputs) {
    const auto phase = phase_of(graph, part);
    if (!phase || (!phases.empty() && phase->x != phases[0].x)) return false;
    phases.push_back(*phase);
  }
  const auto& shape = graph.value(phases[0].x).shape;
  const auto parts = static_cast<int64_t>(phases.size());
  const Shape& w = weights.shape();
  if (!(*shape)[1].known() || (*shape)[1].value() * parts != w[1]) return false;

  const int64_t channels = (*shape)[1].value(), height = 2 * w[2], width = 2 * w[3];
  Tensor folded(DType::kFloat32, {w[0], channels, height, width});
  const auto from = weights.as<float>();
  const auto to = folded.as<float>();
  for (int64_t o = 0; o < w[0]; ++o)
    for (int64_t c = 0; c < w[1]; ++c)
      for (int64_t y = 0; y < w[2]; ++y)
        for (int64_t x = 0; x < w[3]; ++x) {
          const Phase& phase = phases[c / channels];
          to[((o * channels + c % channels) * height + 2 * y + phase.row) * width + 2 * x + phase.column] +=
              from[((o * w[1] + c) * w[2] + y) * w[3] + x];
        }
  Attributes attributes = a;
  attributes.set("kernel_shape", std::vector<int64_t>{height, width});
  attributes.set("strides", doubled(a.get_ints("strides", {1, 1})));
  attributes.set("pads", doubled(a.get_ints("pads", {0, 0, 0, 0})));
  graph.node(id).attributes = std::move(attributes);
  graph.set_input(id, 0, phases[0].x);
  graph.set_input(id, 1, graph.add_constant(graph.value(conv.inputs[1]).name + "_folded", std::move(folded)));
  return true;
}

}  // namespace

bool fold_space_to_depth(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted())
    if (graph.node(id).is("Conv")) changed |= fold(graph, id);
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
