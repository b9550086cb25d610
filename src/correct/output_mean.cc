#include "correct/output_mean.h"

#include <algorithm>
#include <cmath>

#include "correct/vector_loops.h"
#include "kernels/simd/function.h"

namespace octet {
namespace {

constexpr int kSteps = 3;
constexpr double kSmallestSlope = 0.1, kDeadSlope = 0.02;

// Outputs of one channel: function(sums + shift).
class ChannelOutputs {
 public:
  ChannelOutputs(const LayerSums& layer, const OutputFunction& function, int64_t channel)
      : layer_(layer),
        function_(function),
        activation_(function.activation),
        first_(channel * layer.rows()),
        kernel_(kernels::choose_function(current_isa())),
        vector_(loops::of(current_isa())) {
    if (!function.caps.empty())
      activation_ = ActivationSpec{kernels::Function::kClip, 0, function.caps[channel]};
  }

  const std::vector<float>& at(float shift) {
    const int64_t rows = layer_.rows();
    values_.resize(rows);
    vector_.shift(layer_.sums.data() + first_, shift, values_.data(), rows);
    apply(activation_);
    if (!layer_.residual.empty()) vector_.add(layer_.residual.data() + first_, values_.data(), rows);
    apply(function_.final_clip);
    return values_;
  }

  double mean(float shift, const std::vector<bool>& use) {
    at(shift);
    double sum = 0;
    int64_t count = 0;
    for (size_t s = 0; s < use.size(); ++s) {
      if (!use[s]) continue;
      sum += sample_sum(s);
      count += layer_.sample_rows[s + 1] - layer_.sample_rows[s];
    }
    return count > 0 ? sum / static_cast<double>(count) : 0;
  }

  // Of the values that at() made last.
  double sample_sum(size_t s) const {
    const int64_t first = layer_.sample_rows[s];
    return vector_.sum(values_.data() + first, layer_.sample_rows[s + 1] - first);
  }

  // Whether outputs are the sums themselves (and a residual).
  bool plain() const { return !changes(activation_) && !changes(function_.final_clip); }

  double deviation() const {  // of the sums
    double sum = 0, square = 0;
    const int64_t rows = layer_.rows();
    for (int64_t i = 0; i < rows; ++i) {
      const double v = layer_.sums[first_ + i];
      sum += v;
      square += v * v;
    }
    const double mean = sum / static_cast<double>(std::max<int64_t>(1, rows));
    return std::sqrt(std::max(0.0, square / static_cast<double>(std::max<int64_t>(1, rows)) - mean * mean));
  }

 private:
  static bool changes(const std::optional<ActivationSpec>& spec) {
    return spec && spec->function != kernels::Function::kNone;
  }
  void apply(const std::optional<ActivationSpec>& spec) {
    if (!changes(spec)) return;
    kernel_(spec->function, spec->alpha, spec->beta, values_.data(), values_.data(),
            static_cast<int64_t>(values_.size()));
  }

  const LayerSums& layer_;
  const OutputFunction& function_;
  std::optional<ActivationSpec> activation_;
  int64_t first_;
  kernels::FunctionKernel kernel_;
  const loops::Loops& vector_;
  std::vector<float> values_;
};

// max(0, 1 - se^2 / D^2) of the differences of the samples' means.
double significance(const ChannelOutputs& reference, const ChannelOutputs& quantized,
                    const std::vector<int64_t>& rows, const std::vector<bool>& use) {
  double sum = 0, square = 0;
  int64_t count = 0;
  for (size_t s = 0; s < use.size(); ++s) {
    const int64_t length = rows[s + 1] - rows[s];
    if (!use[s] || length == 0) continue;
    const double d = (reference.sample_sum(s) - quantized.sample_sum(s)) / static_cast<double>(length);
    sum += d;
    square += d * d;
    ++count;
  }
  if (count < 2) return 0;
  const auto n = static_cast<double>(count);
  const double mean = sum / n, variance = std::max(0.0, (square - n * mean * mean) / (n - 1));
  if (!(mean * mean > 0)) return 0;
  return std::max(0.0, 1 - variance / n / (mean * mean));
}

float match_channel(const LayerSums& reference, const LayerSums& quantized, const OutputFunction& function,
                    const std::vector<bool>& use, int64_t channel) {
  ChannelOutputs from(quantized, function, channel), to(reference, function, channel);
  const double wanted = to.mean(0, use);
  if (from.plain()) {
    const double lost = wanted - from.mean(0, use);
    const auto result = static_cast<float>(lost * significance(to, from, quantized.sample_rows, use));
    return std::isfinite(result) ? result : 0;
  }
  const double width = std::max(0.02 * from.deviation(), 1e-6 * std::abs(wanted) + 1e-30);
  double shift = 0, trust = 0;
  for (int step = 0; step < kSteps; ++step) {
    const double slope = (from.mean(static_cast<float>(shift + width), use) -
                          from.mean(static_cast<float>(shift - width), use)) /
                         (2 * width);
    if (!(slope >= kDeadSlope)) return 0;
    const double found = from.mean(static_cast<float>(shift), use);
    if (step == 0) trust = significance(to, from, quantized.sample_rows, use);
    shift += (wanted - found) / std::max(slope, kSmallestSlope);
  }
  const auto result = static_cast<float>(shift * trust);
  return std::isfinite(result) ? result : 0;
}

}  // namespace

std::vector<float> match_output_means(const LayerSums& reference, const LayerSums& quantized,
                                      const OutputFunction& function, const std::vector<bool>& use,
                                      ThreadPool& pool) {
  std::vector<float> shift(reference.channels, 0);
  pool.parallel_for(reference.channels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) shift[c] = match_channel(reference, quantized, function, use, c);
  });
  return shift;
}

OutputError output_error(const LayerSums& reference, const LayerSums& quantized,
                         const OutputFunction& function, std::span<const float> shift,
                         const std::vector<bool>& use, ThreadPool& pool) {
  const loops::Loops& vector = loops::of(current_isa());
  std::vector<OutputError> channels(reference.channels);
  pool.parallel_for(reference.channels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      ChannelOutputs a(reference, function, c), b(quantized, function, c);
      const auto& x = a.at(0);
      const auto& y = b.at(shift.empty() ? 0 : shift[c]);
      for (size_t s = 0; s < use.size(); ++s) {
        if (!use[s]) continue;
        const int64_t first = reference.sample_rows[s];
        double noise = 0, signal = 0;
        vector.errors(x.data() + first, y.data() + first, reference.sample_rows[s + 1] - first, &noise,
                      &signal);
        channels[c].noise += noise;
        channels[c].signal += signal;
      }
    }
  });
  OutputError total;
  for (const OutputError& e : channels) {
    total.noise += e.noise;
    total.signal += e.signal;
  }
  return total;
}

}  // namespace octet
