#include "correct/adaround.h"

#include <algorithm>
#include <cmath>

#include "kernels/float/sgemm.h"

namespace octet {
namespace {

constexpr int64_t kRows = 32;  // output channels in a piece
constexpr double kPi = 3.14159265358979323846;
constexpr float kStretch = 1.2f, kShift = 0.1f;  // of the sigmoid, so that it reaches 0 and 1
constexpr float kInside = 0.01f;                 // the first h keep this far from 0 and 1
constexpr double kSharpest = 2, kSmoothest = 20;
constexpr double kMomentum = 0.9, kMemory = 0.999;  // of Adam

float sigmoid(float v) {
  return 1 / (1 + std::exp(-v));
}
float height(float v) {
  return std::clamp(kStretch * sigmoid(v) - kShift, 0.0f, 1.0f);
}

// Of a piece of channels, in units of each weight's step: `scaled` is H times the steps' divisors.
class Piece {
 public:
  Piece(const float* weights, int64_t first, int64_t rows, int64_t n, const WeightGrid& grid,
        const std::vector<float>& scaled)
      : rows_(rows), n_(n), limit_(static_cast<float>(grid.limit)), scaled_(scaled) {
    const auto size = static_cast<size_t>(rows * n);
    target_.resize(size);
    floor_.resize(size);
    v_.resize(size);
    mean_.resize(size);
    square_.resize(size);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<size_t>(r * n + i);
        const double steps = static_cast<double>(weights[(first + r) * n + i]) / grid.step_of(first + r, i);
        target_[at] = static_cast<float>(steps);
        floor_[at] = static_cast<float>(std::floor(steps));
        const float part = std::clamp(static_cast<float>(steps - std::floor(steps)), kInside, 1 - kInside);
        v_[at] = -std::log(kStretch / (part + kShift) - 1);
      }
    lost_.resize(size);
    slope_.resize(size);
    unit_.resize(static_cast<size_t>(rows));
    for (size_t at = 0; at < size; ++at) lost_[at] = clip(std::nearbyint(target_[at])) - target_[at];
    multiply();
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = r * n; i < (r + 1) * n; ++i) sum += static_cast<double>(lost_[i]) * slope_[i];
      unit_[r] = sum > 0 ? static_cast<double>(n) / sum : 0;
    }
  }

  void learn(const AdaRoundOptions& options) {
    for (int t = 1; t <= options.iterations; ++t) {
      for (size_t at = 0; at < v_.size(); ++at) lost_[at] = clip(floor_[at] + height(v_[at])) - target_[at];
      multiply();
      const double now = static_cast<double>(t) / options.iterations;
      const double left = (now - options.warm_up) / (1 - options.warm_up);
      const double beta = kSharpest + (kSmoothest - kSharpest) * 0.5 * (1 + std::cos(left * kPi));
      const double rate = options.rate * std::sqrt(1 - std::pow(kMemory, t)) / (1 - std::pow(kMomentum, t));
      for (size_t at = 0; at < v_.size(); ++at) {
        const float s = sigmoid(v_[at]), h = kStretch * s - kShift;
        double slope = 2 * unit_[at / static_cast<size_t>(n_)] * slope_[at];
        if (left > 0 && h > 0 && h < 1) {
          const double u = 2 * static_cast<double>(h) - 1;
          slope -= 2 * options.lambda * beta * std::copysign(std::pow(std::abs(u), beta - 1), u);
        }
        if (h <= 0 || h >= 1) slope = 0;
        const auto g = static_cast<float>(slope * kStretch * s * (1 - s));
        mean_[at] = static_cast<float>(kMomentum * mean_[at] + (1 - kMomentum) * g);
        square_[at] = static_cast<float>(kMemory * square_[at] + (1 - kMemory) * g * g);
        v_[at] -= static_cast<float>(rate * mean_[at] / (std::sqrt(square_[at]) + 1e-8));
      }
    }
  }

  void write(int8_t* out) const {
    for (size_t at = 0; at < v_.size(); ++at)
      out[at] = static_cast<int8_t>(clip(floor_[at] + (height(v_[at]) >= 0.5f ? 1.0f : 0.0f)));
  }

 private:
  float clip(float steps) const { return std::clamp(steps, -limit_, limit_); }
  void multiply() {
    kernels::sgemm(rows_, n_, n_, {lost_.data(), n_}, {scaled_.data(), n_}, 0, slope_.data(), n_);
  }

  const int64_t rows_, n_;
  const float limit_;
  const std::vector<float>& scaled_;
  std::vector<float> target_, floor_, v_, lost_, slope_, mean_, square_;
  std::vector<double> unit_;  // weights of a channel / what rounding to the nearest loses there
};

}  // namespace

std::vector<int8_t> round_adaptively(const std::vector<float>& weights, int64_t channels, int64_t n,
                                     const std::vector<double>& h, const WeightGrid& grid,
                                     const AdaRoundOptions& options, ThreadPool& pool) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, h[i * n + i]);
  if (!(largest > 0) || !std::isfinite(largest)) return {};
  std::vector<float> scaled(static_cast<size_t>(n * n));
  const auto part = [&](int64_t i) { return grid.divisor.empty() ? 1.0 : 1.0 / grid.divisor[i]; };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      scaled[i * n + j] = static_cast<float>(h[i * n + j] / largest * part(i) * part(j));
  std::vector<int8_t> q(weights.size());
  pool.parallel_for((channels + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kRows;
      Piece piece(weights.data(), first, std::min(kRows, channels - first), n, grid, scaled);
      piece.learn(options);
      piece.write(&q[first * n]);
    }
  });
  return q;
}

}  // namespace octet
