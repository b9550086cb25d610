// Which scale groups may have a scale per channel.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "passes/quantize.h"

namespace octet {

// A scale group whose channels may differ. Channels that are moved into one another (by concatenation,
// pooling, resizing ...) share a slot; `of` gives the slot of each channel of each value of the group.
struct ChannelGroup {
  int64_t slots = 0;
  std::map<ValueId, std::vector<int64_t>> of;
};

// One entry per group of the placement; nullopt where an operator mixes channels, or a reader cannot absorb
// their scales.
std::vector<std::optional<ChannelGroup>> channel_groups(const Graph& graph, const Placement& placement,
                                                        const QuantizeOptions& options);

}  // namespace octet
