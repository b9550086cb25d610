#include "correct/gradient_ops.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/generic/support.h"

namespace octet {
namespace {

using kernels::Function;

// exp(x) by 2^n times a polynomial, so that loops of it become vector instructions.
inline float exp_of(float x) {
  x = std::clamp(x, -87.0f, 87.0f);
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (x * 1.44269504f + kMagic) - kMagic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}
inline float sigmoid_of(float x) {
  return 1.0f / (1.0f + exp_of(-x));
}

class ActivationOp : public PartOp {
 public:
  ActivationOp(const ActivationSpec& spec, size_t x, size_t y, size_t kept)
      : spec_(spec), x_(x), y_(y), kept_(kept) {}

  void forward(PartSlots& s, const PartVariables&) const override {
    std::vector<float>& slope = s.kept[kept_];
    slope.resize(s.values[x_].size());
    const float alpha = spec_.alpha, beta = spec_.beta;
    const auto fill = [&](const auto& both) {
      const float* x = s.values[x_].data();
      float *y = s.values[y_].data(), *d = slope.data();
      const auto n = static_cast<int64_t>(slope.size());
      for (int64_t i = 0; i < n; ++i) both(x[i], y[i], d[i]);
    };
    switch (spec_.function) {
      case Function::kNone:
        return fill([](float x, float& y, float& d) { y = x, d = 1; });
      case Function::kRelu:
        return fill([](float x, float& y, float& d) { y = x > 0 ? x : 0, d = x > 0 ? 1.0f : 0.0f; });
      case Function::kClip:
        return fill([=](float x, float& y, float& d) {
          y = std::min(std::max(x, alpha), beta), d = x > alpha && x < beta ? 1.0f : 0.0f;
        });
      case Function::kLeakyRelu:
        return fill(
            [=](float x, float& y, float& d) { y = x >= 0 ? x : alpha * x, d = x >= 0 ? 1.0f : alpha; });
      case Function::kSigmoid:
        return fill([](float x, float& y, float& d) { y = sigmoid_of(x), d = y * (1 - y); });
      case Function::kSilu:
        return fill([](float x, float& y, float& d) {
          const float g = sigmoid_of(x);
          y = x * g, d = g * (1 + x * (1 - g));
        });
      case Function::kHardSigmoid:
        return fill([=](float x, float& y, float& d) {
          const float v = alpha * x + beta;
          y = std::min(std::max(v, 0.0f), 1.0f), d = v > 0 && v < 1 ? alpha : 0.0f;
        });
      case Function::kHardSwish:
        return fill([](float x, float& y, float& d) {
          const float g = std::min(std::max(x / 6 + 0.5f, 0.0f), 1.0f);
          y = x * g, d = g + (x > -3 && x < 3 ? x / 6 : 0.0f);
        });
      case Function::kGelu:
        return fill([](float x, float& y, float& d) {
          const float g = 0.5f * (1 + std::erf(x * 0.70710678f));
          y = x * g, d = g + x * 0.39894228f * exp_of(-0.5f * x * x);
        });
      case Function::kGeluTanh:
        return fill([](float x, float& y, float& d) {
          const float u = 1.59576912f * (x + 0.044715f * x * x * x), g = sigmoid_of(u);
          y = x * g, d = g + x * g * (1 - g) * 1.59576912f * (1 + 0.134145f * x * x);
        });
      case Function::kTanh:
        return fill([](float x, float& y, float& d) { y = 2 * sigmoid_of(2 * x) - 1, d = 1 - y * y; });
    }
  }
  void backward(PartSlots& s, const PartVariables&, PartVariables&) const override {
    if (s.gradients[x_].empty()) return;
    const float *dy = s.gradients[y_].data(), *d = s.kept[kept_].data();
    float* dx = s.gradients[x_].data();
    const auto n = static_cast<int64_t>(s.gradients[x_].size());
    for (int64_t i = 0; i < n; ++i) dx[i] += dy[i] * d[i];
  }

 private:
  const ActivationSpec spec_;
  const size_t x_, y_, kept_;
};

class RoundOp : public PartOp {
 public:
  RoundOp(const QuantParams& params, int64_t channels, int64_t inner, size_t grid, size_t x, size_t y)
      : params_(params), channels_(channels), inner_(inner), grid_(grid), x_(x), y_(y) {}

