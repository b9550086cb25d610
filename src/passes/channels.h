// How operators that move values move whole channels.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"
#include "quant/quant_params.h"

namespace octet {

// Channel `to` of an output holds values of channel `from` of an input.
struct ChannelLink {
  int64_t from = 0, to = 0;
};

// The channels (axis 1 of rank 4) that reach output `output` of a moving operator (QuantRule::kSameScale)
// from its input `input`; nullopt where channels are mixed or not known.
std::optional<std::vector<ChannelLink>> channel_links(const Graph& graph, const Node& node, size_t input,
                                                      size_t output);

// Where an input's floats begin: behind the Cast that alone reads an input of 16-bit floats, or at the input.
ValueId float_input(const Graph& graph, ValueId input);

// N x C x H x W of a value N x H x W x C that only a Transpose reads; kNoId where it is not such a value.
// 8-bit images begin there, where an axis of channels is.
ValueId channels_first_image(const Graph& graph, ValueId value);

// Parameters of the output that keep every integer as it is; nullopt where there are none. One scale stays
// one scale.
std::optional<QuantParams> moved_params(const Graph& graph, const Node& node, size_t output,
                                        const QuantParams& input);

// Those of channels [begin, begin + count) along axis 1.
QuantParams channel_slice(const QuantParams& params, int64_t begin, int64_t count);

}  // namespace octet
