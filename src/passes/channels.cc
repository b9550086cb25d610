#include "passes/channels.h"

#include <numeric>

#include "passes/pads.h"

namespace octet {
namespace {

std::optional<int64_t> channels_of(const Graph& graph, ValueId value) {
  const auto& shape = graph.value(value).shape;
  if (!shape || shape->size() != 4 || !(*shape)[1].known()) return {};
  return (*shape)[1].value();
}

int64_t axis_of(const Node& node, int64_t fallback) {
  const int64_t axis = node.attributes.get_int("axis", fallback);
  return axis < 0 ? axis + 4 : axis;
}

std::vector<ChannelLink> run_of(int64_t count, int64_t from, int64_t to, int64_t step = 1) {
  std::vector<ChannelLink> links;
  for (int64_t i = 0; i < count; ++i) links.push_back({from + i * step, to + i});
  return links;
}

std::optional<std::vector<int64_t>> constant_integers(const Graph& graph, const Node& node, size_t index) {
  if (index >= node.inputs.size() || !graph.is_constant(node.inputs[index])) return {};
  return to_int64(*graph.value(node.inputs[index]).constant);
}

// Slice(data, starts, ends, axes, steps): first channel and distance.
std::optional<ChannelLink> sliced_channels(const Graph& graph, const Node& node, int64_t channels) {
  const auto starts = constant_integers(graph, node, 1);
  if (!starts) return {};
  std::vector<int64_t> axes(starts->size());
  std::iota(axes.begin(), axes.end(), 0);
  if (node.inputs.size() > 3 && node.inputs[3] != kNoId) {
    const auto given = constant_integers(graph, node, 3);
    if (!given || given->size() != starts->size()) return {};
    axes = *given;
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] != 1 && axes[i] != -3) continue;
    int64_t step = 1;
    if (node.inputs.size() > 4 && node.inputs[4] != kNoId) {
      const auto steps = constant_integers(graph, node, 4);
      if (!steps || steps->size() != axes.size()) return {};
      step = (*steps)[i];
    }
    int64_t start = (*starts)[i];
    if (start < 0) start += channels;
    if (step < 1 || start < 0 || start >= channels) return {};
    return ChannelLink{start, step};
  }
  return ChannelLink{0, 1};
}

bool keeps_channels(const Graph& graph, const Node& node) {
  if (node.is("MaxPool") || node.is("GlobalMaxPool") || node.is("Identity")) return true;
  if (node.is("Resize"))
    return graph.value(node.inputs[0]).shape->at(0) == graph.value(node.outputs[0]).shape->at(0);
  if (node.is("Pad")) {
    const auto pads = pads_of(graph, node);
    return pads && (*pads)[0] == 0 && (*pads)[1] == 0 && (*pads)[4] == 0 && (*pads)[5] == 0;
  }
  if (!node.is("Transpose")) return false;
  const auto perm = node.attributes.get_ints("perm", {3, 2, 1, 0});
  return perm.size() == 4 && perm[1] == 1;
}

}  // namespace

std::optional<std::vector<ChannelLink>> channel_links(const Graph& graph, const Node& node, size_t input,
                                                      size_t output) {
  const auto in = channels_of(graph, node.inputs[input]), out = channels_of(graph, node.outputs[output]);
  if (!in || !out) return {};
  if (node.is("Concat")) {
    if (axis_of(node, 0) != 1) return *in == *out ? std::optional(run_of(*in, 0, 0)) : std::nullopt;
    int64_t at = 0;
    for (size_t i = 0; i < input; ++i) {
      const auto before = channels_of(graph, node.inputs[i]);
      if (!before) return {};
      at += *before;
    }
    return at + *in <= *out ? std::optional(run_of(*in, 0, at)) : std::nullopt;
  }
  if (input != 0) return {};
  if (node.is("Slice")) {
    const auto sliced = sliced_channels(graph, node, *in);
    if (!sliced || *out < 1 || sliced->from + (*out - 1) * sliced->to >= *in) return {};
    return run_of(*out, sliced->from, 0, sliced->to);
  }
  if (node.is("Split") && axis_of(node, 0) == 1) {
    int64_t at = 0;
    for (size_t i = 0; i < output; ++i) {
      const auto before = node.outputs[i] == kNoId ? std::nullopt : channels_of(graph, node.outputs[i]);
      if (!before) return {};
      at += *before;
    }
    return at + *out <= *in ? std::optional(run_of(*out, at, 0)) : std::nullopt;
  }
  if (*in != *out || !(node.is("Split") || keeps_channels(graph, node))) return {};
  return run_of(*in, 0, 0);
}

ValueId float_input(const Graph& graph, ValueId input) {
  const std::vector<NodeId>& readers = graph.consumers(input);
  const auto dtype = graph.value(input).dtype;
  if (!dtype || !is_half(*dtype) || readers.size() != 1 || graph.is_output(input) ||
      !graph.node(readers[0]).is("Cast"))
    return input;
  return graph.node(readers[0]).outputs[0];
}

ValueId channels_first_image(const Graph& graph, ValueId value) {
  const std::vector<NodeId>& readers = graph.consumers(value);
  if (readers.size() != 1 || graph.is_output(value)) return kNoId;
  const Node& node = graph.node(readers[0]);
  const bool first =
      node.is("Transpose") && node.attributes.get_ints("perm", {}) == std::vector<int64_t>{0, 3, 1, 2};
  return first ? node.outputs[0] : kNoId;
}

std::optional<QuantParams> moved_params(const Graph& graph, const Node& node, size_t output,
                                        const QuantParams& input) {
  if (!input.per_channel()) return input;
  const auto links = channel_links(graph, node, 0, output);
  if (!links || input.axis != 1) return {};
  QuantParams moved{input.dtype, 1, std::vector<float>(links->size()), std::vector<int32_t>(links->size())};
  for (const ChannelLink& link : *links) {
    if (link.from >= static_cast<int64_t>(input.scale.size())) return {};
    moved.scale[link.to] = input.scale[link.from];
    moved.zero_point[link.to] = input.zero_point[link.from];
  }
  return moved;
}

QuantParams channel_slice(const QuantParams& params, int64_t begin, int64_t count) {
  if (!params.per_channel()) return params;
  QuantParams part{params.dtype, params.axis, {}, {}};
  part.scale.assign(params.scale.begin() + begin, params.scale.begin() + begin + count);
  part.zero_point.assign(params.zero_point.begin() + begin, params.zero_point.begin() + begin + count);
  return part;
}

}  // namespace octet
