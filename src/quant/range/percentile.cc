#include <algorithm>

#include "quant/range/range.h"

namespace octet {
namespace {

// The value below which `rank` values lie, bins being filled evenly.
class Quantiles {
 public:
  explicit Quantiles(const TensorStatistics& statistics)
      : statistics_(statistics), negative_(statistics.negative()), positive_(statistics.positive()) {}

  float at(double rank) const {
    double below = 0, value = statistics_.max();
    const auto reached = [&](double low, double width, uint64_t count) {
      if (count == 0) return false;
      const double n = static_cast<double>(count);
      if (below + n >= rank) {
        value = low + width * (rank - below) / n;
        return true;
      }
      below += n;
      return false;
    };
    bool found = false;
    const double down = negative_.width(), up = positive_.width();
    for (size_t k = negative_.counts.size(); k-- > 0 && !found;)
      found = reached(-static_cast<double>(k + 1) * down, down, negative_.counts[k]);
    if (!found) found = reached(0, 0, statistics_.zeros());
    for (size_t k = 0; k < positive_.counts.size() && !found; ++k)
      found = reached(static_cast<double>(k) * up, up, positive_.counts[k]);
    return static_cast<float>(std::clamp<double>(value, statistics_.min(), statistics_.max()));
  }

 private:
  const TensorStatistics& statistics_;
  HistogramSide negative_, positive_;
};

}  // namespace

Range percentile_range(const TensorStatistics& statistics, double percentile) {
  if (statistics.finite() == 0) return {};
  const double count = static_cast<double>(statistics.finite());
  const double cut = count * (100 - percentile) / 200;
  const Quantiles quantiles(statistics);
  return {quantiles.at(cut), quantiles.at(count - cut)};
}

}  // namespace octet