  void forward(PartSlots& s, const PartVariables& at) const override {
    for_rows(s, at, [&](int64_t first, int64_t count, float scale, float low, float high) {
      const float* x = &s.values[x_][first];
      float* y = &s.values[y_][first];
      const float per = 1 / scale;
      for (int64_t i = 0; i < count; ++i)
        y[i] = ((std::min(std::max(x[i] * per, low), high) + kMagic) - kMagic) * scale;
    });
  }
  void backward(PartSlots& s, const PartVariables& at, PartVariables& gradients) const override {
    const bool passes = !s.gradients[x_].empty(), learns = grid_ != kNoGrid;
    double of_factor = 0, of_shift = 0;
    for_rows(s, at, [&](int64_t first, int64_t count, float scale, float low, float high) {
      const float *x = &s.values[x_][first], *dy = &s.gradients[y_][first];
      const float from = (low - 0.5f) * scale, to = (high + 0.5f) * scale;
      if (passes) {
        float* dx = &s.gradients[x_][first];
        for (int64_t i = 0; i < count; ++i) dx[i] += x[i] >= from && x[i] <= to ? dy[i] : 0.0f;
      }
      if (!learns) return;
      // In steps: what a larger step and another zero-point do to y.
      const float per = 1 / scale;
      float steps = 0, clipped = 0;
      for (int64_t i = 0; i < count; ++i) {
        const bool within = x[i] >= from && x[i] <= to;
        const float u = x[i] * per, end = std::min(std::max(u, low), high);
        steps += dy[i] * (within ? ((end + kMagic) - kMagic) - u : end);
        clipped += within ? 0.0f : dy[i];
      }
      of_factor += static_cast<double>(steps) * scale;
      of_shift -= static_cast<double>(clipped) * scale;
    });
    if (!learns) return;
    gradients.grids[grid_].factor += static_cast<float>(of_factor / at.grids[grid_].factor);
    gradients.grids[grid_].shift += static_cast<float>(of_shift);
  }

 private:
  static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

  // The limits in steps from zero.
  template <typename Body>
  void for_rows(const PartSlots& s, const PartVariables& at, const Body& body) const {
    const IntLimits limits = int_limits(params_.dtype);
    const GridFloats grid = grid_ == kNoGrid ? GridFloats{} : at.grids[grid_];
    const auto size = static_cast<int64_t>(s.values[x_].size());
    for (int64_t first = 0, row = 0; first < size; first += inner_, ++row) {
      const auto c = static_cast<size_t>(params_.scale.size() == 1 ? 0 : row % channels_);
      const auto zero = static_cast<float>(
          std::clamp(static_cast<double>(params_.zero_point[c]) + std::nearbyint(grid.shift),
                     static_cast<double>(limits.low), static_cast<double>(limits.high)));
      body(first, inner_, params_.scale[c] * grid.factor, static_cast<float>(limits.low) - zero,
           static_cast<float>(limits.high) - zero);
    }
  }
  const QuantParams params_;
  const int64_t channels_, inner_;
  const size_t grid_, x_, y_;
};

// Which element of an operand stands at each element of the result; empty where they are the same.
std::vector<int32_t> broadcast(const Shape& from, const Shape& to) {
  if (from == to) return {};
  int64_t count = 1;
  for (const int64_t d : to) count *= d;
  std::vector<int64_t> strides(to.size(), 0);
  int64_t stride = 1;
  for (size_t i = 0; i < from.size(); ++i) {
    const size_t axis = from.size() - 1 - i;
    if (from[axis] != 1) strides[to.size() - 1 - i] = stride;
    stride *= from[axis];
  }
  std::vector<int32_t> places(static_cast<size_t>(count));
  std::vector<int64_t> index(to.size(), 0);
  int64_t at = 0;
  for (int32_t& place : places) {
    place = static_cast<int32_t>(at);
    for (size_t d = to.size(); d-- > 0;) {
      at += strides[d];
      if (++index[d] < to[d]) break;
      at -= strides[d] * to[d];
      index[d] = 0;
    }
  }
  return places;
}

class PairOp : public PartOp {
 public:
  PairOp(Operand a, Operand b, const Shape& shape, size_t y, bool product)
      : sides_{std::move(a), std::move(b)}, y_(y), product_(product) {
    for (int i = 0; i < 2; ++i) places_[i] = broadcast(sides_[i].shape, shape);
  }
  void forward(PartSlots& s, const PartVariables&) const override {
    const float *a = values(s, 0), *b = values(s, 1);
    std::vector<float>& y = s.values[y_];
    const auto n = static_cast<int64_t>(y.size());
    if (places_[0].empty() && places_[1].empty()) {
      for (int64_t i = 0; i < n; ++i) y[i] = product_ ? a[i] * b[i] : a[i] + b[i];
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      const float left = a[at(0, i)], right = b[at(1, i)];
      y[i] = product_ ? left * right : left + right;
    }
  }
  void backward(PartSlots& s, const PartVariables&, PartVariables&) const override {
    const std::vector<float>& dy = s.gradients[y_];
    const auto n = static_cast<int64_t>(dy.size());
    for (int side = 0; side < 2; ++side) {
      if (!sides_[side].constant.empty()) continue;
      std::vector<float>& dx = s.gradients[sides_[side].slot];
      if (dx.empty()) continue;
      const float* other = values(s, 1 - side);
      for (int64_t i = 0; i < n; ++i) dx[at(side, i)] += product_ ? dy[i] * other[at(1 - side, i)] : dy[i];
    }
  }

