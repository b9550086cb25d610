// Group, root-mean-square and Lp normalization, local response normalization; float32.
#include <cmath>

#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

void expect_f32(Inputs inputs, Outputs outputs) {
  for (const Tensor& t : inputs)
    if (t.count() >= 0) expect_dtype(t, DType::kFloat32);
  expect_dtype(outputs[0], DType::kFloat32);
  expect_shape(outputs[0], inputs[0].shape());
}

}  // namespace

void run_group_normalization(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  expect_f32(inputs, outputs);
  const Tensor& x = inputs[0];
  expect(x.rank() >= 2, "rank at least 2 expected");
  const int64_t channels = x.shape()[1], groups = attributes.get_int("num_groups", 1);
  expect(groups >= 1 && channels % groups == 0, "channels must be a multiple of the groups");
  expect_shape(inputs[1], {channels});
  expect_shape(inputs[2], {channels});
  const float epsilon = attributes.get_float("epsilon", 1e-5f);
  const int64_t plane = product(x.shape(), 2, x.rank()), n = channels / groups * plane;
  for (int64_t g = 0; n > 0 && g < x.shape()[0] * groups; ++g) {
    const float* in = data<float>(x) + g * n;
    float* out = data<float>(outputs[0]) + g * n;
    const float mean = sum_lanes(in, n) / static_cast<float>(n);
    const float variance = sum_squares_lanes(in, n, mean) / static_cast<float>(n);
    const float factor = 1.0f / std::sqrt(variance + epsilon);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t c = g % groups * (channels / groups) + i / plane;
      out[i] = (in[i] - mean) * factor * data<float>(inputs[1])[c] + data<float>(inputs[2])[c];
    }
  }
}

void run_rms_normalization(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  expect_f32(inputs, outputs);
  const Tensor& x = inputs[0];
  const int64_t axis = normalize_axis(attributes.get_int("axis", -1), x.rank());
  const int64_t rows = product(x.shape(), 0, axis), n = product(x.shape(), axis, x.rank());
  const float epsilon = attributes.get_float("epsilon", 1e-5f);
  Tensor scale(DType::kFloat32, Shape(x.shape().begin() + axis, x.shape().end()));
  run_expand({}, inputs.subspan(1, 1), std::span(&scale, 1));
  for (int64_t r = 0; n > 0 && r < rows; ++r) {
    const float* in = data<float>(x) + r * n;
    const float factor = 1.0f / std::sqrt(sum_squares_lanes(in, n, 0.0f) / static_cast<float>(n) + epsilon);
    for (int64_t i = 0; i < n; ++i)
      data<float>(outputs[0])[r * n + i] = in[i] * factor * data<float>(scale)[i];
  }
}

void run_lp_normalization(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  expect_f32(inputs, outputs);
  const Tensor& x = inputs[0];
  const int64_t p = attributes.get_int("p", 2),
                axis = normalize_axis(attributes.get_int("axis", -1), x.rank());
  expect(p == 1 || p == 2, "p must be 1 or 2");
  const int64_t outer = product(x.shape(), 0, axis), n = x.shape()[static_cast<size_t>(axis)];
  const int64_t inner = product(x.shape(), axis + 1, x.rank());
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      const float* in = data<float>(x) + o * n * inner + i;
      float* out = data<float>(outputs[0]) + o * n * inner + i;
      float total = 0;
      for (int64_t j = 0; j < n; ++j)
        total += p == 1 ? std::fabs(in[j * inner]) : in[j * inner] * in[j * inner];
      if (p == 2) total = std::sqrt(total);
      for (int64_t j = 0; j < n; ++j) out[j * inner] = total == 0 ? 0.0f : in[j * inner] / total;
    }
}

void run_lrn(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  expect_f32(inputs, outputs);
  const Tensor& x = inputs[0];
  expect(x.rank() >= 2, "rank at least 2 expected");
  const int64_t size = attributes.get_int("size", 1), channels = x.shape()[1],
                plane = product(x.shape(), 2, x.rank());
  expect(size >= 1, "size must be positive");
  const float alpha = attributes.get_float("alpha", 1e-4f) / static_cast<float>(size);
  const float beta = attributes.get_float("beta", 0.75f), bias = attributes.get_float("bias", 1.0f);
  for (int64_t n = 0; n < x.shape()[0]; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < plane; ++i) {
        const float* in = data<float>(x) + n * channels * plane + i;
        float squares = 0;
        for (int64_t k = std::max<int64_t>(0, c - (size - 1) / 2); k < channels && k <= c + size / 2; ++k)
          squares += in[k * plane] * in[k * plane];
        data<float>(outputs[0])[(n * channels + c) * plane + i] =
            in[c * plane] / static_cast<float>(pow_exact(static_cast<double>(bias + alpha * squares), beta));
      }
}

}  // namespace octet::kernels::generic
