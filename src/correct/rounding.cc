#include "correct/rounding.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "correct/linear_algebra.h"
#include "correct/vector_loops.h"
#include "kernels/float/sgemm.h"

namespace octet {
namespace {

using loops::kLanes;           // output channels at a time
constexpr int64_t kRows = 64;  // output channels in a piece

double mean_diagonal(const std::vector<double>& h, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += h[i * n + i];
  return n > 0 ? sum / static_cast<double>(n) : 0;
}

int8_t nearest(double steps, int32_t limit) {
  return static_cast<int8_t>(
      std::clamp(std::nearbyint(steps), -static_cast<double>(limit), static_cast<double>(limit)));
}

}  // namespace

std::vector<int8_t> round_nearest(const std::vector<float>& weights, int64_t channels, int64_t n,
                                  const WeightGrid& grid) {
  std::vector<int8_t> q(weights.size());
  for (int64_t o = 0; o < channels; ++o)
    for (int64_t i = 0; i < n; ++i)
      q[o * n + i] = nearest(static_cast<double>(weights[o * n + i]) / grid.step_of(o, i), grid.limit);
  return q;
}

void choose_steps(const std::vector<float>& weights, int64_t channels, int64_t n, WeightGrid& grid) {
  constexpr int kFewest = 40, kMost = 100;                     // hundredths of the largest weight
  const int64_t share = grid.step.size() == 1 ? channels : 1;  // channels of a step
  std::vector<double> scaled(share * n);
  for (size_t s = 0; s < grid.step.size(); ++s) {
    double largest = 0;
    for (int64_t i = 0; i < share * n; ++i) {
      scaled[i] = std::abs(static_cast<double>(weights[static_cast<int64_t>(s) * n + i]));
      if (!grid.divisor.empty()) scaled[i] *= grid.divisor[i % n];
      largest = std::max(largest, scaled[i]);
    }
    if (!(largest > 1e-30)) continue;
    double least = -1;
    for (int percent = kMost; percent >= kFewest; --percent) {
      const double step = largest * percent / 100 / grid.limit, limit = grid.limit;
      double error = 0;
      for (const double w : scaled) {
        const double lost = w - step * std::min(std::nearbyint(w / step), limit);
        error += lost * lost;
      }
      if (least >= 0 && error >= least) continue;
      least = error;
      grid.step[s] = static_cast<float>(step);
    }
  }
}

std::vector<float> refit_weights(const std::vector<float>& weights, int64_t channels, int64_t n,
                                 const std::vector<double>& h, const std::vector<double>& d, double lambda,
                                 ThreadPool& pool) {
  const double ridge = lambda * mean_diagonal(h, n);
  if (!(ridge > 0)) return {};
  std::vector<double> l = h;
  for (int64_t i = 0; i < n; ++i) l[i * n + i] += ridge;
  if (!cholesky(l, n, pool)) return {};
  const std::vector<float> lost(d.begin(), d.end());
  std::vector<float> product(weights.size());
  pool.parallel_for((channels + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kRows;
      kernels::sgemm(std::min(kRows, channels - first), n, n, {&weights[first * n], n}, {lost.data(), n}, 0,
                     &product[first * n], n);
    }
  });
  std::vector<double> moved(product.begin(), product.end());
  solve_rows(l, n, moved, channels, pool);
  std::vector<float> result(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    result[i] = static_cast<float>(weights[i] + moved[i]);
    if (!std::isfinite(result[i])) return {};
  }
  return result;
}

namespace {

// Of the grid's steps; the first is tried where nothing is chosen, and wins ties.
constexpr double kRatios[] = {1, 0.76, 0.84, 0.92, 1.08, 1.18, 1.3};

std::vector<int8_t> solve_gptq(const std::vector<float>& weights, int64_t channels, int64_t n,
                               const std::vector<double>& h, WeightGrid& grid, std::span<const double> ratios,
                               const GptqOptions& options, ThreadPool& pool) {
  const double mean = mean_diagonal(h, n);
  if (!(mean > 0)) return {};
  // The place of each weight in the order; the factor is of H in reverse order.
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  if (options.act_order)
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return h[a * n + a] > h[b * n + b]; });
  std::vector<double> l(n * n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) l[i * n + j] = h[order[n - 1 - i] * n + order[n - 1 - j]];
    l[i * n + i] += options.damping * mean;
  }
  if (!cholesky(l, n, pool)) return {};
  // a[i][j] = A[i][j] / A[i][i] for j < i
  std::vector<double> a(n * n, 0);
  pool.parallel_for(n, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < i; ++j)
        a[i * n + j] = l[(n - 1 - j) * n + (n - 1 - i)] / l[(n - 1 - i) * n + (n - 1 - i)];
  });
  std::vector<double> pivots(n);  // A[i][i]^2
  for (int64_t i = 0; i < n; ++i)
    pivots[i] = l[(n - 1 - i) * n + (n - 1 - i)] * l[(n - 1 - i) * n + (n - 1 - i)];
  l = {};
  const loops::Loops& vector = loops::of(current_isa());
  const WeightGrid given = grid;
  std::vector<int8_t> q(weights.size());
  pool.parallel_for((channels + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<double> error(n * kLanes, 0);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kLanes, lanes = std::min(kLanes, channels - first);
      double least[kLanes];
      std::fill_n(least, kLanes, -1.0);
      std::vector<int8_t> row(ratios.size() > 1 ? lanes * n : 0);
      for (const double ratio : ratios) {
        int8_t* to = ratios.size() > 1 ? row.data() : &q[first * n];
        double sums[kLanes] = {};
        for (int64_t i = 0; i < n; ++i) {
          double fed[kLanes] = {};
          vector.add_rows(&a[i * n], error.data(), fed, i);
          for (int64_t r = 0; r < lanes; ++r) {
            const int64_t at = (first + r) * n + order[i];
            const double step = given.step_of(first + r, order[i]) * ratio;
            const double wanted = static_cast<double>(weights[at]) + fed[r];
            const int8_t chosen = nearest(wanted / step, grid.limit);
            to[r * n + order[i]] = chosen;
            error[i * kLanes + r] = static_cast<double>(weights[at]) - chosen * step;
            const double lost = wanted - chosen * step;
            sums[r] += pivots[i] * lost * lost;
          }
        }
        if (ratios.size() == 1) continue;
        for (int64_t r = 0; r < lanes; ++r) {
          if (least[r] >= 0 && !(sums[r] < least[r])) continue;
          least[r] = sums[r];
          grid.step[first + r] = static_cast<float>(static_cast<double>(given.step[first + r]) * ratio);
          std::copy_n(&row[r * n], n, &q[(first + r) * n]);
        }
      }
    }
  });
  return q;
}

}  // namespace

std::vector<int8_t> round_gptq(const std::vector<float>& weights, int64_t channels, int64_t n,
                               const std::vector<double>& h, const WeightGrid& grid,
                               const GptqOptions& options, ThreadPool& pool) {
  WeightGrid same = grid;
  return solve_gptq(weights, channels, n, h, same, {kRatios, 1}, options, pool);
}

std::vector<int8_t> round_gptq_and_steps(const std::vector<float>& weights, int64_t channels, int64_t n,
                                         const std::vector<double>& h, WeightGrid& grid,
                                         const GptqOptions& options, ThreadPool& pool) {
  const bool chooses = static_cast<int64_t>(grid.step.size()) == channels && channels > 1;
  const std::span<const double> ratios(kRatios);
  return solve_gptq(weights, channels, n, h, grid, chooses ? ratios : ratios.first(1), options, pool);
}

}  // namespace octet