 private:
  const float* values(const PartSlots& s, int side) const {
    const Operand& o = sides_[side];
    return o.constant.empty() ? s.values[o.slot].data() : o.constant.data();
  }
  int64_t at(int side, int64_t i) const { return places_[side].empty() ? i : places_[side][i]; }
  const Operand sides_[2];
  const size_t y_;
  const bool product_;
  std::vector<int32_t> places_[2];
};

class GatherOp : public PartOp {
 public:
  GatherOp(std::vector<int32_t> from, size_t x, size_t y) : from_(std::move(from)), x_(x), y_(y) {}
  void forward(PartSlots& s, const PartVariables&) const override {
    std::vector<float>& y = s.values[y_];
    if (from_.empty()) y = s.values[x_];
    for (size_t i = 0; i < from_.size(); ++i) y[i] = s.values[x_][from_[i]];
  }
  void backward(PartSlots& s, const PartVariables&, PartVariables&) const override {
    std::vector<float>& dx = s.gradients[x_];
    const std::vector<float>& dy = s.gradients[y_];
    if (dx.empty()) return;
    for (size_t i = 0; i < dy.size(); ++i) dx[from_.empty() ? i : from_[i]] += dy[i];
  }

 private:
  const std::vector<int32_t> from_;  // empty: the same place
  const size_t x_, y_;
};

class ConcatOp : public PartOp {
 public:
  ConcatOp(std::vector<size_t> x, std::vector<int64_t> sizes, int64_t outer, size_t y)
      : x_(std::move(x)), sizes_(std::move(sizes)), outer_(outer), y_(y) {}
  void forward(PartSlots& s, const PartVariables&) const override {
    for_parts([&](size_t part, int64_t from, int64_t to) {
      std::copy_n(s.values[x_[part]].begin() + from, sizes_[part], s.values[y_].begin() + to);
    });
  }
  void backward(PartSlots& s, const PartVariables&, PartVariables&) const override {
    for_parts([&](size_t part, int64_t from, int64_t to) {
      std::vector<float>& dx = s.gradients[x_[part]];
      if (dx.empty()) return;
      for (int64_t i = 0; i < sizes_[part]; ++i) dx[from + i] += s.gradients[y_][to + i];
    });
  }

