// Softmax and the normalizations, in float32.
#include <cmath>
#include <limits>

#include "base/cpu.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/parts.h"
#include "kernels/simd/function.h"

namespace octet::kernels::generic {
namespace {

float maximum(const float* x, int64_t n) {
  float lanes[16];
  std::fill_n(lanes, 16, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int l = 0; l < 16; ++l) lanes[l] = lanes[l] > x[i + l] ? lanes[l] : x[i + l];
  for (; i < n; ++i) lanes[0] = lanes[0] > x[i] ? lanes[0] : x[i];
  return *std::max_element(lanes, lanes + 16);
}

// x - max - log(sum), with the sum of softmax_row_reference.
void log_softmax_row(const float* x, float* y, int64_t n, ExpKernel exp, std::vector<float>& buffer) {
  const float high = maximum(x, n);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] - high;
  exp(y, buffer.data(), n);
  const auto shift = static_cast<float>(log_exact(sum_lanes(buffer.data(), n)));
  for (int64_t i = 0; i < n; ++i) y[i] -= shift;
}

constexpr int64_t kColumns = kSoftmaxColumns;  // of a block that stays in the first cache
constexpr int64_t kShortRow = 16;              // elements

// The rows of `n` elements that lie `stride` apart, for `width` <= kColumns rows side by side: the same sums
// in the same order as softmax_row_reference.
void softmax_columns(const float* x, float* y, int64_t n, int64_t stride, int64_t width, ExpKernel exp,
                     bool logarithm) {
  if (width == kColumns && !logarithm) return choose_softmax(current_isa())(x, y, n, stride);
  float high[kColumns], lanes[16][kColumns] = {}, terms[kColumns];
  std::fill_n(high, kColumns, -std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < width; ++c) high[c] = high[c] > x[i * stride + c] ? high[c] : x[i * stride + c];
  for (int64_t i = 0; i < n; ++i) {
    float* out = y + i * stride;
    for (int64_t c = 0; c < width; ++c) out[c] = x[i * stride + c] - high[c];
    float* powers = logarithm ? terms : out;
    exp(out, powers, width);
    float* sum = lanes[i % 16];
    for (int64_t c = 0; c < width; ++c) sum[c] += powers[c];
  }
  float* total = lanes[0];
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l)
      for (int64_t c = 0; c < width; ++c) lanes[l][c] += lanes[l + half][c];
  if (logarithm)
    for (int64_t c = 0; c < width; ++c) total[c] = static_cast<float>(log_exact(total[c]));
  for (int64_t i = 0; i < n; ++i) {
    float* out = y + i * stride;
    if (logarithm)
      for (int64_t c = 0; c < width; ++c) out[c] -= total[c];
    else
      for (int64_t c = 0; c < width; ++c) out[c] /= total[c];
  }
}

// Many short rows one behind the other, as columns: a row alone would leave most of a vector unused.
void softmax_short_rows(const float* x, float* y, int64_t rows, int64_t n, ExpKernel exp, bool logarithm) {
  float in[kShortRow * kColumns], out[kShortRow * kColumns];
  for (int64_t first = 0; first < rows; first += kColumns) {
    const int64_t width = std::min(kColumns, rows - first), at = first * n;
    for (int64_t c = 0; c < width; ++c)
      for (int64_t i = 0; i < n; ++i) in[i * kColumns + c] = x[at + c * n + i];
    softmax_columns(in, out, n, kColumns, width, exp, logarithm);
    for (int64_t c = 0; c < width; ++c)
      for (int64_t i = 0; i < n; ++i) y[at + c * n + i] = out[i * kColumns + c];
  }
}

// How softmax walks over a tensor: units are rows, or blocks of rows side by side.
struct SoftmaxWalk {
  int64_t n, outer, inner;
  int64_t blocks;  // of kColumns columns: in `inner`, or of short rows one behind the other
  int64_t units;
  bool short_rows;
};

SoftmaxWalk softmax_walk(const Attributes& attributes, const Tensor& x) {
  SoftmaxWalk w{};
  const int64_t axis = normalize_axis(attributes.get_int("axis", -1), std::max(x.rank(), 1));
  w.n = x.rank() == 0 ? 1 : x.shape()[static_cast<size_t>(axis)];
  w.outer = product(x.shape(), 0, x.rank() == 0 ? 0 : axis);
  w.inner = x.rank() == 0 ? 1 : product(x.shape(), axis + 1, x.rank());
  w.short_rows = w.inner == 1 && w.n <= kShortRow;
  w.blocks = ((w.short_rows ? w.outer : w.inner) + kColumns - 1) / kColumns;
  w.units = w.short_rows ? w.blocks : w.inner == 1 ? w.outer : w.outer * w.blocks;
  return w;
}

