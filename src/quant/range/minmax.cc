#include "quant/range/range.h"

namespace octet {

Range minmax_range(const TensorStatistics& statistics) {
  if (statistics.finite() == 0) return {};
  return {statistics.min(), statistics.max()};
}

}  // namespace octet
