// Weighted layers of gradient_ops.h, through matrix products.
#include <algorithm>

#include "correct/gradient_ops.h"
#include "kernels/float/sgemm.h"

namespace octet {
namespace {

using kernels::sgemm;

// y[rows, o] = x[rows, i] * w[o, i]^T + bias.
class RowsOp : public PartOp {
 public:
  RowsOp(const LayerGeometry& g, size_t layer, size_t x, size_t y)
      : rows_(g.positions()), in_(g.in_channels), out_(g.out_channels), layer_(layer), x_(x), y_(y) {}

  void forward(PartSlots& s, const PartVariables& at) const override {
    float* y = s.values[y_].data();
    sgemm(rows_, out_, in_, {s.values[x_].data(), in_}, {at.layers[layer_].weights.data(), in_, true}, 0, y,
          out_);
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t o = 0; o < out_; ++o) y[r * out_ + o] += at.layers[layer_].bias[o];
  }
  void backward(PartSlots& s, const PartVariables& at, PartVariables& gradients) const override {
    const float* dy = s.gradients[y_].data();
    LayerFloats& d = gradients.layers[layer_];
    sgemm(out_, in_, rows_, {dy, out_, true}, {s.values[x_].data(), in_}, 1, d.weights.data(), in_);
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t o = 0; o < out_; ++o) d.bias[o] += dy[r * out_ + o];
    if (!s.gradients[x_].empty())
      sgemm(rows_, in_, out_, {dy, out_}, {at.layers[layer_].weights.data(), in_}, 1, s.gradients[x_].data(),
            in_);
  }

 private:
  const int64_t rows_, in_, out_;
  const size_t layer_, x_, y_;
};

class ConvOp : public PartOp {
 public:
  ConvOp(const LayerGeometry& g, int64_t in_height, int64_t in_width, size_t layer, size_t x, size_t y)
      : g_(g), height_(in_height), width_(in_width), layer_(layer), x_(x), y_(y) {}

  void forward(PartSlots& s, const PartVariables& at) const override {
    const LayerFloats& w = at.layers[layer_];
    for_groups([&](int64_t first, const Places& p) {
      const float* x = &s.values[x_][p.x];
      float* y = &s.values[y_][p.y];
      if (one_channel()) {
        for (int64_t o = 0; o < channels(); ++o)
          depthwise_forward(x, &w.weights[(first + o) * k()], y + o * area());
      } else {
        sgemm(channels(), area(), k(), {&w.weights[first * k()], k()}, {columns(s, x), area()}, 0, y, area());
      }
      for (int64_t o = 0; o < channels(); ++o)
        for (int64_t i = 0; i < area(); ++i) y[o * area() + i] += w.bias[first + o];
    });
  }

  void backward(PartSlots& s, const PartVariables& at, PartVariables& gradients) const override {
    const LayerFloats& w = at.layers[layer_];
    LayerFloats& d = gradients.layers[layer_];
    const bool input = !s.gradients[x_].empty();
    for_groups([&](int64_t first, const Places& p) {
      const float *x = &s.values[x_][p.x], *dy = &s.gradients[y_][p.y];
      float* dx = input ? &s.gradients[x_][p.x] : nullptr;
      for (int64_t o = 0; o < channels(); ++o) {
        float sum = 0;
        for (int64_t i = 0; i < area(); ++i) sum += dy[o * area() + i];
        d.bias[first + o] += sum;
      }
      if (one_channel()) {
        for (int64_t o = 0; o < channels(); ++o)
          depthwise_backward(x, &w.weights[(first + o) * k()], dy + o * area(), &d.weights[(first + o) * k()],
                             dx);
        return;
      }
      sgemm(channels(), k(), area(), {dy, area()}, {columns(s, x), area(), true}, 1, &d.weights[first * k()],
            k());
      if (!input) return;
      const kernels::MatrixF32 rows{&w.weights[first * k()], k(), true};
      if (pointwise()) return sgemm(k(), area(), channels(), rows, {dy, area()}, 1, dx, area());
      s.column_gradients.resize(k() * area());
      sgemm(k(), area(), channels(), rows, {dy, area()}, 0, s.column_gradients.data(), area());
      for_taps([&](int64_t row, int64_t from, int64_t to, int64_t count) {
        const float* c = &s.column_gradients[row * area() + to];
        for (int64_t i = 0; i < count; ++i) dx[from + i * g_.strides[1]] += c[i];
      });
    });
  }

