#include "report/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace octet {

void PairSums::add(double reference, double value) {
  if (!std::isfinite(reference) || !std::isfinite(value)) {
    not_finite += reference != value;
    return;
  }
  signal += reference * reference;
  other += value * value;
  noise += (reference - value) * (reference - value);
  dot += reference * value;
  ++count;
}

PairSums& PairSums::operator+=(const PairSums& more) {
  signal += more.signal;
  other += more.other;
  noise += more.noise;
  dot += more.dot;
  count += more.count;
  not_finite += more.not_finite;
  return *this;
}

std::optional<double> PairSums::sqnr_db() const {
  if (noise == 0 && not_finite == 0) return {};
  constexpr double kFloor = -300;  // decibels; JSON has no infinity
  return signal > 0 && noise > 0 ? std::max(kFloor, 10 * std::log10(signal / noise)) : kFloor;
}

double PairSums::cosine() const {
  const double norm = std::sqrt(signal) * std::sqrt(other);
  if (norm > 0) return std::clamp(dot / norm, -1.0, 1.0);
  return signal == other ? 1 : 0;
}

PairSums compare_values(std::span<const float> reference, std::span<const float> other) {
  PairSums sums;
  for (size_t i = 0; i < std::min(reference.size(), other.size()); ++i) sums.add(reference[i], other[i]);
  return sums;
}

std::vector<float> output_floats(const Tensor& output, const QuantParams& quant) {
  std::vector<float> values = to_float(output);
  if (quant.scale.size() == 1)
    for (float& v : values) v = (v - static_cast<float>(quant.zero_point[0])) * quant.scale[0];
  if (quant.scale.size() <= 1) return values;
  int64_t inner = 1;
  for (int d = quant.axis + 1; d < output.rank(); ++d) inner *= output.shape()[d];
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t c = i / static_cast<size_t>(inner) % quant.scale.size();
    values[i] = (values[i] - static_cast<float>(quant.zero_point[c])) * quant.scale[c];
  }
  return values;
}

std::vector<float> plain_floats(const engine::Observation& o) {
  const Shape& s = *o.shape;
  int64_t count = 1;
  for (int64_t d : s) count *= d;
  if (o.def->layout == Layout::kPlain)
    return output_floats(Tensor::view(o.def->dtype, s, o.data), o.def->quant);

  const int64_t channels = s[1], pixels = s[2] * s[3];
  const QuantParams& q = o.def->quant;
  std::vector<float> values(count);
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t from = (n * pixels + p) * o.pixel_stride + c;
        float& to = values[(n * channels + c) * pixels + p];
        if (o.def->dtype == DType::kFloat32) {
          to = static_cast<const float*>(o.data)[from];
          continue;
        }
        const size_t i = q.scale.size() > 1 ? static_cast<size_t>(c) : 0;
        const int raw = static_cast<const uint8_t*>(o.data)[from];
        to = q.scale.empty() ? static_cast<float>(raw)
                             : static_cast<float>(raw - q.zero_point[i]) * q.scale[i];
      }
  return values;
}

std::vector<int64_t> top_indices(std::span<const float> values, int k) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int64_t i) {
    return std::isnan(values[i]) ? -std::numeric_limits<float>::infinity() : values[i];
  };
  const auto middle = order.begin() + std::min<int64_t>(k, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), middle, order.end(),
                    [&](int64_t a, int64_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  order.erase(middle, order.end());
  return order;
}

}  // namespace octet