void softmax_units(const SoftmaxWalk& w, const float* x, float* y, int64_t begin, int64_t end,
                   bool logarithm) {
  const ExpKernel exp = choose_exp(current_isa());
  if (w.short_rows) {
    const int64_t first = begin * kColumns, last = std::min(end * kColumns, w.outer);
    return softmax_short_rows(x + first * w.n, y + first * w.n, last - first, w.n, exp, logarithm);
  }
  if (w.inner == 1) {
    const SoftmaxRowKernel row = choose_softmax_row(current_isa());
    std::vector<float> buffer(static_cast<size_t>(logarithm ? w.n : 0));
    for (int64_t o = begin; o < end; ++o) {
      if (logarithm)
        log_softmax_row(x + o * w.n, y + o * w.n, w.n, exp, buffer);
      else
        row(x + o * w.n, y + o * w.n, w.n);
    }
    return;
  }
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t i = unit % w.blocks * kColumns, at = unit / w.blocks * w.n * w.inner + i;
    softmax_columns(x + at, y + at, w.n, w.inner, std::min(kColumns, w.inner - i), exp, logarithm);
  }
}

void softmax(const Attributes& attributes, Inputs inputs, Outputs outputs, bool logarithm) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_shape(y, x.shape());
  expect_dtype(y, x.dtype());
  if (x.dtype() == DType::kFloat64) {  // through float32, as nothing else needs it
    Tensor fx(DType::kFloat32, x.shape()), fy(DType::kFloat32, x.shape());
    std::copy_n(data<double>(x), x.count(), data<float>(fx));
    softmax(attributes, std::array{fx}, std::span(&fy, 1), logarithm);
    std::copy_n(data<float>(fy), x.count(), data<double>(y));
    return;
  }
  expect_dtype(x, DType::kFloat32);
  const SoftmaxWalk walk = softmax_walk(attributes, x);
  if (x.count() > 0) softmax_units(walk, data<float>(x), data<float>(y), 0, walk.units, logarithm);
}

struct Moments {
  float mean, inverse_deviation;
};

Moments moments(const float* x, int64_t n, float epsilon) {
  const float mean = sum_lanes(x, n) / static_cast<float>(n);
  const float variance = sum_squares_lanes(x, n, mean) / static_cast<float>(n);
  return {mean, 1.0f / std::sqrt(variance + epsilon)};
}

}  // namespace

void run_softmax(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  softmax(attributes, inputs, outputs, false);
}

int64_t softmax_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> /*outputs*/) {
  if (inputs[0].count() == 0) return 1;
  constexpr int64_t kCost = 8;  // of an exponential, in copies
  const SoftmaxWalk walk = softmax_walk(attributes, inputs[0]);
  return suitable_parts(kCost * inputs[0].count(), walk.units);
}

void run_softmax_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                       int64_t end) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  expect_shape(outputs[0], x.shape());
  expect_dtype(outputs[0], DType::kFloat32);
  expect_dtype(x, DType::kFloat32);
  if (x.count() == 0) return;
  const SoftmaxWalk walk = softmax_walk(attributes, x);
  const int64_t parts = softmax_parts(attributes, inputs, outputs);
  softmax_units(walk, data<float>(x), data<float>(outputs[0]), part_begin(walk.units, begin, parts),
                part_begin(walk.units, end, parts), false);
}

void run_log_softmax(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  softmax(attributes, inputs, outputs, true);
}

void run_layer_normalization(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 3, outputs, 1, 3);
  const Tensor &x = inputs[0], &scale = inputs[1];
  Tensor& y = outputs[0];
  for (const Tensor& t : inputs)
    if (t.count() >= 0) expect_dtype(t, DType::kFloat32);
  expect_dtype(y, DType::kFloat32);
  expect_shape(y, x.shape());
  const int64_t axis = normalize_axis(attributes.get_int("axis", -1), x.rank());
  const Shape tail(x.shape().begin() + axis, x.shape().end());
  const float* bias = has(inputs, 2) ? data<float>(inputs[2]) : nullptr;
  Tensor wide_scale = scale, wide_bias;
  const auto widen = [&](const Tensor& t) {  // both may broadcast to the normalized part
    Tensor wide(DType::kFloat32, tail);
    run_expand({}, std::array{t}, std::span(&wide, 1));
    return wide;
  };
  if (scale.shape() != tail) wide_scale = widen(scale);
  if (bias != nullptr && inputs[2].shape() != tail) {
    wide_bias = widen(inputs[2]);
    bias = data<float>(wide_bias);
  }
  const float epsilon = attributes.get_float("epsilon", 1e-5f);
  const int64_t rows = product(x.shape(), 0, axis), n = product(x.shape(), axis, x.rank());
  for (size_t i = 1; i < outputs.size(); ++i)
    if (outputs[i].count() >= 0) {
      expect_dtype(outputs[i], DType::kFloat32);
      expect(outputs[i].count() == rows, "a statistic must have one entry per row");
    }
  const float* factor = data<float>(wide_scale);
  for (int64_t r = 0; n > 0 && r < rows; ++r) {
    const float* in = data<float>(x) + r * n;
    float* out = data<float>(y) + r * n;
    const Moments m = moments(in, n, epsilon);
    for (int64_t i = 0; i < n; ++i) {
      const float v = (in[i] - m.mean) * m.inverse_deviation * factor[i];
      out[i] = bias != nullptr ? v + bias[i] : v;
    }
    if (outputs.size() > 1 && outputs[1].count() >= 0) data<float>(outputs[1])[r] = m.mean;
    if (outputs.size() > 2 && outputs[2].count() >= 0) data<float>(outputs[2])[r] = m.inverse_deviation;
  }
}

