#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/error.h"
#include "quant/range/grid_error.h"
#include "quant/range/range.h"

namespace octet {
namespace {

// How far a channel reaches on one side, and what it brings there.
struct Reach {
  double end, count, energy;
};

// For each bin of a side the mean energy of the channels that reach it.
std::vector<double> bin_energies(const HistogramSide& side, std::vector<Reach> channels) {
  std::sort(channels.begin(), channels.end(), [](const Reach& a, const Reach& b) { return a.end < b.end; });
  std::vector<double> energies(side.counts.size(), 0);
  double count = 0, energy = 0;
  for (size_t k = energies.size(); k-- > 0;) {
    while (!channels.empty() && channels.back().end >= static_cast<double>(k) * side.width()) {
      count += channels.back().count;
      energy += channels.back().count * channels.back().energy;
      channels.pop_back();
    }
    if (count > 0) energies[k] = energy / count;
  }
  return energies;
}

}  // namespace

Range output_range(const TensorStatistics& statistics, const RangeOptions& options,
                   std::span<const double> energies) {
  const std::vector<ChannelStatistics>& channels = statistics.channels();
  if (energies.empty() || channels.empty()) return mse_range(statistics, options);
  if (energies.size() != channels.size())
    fail(ErrorCode::kInvalidArgument, "{} energies of {} channels", energies.size(), channels.size());
  std::vector<Reach> up, down;
  double total = 0;
  for (size_t c = 0; c < channels.size(); ++c) {
    if (!(energies[c] >= 0 && std::isfinite(energies[c])))
      fail(ErrorCode::kInvalidArgument, "energy {} of channel {}: expected 0 or more", energies[c], c);
    const ChannelStatistics& channel = channels[c];
    if (channel.count == 0) continue;
    const double count = static_cast<double>(channel.count);
    total += count * energies[c];
    if (channel.max > 0) up.push_back({channel.max, count, energies[c]});
    if (channel.min < 0) down.push_back({-static_cast<double>(channel.min), count, energies[c]});
  }
  if (!(total > 0)) return mse_range(statistics, options);
  const GridError error(statistics, bin_energies(statistics.positive(), std::move(up)),
                        bin_energies(statistics.negative(), std::move(down)));
  return least_error_range(statistics, error, options);
}

}  // namespace octet