 private:
  struct Places {
    int64_t x, y;
  };
  int64_t channels() const { return g_.out_channels / g_.groups; }
  int64_t inputs() const { return g_.in_channels / g_.groups; }
  int64_t k() const { return g_.group_inputs(); }
  int64_t area() const { return g_.out_height * g_.out_width; }
  bool one_channel() const { return inputs() == 1 && g_.groups > 1; }
  bool pointwise() const {
    return g_.taps() == 1 && g_.strides == std::vector<int64_t>{1, 1} &&
           g_.pads == std::vector<int64_t>{0, 0, 0, 0};
  }

  // body(first output channel, places) for each image and group.
  template <typename Body>
  void for_groups(const Body& body) const {
    for (int64_t n = 0; n < g_.batch; ++n)
      for (int64_t group = 0; group < g_.groups; ++group)
        body(group * channels(), Places{(n * g_.in_channels + group * inputs()) * height_ * width_,
                                        (n * g_.out_channels + group * channels()) * area()});
  }

  // body(row of the columns, from, to, count): `count` outputs in a row that read the tap within the image.
  template <typename Body>
  void for_taps(const Body& body) const {
    for (int64_t c = 0, row = 0; c < inputs(); ++c)
      for (int64_t ky = 0; ky < g_.kernel[0]; ++ky)
        for (int64_t kx = 0; kx < g_.kernel[1]; ++kx, ++row) {
          const int64_t shift = kx * g_.dilations[1] - g_.pads[1], stride = g_.strides[1];
          const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
          const int64_t last = std::min(g_.out_width, width_ > shift ? (width_ - 1 - shift) / stride + 1 : 0);
          for (int64_t oy = 0; oy < g_.out_height; ++oy) {
            const int64_t y = oy * g_.strides[0] + ky * g_.dilations[0] - g_.pads[0];
            if (y < 0 || y >= height_ || first >= last) continue;
            body(row, (c * height_ + y) * width_ + first * stride + shift, oy * g_.out_width + first,
                 last - first);
          }
        }
  }

  // [weight of a channel][position]
  const float* columns(PartSlots& s, const float* x) const {
    if (pointwise()) return x;
    s.columns.assign(k() * area(), 0);
    for_taps([&](int64_t row, int64_t from, int64_t to, int64_t count) {
      float* c = &s.columns[row * area() + to];
      if (g_.strides[1] == 1)
        std::copy_n(x + from, count, c);
      else
        for (int64_t i = 0; i < count; ++i) c[i] = x[from + i * g_.strides[1]];
    });
    return s.columns.data();
  }

  void depthwise_forward(const float* x, const float* w, float* y) const {
    std::fill_n(y, area(), 0.0f);
    for_taps([&](int64_t row, int64_t from, int64_t to, int64_t count) {
      const float weight = w[row];
      const float* in = x + from;
      float* out = y + to;
      if (g_.strides[1] == 1)
        for (int64_t i = 0; i < count; ++i) out[i] += weight * in[i];
      else
        for (int64_t i = 0; i < count; ++i) out[i] += weight * in[i * g_.strides[1]];
    });
  }
  void depthwise_backward(const float* x, const float* w, const float* dy, float* dw, float* dx) const {
    for_taps([&](int64_t row, int64_t from, int64_t to, int64_t count) {
      const float *in = x + from, *d = dy + to;
      const int64_t stride = g_.strides[1];
      float sums[8] = {};
      int64_t i = 0;
      for (; i + 8 <= count; i += 8)
        for (int64_t lane = 0; lane < 8; ++lane) sums[lane] += in[(i + lane) * stride] * d[i + lane];
      float sum = 0;
      for (; i < count; ++i) sum += in[i * stride] * d[i];
      for (const float lane : sums) sum += lane;
      dw[row] += sum;
      if (dx == nullptr) return;
      const float weight = w[row];
      float* out = dx + from;
      if (stride == 1)
        for (int64_t j = 0; j < count; ++j) out[j] += weight * d[j];
      else
        for (int64_t j = 0; j < count; ++j) out[j * stride] += weight * d[j];
    });
  }

  const LayerGeometry g_;
  const int64_t height_, width_;
  const size_t layer_, x_, y_;
};

}  // namespace

std::unique_ptr<PartOp> make_layer_op(const LayerGeometry& geometry, int64_t in_height, int64_t in_width,
                                      size_t layer, size_t x, size_t y) {
  if (geometry.rows) return std::make_unique<RowsOp>(geometry, layer, x, y);
  return std::make_unique<ConvOp>(geometry, in_height, in_width, layer, x, y);
}

}  // namespace octet