void run_instance_normalization(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  for (const Tensor& t : inputs) expect_dtype(t, DType::kFloat32);
  expect_dtype(y, DType::kFloat32);
  expect_shape(y, x.shape());
  expect(x.rank() >= 2, "rank at least 2 expected");
  const int64_t channels = x.shape()[1], n = product(x.shape(), 2, x.rank());
  expect_shape(inputs[1], {channels});
  expect_shape(inputs[2], {channels});
  const float epsilon = attributes.get_float("epsilon", 1e-5f);
  for (int64_t p = 0; n > 0 && p < x.shape()[0] * channels; ++p) {
    const float* in = data<float>(x) + p * n;
    const Moments m = moments(in, n, epsilon);
    const float scale = data<float>(inputs[1])[p % channels], bias = data<float>(inputs[2])[p % channels];
    for (int64_t i = 0; i < n; ++i)
      data<float>(y)[p * n + i] = (in[i] - m.mean) * m.inverse_deviation * scale + bias;
  }
}

namespace {

// Statistics of the batch, each channel's elements gathered in order; the running ones move towards them.
void normalize_batch(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t channels,
                     int64_t n) {
  const Tensor& x = inputs[0];
  const int64_t images = x.shape()[0], each = images * n;
  expect(each > 0, "an empty batch has no statistics");
  const float epsilon = attributes.get_float("epsilon", 1e-5f),
              momentum = attributes.get_float("momentum", 0.9f);
  std::vector<float> values(static_cast<size_t>(each));
  for (int64_t c = 0; c < channels; ++c) {
    copy_strided(DType::kFloat32, {images, n}, data<float>(x) + c * n, {channels * n, 1}, values.data(),
                 {n, 1});
    const float mean = sum_lanes(values.data(), each) / static_cast<float>(each);
    const float variance = sum_squares_lanes(values.data(), each, mean) / static_cast<float>(each);
    const float factor = data<float>(inputs[1])[c] / std::sqrt(variance + epsilon),
                bias = data<float>(inputs[2])[c];
    for (int64_t b = 0; b < images; ++b)
      for (int64_t i = 0; i < n; ++i) {
        const int64_t at = (b * channels + c) * n + i;
        data<float>(outputs[0])[at] = (data<float>(x)[at] - mean) * factor + bias;
      }
    const auto move = [&](size_t output, float fresh) {
      if (outputs.size() > output && outputs[output].count() >= 0)
        data<float>(outputs[output])[c] =
            data<float>(inputs[output + 2])[c] * momentum + fresh * (1 - momentum);
    };
    move(1, mean);
    move(2, variance);
  }
}

}  // namespace

void run_batch_normalization(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 5, 5, outputs, 1, 3);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  for (const Tensor& t : inputs) expect_dtype(t, DType::kFloat32);
  expect_dtype(y, DType::kFloat32);
  expect_shape(y, x.shape());
  expect(x.rank() >= 1, "rank at least 1 expected");
  const int64_t channels = x.rank() == 1 ? 1 : x.shape()[1],
                n = x.rank() == 1 ? 1 : product(x.shape(), 2, x.rank());
  for (size_t i = 1; i < 5; ++i) expect_shape(inputs[i], {channels});
  for (size_t i = 1; i < outputs.size(); ++i)
    if (outputs[i].count() >= 0) expect_shape(outputs[i], {channels});
  if (attributes.get_int("training_mode", 0) != 0)
    return normalize_batch(attributes, inputs, outputs, channels, n);
  expect(outputs.size() == 1, "running statistics need training_mode 1");
  const float epsilon = attributes.get_float("epsilon", 1e-5f);
  for (int64_t p = 0; p < x.shape()[0] * channels; ++p) {
    const int64_t c = p % channels;
    const float factor = data<float>(inputs[1])[c] / std::sqrt(data<float>(inputs[4])[c] + epsilon);
    const float mean = data<float>(inputs[3])[c], bias = data<float>(inputs[2])[c];
    for (int64_t i = 0; i < n; ++i)
      data<float>(y)[p * n + i] = (data<float>(x)[p * n + i] - mean) * factor + bias;
  }
}

}  // namespace octet::kernels::generic