 private:
  template <typename Body>
  void for_parts(const Body& body) const {
    int64_t to = 0;
    for (int64_t o = 0; o < outer_; ++o)
      for (size_t part = 0; part < x_.size(); to += sizes_[part++]) body(part, o * sizes_[part], to);
  }
  const std::vector<size_t> x_;
  const std::vector<int64_t> sizes_;
  const int64_t outer_;
  const size_t y_;
};

class PoolOp : public PartOp {
 public:
  PoolOp(PoolGeometry geometry, size_t x, size_t y) : g_(std::move(geometry)), x_(x), y_(y) {}
  void forward(PartSlots& s, const PartVariables&) const override {
    const float* x = s.values[x_].data();
    float* y = s.values[y_].data();
    for_windows([&](int64_t out, int64_t plane, const Window& w) {
      if (g_.max) {
        y[out] = x[plane + largest(x + plane, w)];
        return;
      }
      float sum = 0;
      for (int64_t r = w.top; r < w.bottom; ++r)
        for (int64_t c = w.left; c < w.right; ++c) sum += x[plane + r * g_.width + c];
      y[out] = sum / static_cast<float>(w.count);
    });
  }
  void backward(PartSlots& s, const PartVariables&, PartVariables&) const override {
    if (s.gradients[x_].empty()) return;
    const float *x = s.values[x_].data(), *dy = s.gradients[y_].data();
    float* dx = s.gradients[x_].data();
    for_windows([&](int64_t out, int64_t plane, const Window& w) {
      if (g_.max) {
        dx[plane + largest(x + plane, w)] += dy[out];
        return;
      }
      const float part = dy[out] / static_cast<float>(w.count);
      for (int64_t r = w.top; r < w.bottom; ++r)
        for (int64_t c = w.left; c < w.right; ++c) dx[plane + r * g_.width + c] += part;
    });
  }

 private:
  struct Window {
    int64_t top, bottom, left, right, count;
  };
  int64_t largest(const float* x, const Window& w) const {
    int64_t best = w.top * g_.width + w.left;
    for (int64_t r = w.top; r < w.bottom; ++r)
      for (int64_t c = w.left; c < w.right; ++c)
        if (x[r * g_.width + c] > x[best]) best = r * g_.width + c;
    return best;
  }
  template <typename Body>
  void for_windows(const Body& body) const {
    int64_t out = 0;
    for (int64_t p = 0; p < g_.planes; ++p)
      for (int64_t oy = 0; oy < g_.out_height; ++oy)
        for (int64_t ox = 0; ox < g_.out_width; ++ox, ++out) {
          const int64_t top = oy * g_.strides[0] - g_.pads[0], left = ox * g_.strides[1] - g_.pads[1];
          Window w{std::max<int64_t>(top, 0), std::min(top + g_.kernel[0], g_.height),
                   std::max<int64_t>(left, 0), std::min(left + g_.kernel[1], g_.width), 0};
          // With ceil_mode a window may stand beyond the padding, which does not count.
          const int64_t rows = std::min(top + g_.kernel[0], g_.height + g_.pads[2]) - top,
                        columns = std::min(left + g_.kernel[1], g_.width + g_.pads[3]) - left;
          w.count = g_.count_padding ? rows * columns : (w.bottom - w.top) * (w.right - w.left);
          body(out, p * g_.height * g_.width, w);
        }
  }
  const PoolGeometry g_;
  const size_t x_, y_;
};

}  // namespace

std::unique_ptr<PartOp> make_activation_op(const ActivationSpec& spec, size_t x, size_t y, size_t kept) {
  return std::make_unique<ActivationOp>(spec, x, y, kept);
}
std::unique_ptr<PartOp> make_round_op(const QuantParams& params, int64_t channels, int64_t inner, size_t grid,
                                      size_t x, size_t y) {
  return std::make_unique<RoundOp>(params, channels, inner, grid, x, y);
}
std::unique_ptr<PartOp> make_sum_op(Operand a, Operand b, const Shape& shape, size_t y) {
  return std::make_unique<PairOp>(std::move(a), std::move(b), shape, y, false);
}
std::unique_ptr<PartOp> make_product_op(Operand a, Operand b, const Shape& shape, size_t y) {
  return std::make_unique<PairOp>(std::move(a), std::move(b), shape, y, true);
}
std::unique_ptr<PartOp> make_copy_op(size_t x, size_t y) {
  return std::make_unique<GatherOp>(std::vector<int32_t>{}, x, y);
}
std::unique_ptr<PartOp> make_gather_op(std::vector<int32_t> from, size_t x, size_t y) {
  return std::make_unique<GatherOp>(std::move(from), x, y);
}
std::unique_ptr<PartOp> make_concat_op(std::vector<size_t> x, std::vector<int64_t> sizes, int64_t outer,
                                       size_t y) {
  return std::make_unique<ConcatOp>(std::move(x), std::move(sizes), outer, y);
}
std::unique_ptr<PartOp> make_pool_op(PoolGeometry geometry, size_t x, size_t y) {
  return std::make_unique<PoolOp>(std::move(geometry), x, y);
}

}  // namespace octet
