#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "quant/range/range.h"

namespace octet {
namespace {

// Best a / b and a / sigma for 2, 3 .. 17 bits: the roots of exp(-t) = t / (3 * 4^M), and of
// 2 (density(t) - t * tail(t)) = t / (3 * 4^M).
constexpr int kFewestBits = 2;
constexpr std::array kLaplace{2.83068298937,   3.897229464945,  5.028640136236,  6.204766334013,
                              7.413126213844,  8.645619984034,  9.896759770018,  11.162685017744,
                              12.440591282905, 13.728384695913, 15.024464765264, 16.327583091399,
                              17.636748628849, 18.951162433673, 20.270171638544, 21.593236296475};
constexpr std::array kNormal{1.710635168114, 2.15159274474,  2.559136461975, 2.936200612108,
                             3.286914215214, 3.615114215263, 3.924035489881, 4.216329825704,
                             4.494160529301, 4.759299756219, 5.013210465701, 5.25711121079,
                             5.492026275918, 5.718824295351, 5.938248084612, 6.150937832465};
constexpr double kLaplaceBelow = 0.7601734505331403;  // of b / sigma: sqrt(pi / (2 e))

template <typename Add>
void for_bins(const TensorStatistics& statistics, const Add& add) {
  const auto side = [&](const HistogramSide& h, double sign) {
    const double width = h.width();
    for (size_t k = 0; k < h.counts.size(); ++k)
      if (h.counts[k] > 0)
        add(sign * (static_cast<double>(k) + 0.5) * width, static_cast<double>(h.counts[k]));
  };
  side(statistics.positive(), 1);
  side(statistics.negative(), -1);
}

}  // namespace

Range aciq_range(const TensorStatistics& statistics, const RangeOptions& options) {
  const float low = statistics.min(), high = statistics.max();
  if (low == high) return {low, high};
  const bool one_sided = !options.symmetric && (low >= 0 || high <= 0);
  double count = 0, sum = 0;
  for_bins(statistics, [&](double x, double n) {
    count += n;
    sum += n * x;
  });
  const double centre = options.symmetric || one_sided ? 0 : sum / count;
  double b = 0, variance = 0;
  for_bins(statistics, [&](double x, double n) {
    b += n * std::fabs(x - centre);
    variance += n * (x - centre) * (x - centre);
  });
  b /= count;
  const double sigma = std::sqrt(variance / count);
  const IntLimits limits = int_limits(options.dtype);
  const int bits = std::bit_width(static_cast<uint32_t>(limits.high - limits.low)) + (one_sided ? 1 : 0);
  const size_t row = static_cast<size_t>(bits - kFewestBits);
  const double reach = b < kLaplaceBelow * sigma ? kLaplace.at(row) * b : kNormal.at(row) * sigma;
  if (options.symmetric) {
    const double a = std::min(reach, std::max(-static_cast<double>(low), static_cast<double>(high)));
    return {static_cast<float>(-a), static_cast<float>(a)};
  }
  const double bottom = low >= 0 ? static_cast<double>(low) : std::max<double>(low, centre - reach);
  const double top = high <= 0 ? static_cast<double>(high) : std::min<double>(high, centre + reach);
  return {static_cast<float>(std::min(bottom, top)), static_cast<float>(std::max(bottom, top))};
}

}  // namespace octet
