#include <algorithm>

#include "quant/range/grid_error.h"
#include "quant/range/range.h"
#include "quant/range/search.h"

namespace octet {

Range least_error_range(const TensorStatistics& statistics, const GridError& error,
                        const RangeOptions& options) {
  const float low = statistics.min(), high = statistics.max();
  if (low == high) return {low, high};  // no value, or one: every grid that ends there is exact
  if (options.symmetric) {
    const Range half = search_symmetric_range(std::max(-low, high), [&](Range range) {
      return error.total(symmetric_params(range, options.dtype));
    });
    return {-half.high, half.high};
  }
  return search_range({low, high},
                      [&](Range range) { return error.total(affine_params(range, options.dtype)); });
}

Range mse_range(const TensorStatistics& statistics, const RangeOptions& options) {
  return least_error_range(statistics, GridError(statistics), options);
}

}  // namespace octet
