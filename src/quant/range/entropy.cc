#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "quant/range/logarithm.h"
#include "quant/range/range.h"
#include "quant/range/search.h"

namespace octet {
namespace {

constexpr int kHalfBins = 2048;  // of one side
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A histogram with prefix sums of what the divergence of any window needs.
struct Prefix {
  explicit Prefix(const std::vector<uint64_t>& counts)
      : count(counts.size() + 1), filled(counts.size() + 1), self(counts.size() + 1) {
    for (size_t k = 0; k < counts.size(); ++k) {
      const double n = static_cast<double>(counts[k]);
      count[k + 1] = count[k] + n;
      filled[k + 1] = filled[k] + (n > 0 ? 1 : 0);
      self[k + 1] = self[k] + (n > 0 ? n * logarithm(n) : 0);
    }
  }
  size_t bins() const { return count.size() - 1; }
  std::vector<double> count, filled, self;  // sums of n, of [n > 0] and of n log n before bin k
};

// KL(P || Q) for the window [begin, end): P is the histogram there with all outside it added to the nearest
// edge bin; Q is the histogram there without them, made of `levels` groups (a power of two), each even over
// the bins where P is not 0. Infinite where Q is 0 and P is not.
class Divergence {
 public:
  Divergence(const Prefix& prefix, size_t levels)
      : prefix_(prefix),
        levels_(levels),
        log2_levels_(std::countr_zero(levels)),
        sum_(levels),
        filled_(levels) {}

  double operator()(size_t begin, size_t end) {
    const std::vector<double>& count = prefix_.count;
    const size_t bins = end - begin;
    const double inside = count[end] - count[begin];
    if (inside == 0) return kInfinity;
    const double left = count[begin], right = count.back() - count[end];
    size_t first = begin;
    for (size_t j = 0; j < levels_; ++j) {
      const size_t last = begin + ((j + 1) * bins >> log2_levels_);
      sum_[j] = count[last] - count[first];
      filled_[j] = prefix_.filled[last] - prefix_.filled[first];
      first = last;
    }
    double p_log_p = prefix_.self[end] - prefix_.self[begin];
    double cross = 0;  // of the outsiders: their n log q
    const auto outsiders = [&](size_t bin, size_t group, double n) {
      if (n == 0) return true;
      const double own = count[bin + 1] - count[bin];
      if (own == 0) filled_[group] += 1;
      if (sum_[group] == 0) return false;
      p_log_p += (own + n) * logarithm(own + n) - (own > 0 ? own * logarithm(own) : 0);
      return true;
    };
    if (!outsiders(begin, 0, left) || !outsiders(end - 1, levels_ - 1, right)) return kInfinity;
    for (size_t j = 0; j < levels_; ++j) {
      // An empty group has a logarithm of 1 here and weighs 0.
      const double empty = sum_[j] == 0 ? 1 : 0;
      filled_[j] = (sum_[j] + empty) / (filled_[j] + empty);
    }
    logarithms(filled_);
    for (size_t j = 0; j < levels_; ++j) cross += sum_[j] * filled_[j];
    cross += left * filled_[0] + right * filled_[levels_ - 1];
    const double all = inside + left + right;
    return (p_log_p - cross) / all + logarithm(inside / all);
  }

 private:
  const Prefix& prefix_;
  size_t levels_;
  int log2_levels_;
  std::vector<double> sum_, filled_;
};

// Adds a side to `bins` of the width 2^exponent / kHalfBins, bin k of the side to bin at(k).
template <typename At>
void add_side(const HistogramSide& side, int exponent, std::vector<uint64_t>& bins, const At& at) {
  const int shift =
      std::min(exponent - side.exponent + 1, 31);  // 4096 bins to 2048, and the difference of widths
  static_assert(HistogramSide::kBins == 2 * kHalfBins);
  for (size_t k = 0; k < side.counts.size(); ++k) bins[at(k >> shift)] += side.counts[k];
}

Range symmetric_entropy(const HistogramSide& positive, const HistogramSide& negative, double width,
                        int exponent, float extreme, size_t levels) {
  std::vector<uint64_t> bins(kHalfBins);
  for (const HistogramSide* side : {&positive, &negative})
    add_side(*side, exponent, bins, [](size_t k) { return k; });
  while (bins.back() == 0) bins.pop_back();
  const Prefix prefix(bins);
  Divergence divergence(prefix, levels);
  size_t best = bins.size();
  double least = kInfinity;
  for (size_t end = bins.size(); end >= levels; --end) {
    const double value = divergence(0, end);
    if (!(value < least)) continue;
    least = value;
    best = end;
  }
  const float a = best == bins.size() ? extreme : static_cast<float>(static_cast<double>(best) * width);
  return {-a, a};
}

Range affine_entropy(const HistogramSide& positive, const HistogramSide& negative, double width, int exponent,
                     Range extremes, size_t levels) {
  std::vector<uint64_t> bins(2 * kHalfBins);
  add_side(positive, exponent, bins, [](size_t k) { return kHalfBins + k; });
  add_side(negative, exponent, bins, [](size_t k) { return kHalfBins - 1 - k; });
  const Prefix prefix(bins);
  Divergence divergence(prefix, levels);
  // Bins of one side up to the one that holds `end`.
  const auto reach = [&](float end) {
    return end == 0 ? 0 : static_cast<size_t>(std::fabs(static_cast<double>(end)) / width) + 1;
  };
  const auto cost = [&](Range range) {
    const size_t begin = kHalfBins - reach(range.low), end = kHalfBins + reach(range.high);
    return end - begin < levels ? kInfinity : divergence(begin, end);
  };
  return search_range(extremes, cost);
}

}  // namespace

Range entropy_range(const TensorStatistics& statistics, const RangeOptions& options) {
  const float low = statistics.min(), high = statistics.max();
  if (low == high) return {low, high};
  const HistogramSide positive = statistics.positive(), negative = statistics.negative();
  int exponent = HistogramSide::kSmallestExponent;
  for (const HistogramSide* side : {&positive, &negative})
    if (!side->empty()) exponent = std::max(exponent, side->exponent);
  const double width = std::ldexp(1.0, exponent) / kHalfBins;
  const IntLimits limits = int_limits(options.dtype);
  const size_t levels = static_cast<size_t>(limits.high - limits.low) + 1;
  if (options.symmetric) {
    const float extreme = std::max(-low, high);
    if (levels / 2 > kHalfBins) return {-extreme, extreme};
    return symmetric_entropy(positive, negative, width, exponent, extreme, levels / 2);
  }
  if (levels > kHalfBins) return {low, high};
  return affine_entropy(positive, negative, width, exponent, {low, high}, levels);
}

}  // namespace octet
