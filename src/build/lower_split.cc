// Split of 8-bit values: along channels it is views of the whole.
#include "build/lowering.h"
#include "passes/channels.h"

namespace octet {
namespace {

int64_t axis_of(const LoweringState& l, const Node& split) {
  const int64_t axis = split.attributes.get_int("axis", 0);
  return axis < 0 ? axis + l.rank(split.inputs[0]) : axis;
}

bool used(const Graph& g, ValueId v) {
  return v != kNoId && (g.is_output(v) || !g.consumers(v).empty());
}

// The 8-bit forms of the parts, where each that is used has the scale of the whole; with the channel that
// each begins at.
struct Part {
  std::optional<LoweringState::Requantized> out;
  int64_t channel = 0;
};

std::optional<std::vector<Part>> parts_of(const LoweringState& l, const Node& split,
                                          const QuantParams& whole) {
  const bool channels = axis_of(l, split) == 1;
  std::vector<Part> parts;
  int64_t channel = 0;
  for (ValueId v : split.outputs) {
    if (v == kNoId) return {};
    Part part;
    part.channel = channel;
    part.out = l.requantized(v);
    if (channels) {
      const Dim& c = l.dims(v)[1];
      if (!c.known()) return {};
      if (part.out && part.out->value.params != channel_slice(whole, channel, c.value())) part.out.reset();
      channel += c.value();
    } else if (part.out && (part.out->value.params != whole || whole.per_channel())) {
      part.out.reset();
    }
    if (!part.out && used(l.graph(), v)) return {};
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace

bool splits_channels(const LoweringState& l, const Node& node) {
  return node.is("Split") && l.rank(node.inputs[0]) == 4 && axis_of(l, node) == 1;
}

std::optional<ValueId> LoweringState::whole_of_parts(std::span<const ValueId> parts) const {
  const auto first = quantized(parts[0]);
  const Node* q = first ? graph_.producer(first->stored) : nullptr;
  const Node* split = q ? graph_.producer(q->inputs[0]) : nullptr;
  if (split == nullptr || !splits_channels(*this, *split) || split->outputs.size() > parts.size()) return {};
  const auto in = quantized(split->inputs[0]);
  const auto all = in ? parts_of(*this, *split, in->params) : std::nullopt;
  if (!all) return {};
  for (size_t i = 0; i < all->size(); ++i) {
    const auto part = quantized(parts[i]);
    if (!part || !(*all)[i].out || part->stored != (*all)[i].out->value.stored) return {};
  }
  return in->stored;
}

void lower_split(LoweringState& l, NodeId id) {
  const Graph& g = l.graph();
  const Node& node = g.node(id);
  const auto in = l.quantized(node.inputs[0]);
  const auto parts = in ? parts_of(l, node, in->params) : std::nullopt;
  if (!parts) {
    if (!l.lower_array_split(id)) lower_generic(l, id);
    return;
  }
  if (splits_channels(l, node)) {
    const int32_t whole = l.tensor(in->stored, Layout::kNhwc);
    const engine::TensorDef def = l.model().tensors[whole];
    for (size_t i = 0; i < parts->size(); ++i) {
      const Part& part = (*parts)[i];
      if (!part.out) continue;
      const int32_t view = l.make_channel_view(
          g.value(node.outputs[i]).name, def.parent >= 0 ? def.parent : whole,
          def.channel_offset + part.channel, l.dims(node.outputs[i]), DType::kUInt8, part.out->value.params);
      l.bind(part.out->value.stored, view);
      l.mark_done(part.out->node);
    }
    return;
  }
  std::vector<int32_t> inputs{l.tensor(in->stored, Layout::kPlain)}, outputs;
  for (size_t i = 1; i < node.inputs.size(); ++i)
    inputs.push_back(node.inputs[i] == kNoId ? -1 : l.tensor(node.inputs[i], Layout::kPlain));
  for (size_t i = 0; i < parts->size(); ++i) {
    const auto& out = (*parts)[i].out;
    outputs.push_back(out ? l.make_stored(out->value, Layout::kPlain)
                          : l.make_temporary(node.name + "/unused", DType::kUInt8, Layout::kPlain,
                                             l.dims(node.outputs[i]), in->params));
    if (out) l.mark_done(out->node);
  }
  engine::StepDef& step = l.add_step("generic", id, inputs, outputs);
  step.attributes = node.attributes;
  step.attributes.set("op", node.op);
  l.set_precision(step, "int8");
}

}  // namespace octet
