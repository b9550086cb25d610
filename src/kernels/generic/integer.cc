// Products of quantized tensors, exact in int32 (which wraps), and what makes and ends them.
#include <cmath>
#include <limits>

#include "kernels/generic/ops.h"
#include "quant/quant_params.h"

namespace octet::kernels::generic {
namespace {

// A parameter with one entry, or one for each index of an axis, or of the shape that broadcasts to the
// tensor.
Shape parameter_shape(const Tensor& parameter, const Tensor& of, int64_t axis) {
  if (parameter.count() == 1) return Shape(static_cast<size_t>(of.rank()), 1);
  if (parameter.rank() == of.rank()) return parameter.shape();
  expect(parameter.rank() == 1, "a scale or zero-point has the wrong rank");
  Shape shape(static_cast<size_t>(of.rank()), 1);
  shape[static_cast<size_t>(normalize_axis(axis, of.rank()))] = parameter.count();
  return shape;
}

// Elements minus their zero-points, as int32.
Tensor centred(Inputs inputs, size_t values, size_t zero, int64_t axis) {
  const Tensor& q = input(inputs, values);
  expect(q.dtype() == DType::kInt8 || q.dtype() == DType::kUInt8, "8-bit elements expected");
  const auto widen = [](const Tensor& t, const Shape& shape) {
    Tensor wide(DType::kInt32, shape);
    const std::vector<int64_t> all = to_int64(t);
    std::copy(all.begin(), all.end(), data<int32_t>(wide));
    return wide;
  };
  Tensor result = widen(q, q.shape());
  if (!has(inputs, zero)) return result;
  expect_dtype(inputs[zero], q.dtype());
  const Tensor zeros = widen(inputs[zero], parameter_shape(inputs[zero], q, axis));
  Tensor shifted(DType::kInt32, q.shape());
  broadcast_binary<int32_t, int32_t, int32_t>(result, zeros, shifted,
                                              [](int32_t v, int32_t z) { return v - z; });
  return shifted;
}

// y = saturate(round_half_even(sum * factor) + zero-point), `factor` broadcast to the sums.
void requantize(const Tensor& sums, const Tensor& factor, const Tensor& zero, Tensor& y) {
  expect(y.dtype() == DType::kInt8 || y.dtype() == DType::kUInt8, "8-bit elements expected");
  expect_dtype(zero, y.dtype());
  Tensor scaled(DType::kFloat32, sums.shape());
  broadcast_binary<int32_t, float, float>(sums, factor, scaled,
                                          [](int32_t v, float f) { return static_cast<float>(v) * f; });
  Tensor zeros(DType::kFloat32, parameter_shape(zero, y, 1));
  const std::vector<float> all = to_float(zero);
  std::copy(all.begin(), all.end(), data<float>(zeros));
  const IntLimits limits = int_limits(y.dtype());
  broadcast_binary<float, float, uint8_t>(scaled, zeros, y, [=](float v, float z) {
    return static_cast<uint8_t>(quantize_one(v, 1.0f, static_cast<int32_t>(z), limits));
  });
}

// a * b / c, each with one entry or one per index of an axis of `y`.
Tensor combined_scale(Inputs inputs, std::array<size_t, 3> which, std::array<int64_t, 3> axes,
                      const Tensor& y) {
  Tensor result(DType::kFloat32, Shape(static_cast<size_t>(y.rank()), 1));
  *data<float>(result) = 1;
  for (size_t i = 0; i < 3; ++i) {
    const Tensor& t = input(inputs, which[i]);
    expect(is_float(t.dtype()), "a scale must be a float");
    Tensor own(DType::kFloat32, parameter_shape(t, y, axes[i]));
    const std::vector<float> values = to_float(t);
    std::copy(values.begin(), values.end(), data<float>(own));
    for (float v : values)
      expect(v > 0 && v < std::numeric_limits<float>::infinity(), "a scale must be positive");
    const std::array<const Tensor*, 2> both{&result, &own};
    Tensor next(DType::kFloat32, broadcast_shape(both));
    broadcast_binary<float, float, float>(result, own, next,
                                          [=](float a, float b) { return i == 2 ? a / b : a * b; });
    result = next;
  }
  return result;
}

}  // namespace

void run_mat_mul_integer(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 4, outputs);
  expect_dtype(outputs[0], DType::kInt32);
  const std::array<Tensor, 2> factors{centred(inputs, 0, 2, inputs[0].rank() > 1 ? -2 : -1),
                                      centred(inputs, 1, 3, -1)};
  run_matmul({}, factors, outputs);
}

void run_conv_integer(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 4, outputs);
  expect_dtype(outputs[0], DType::kInt32);
  const std::array<Tensor, 2> factors{centred(inputs, 0, 2, 1), centred(inputs, 1, 3, 0)};
  run_conv(attributes, factors, outputs);
}

void run_qlinear_mat_mul(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 8, 8, outputs);
  Tensor sums(DType::kInt32, outputs[0].shape());
  const std::array<Tensor, 2> factors{centred(inputs, 0, 2, inputs[0].rank() > 1 ? -2 : -1),
                                      centred(inputs, 3, 5, -1)};
  run_matmul({}, factors, std::span(&sums, 1));
  const int64_t rows = sums.rank() > 1 ? -2 : -1;
  requantize(sums, combined_scale(inputs, {1, 4, 6}, {rows, -1, rows}, sums), inputs[7], outputs[0]);
}

void run_qlinear_conv(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 8, 9, outputs);
  Tensor sums(DType::kInt32, outputs[0].shape());
  std::vector<Tensor> factors{centred(inputs, 0, 2, 1), centred(inputs, 3, 5, 0)};
  if (has(inputs, 8)) factors.push_back(inputs[8]);
  run_conv(attributes, factors, std::span(&sums, 1));
  requantize(sums, combined_scale(inputs, {1, 4, 6}, {1, 1, 1}, sums), inputs[7], outputs[0]);
}

// Range of the elements and 0 to 0..255.
void run_dynamic_quantize_linear(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs, 3, 3);
  const Tensor& x = inputs[0];
  expect_dtype(x, DType::kFloat32);
  expect_dtype(outputs[0], DType::kUInt8);
  expect_dtype(outputs[1], DType::kFloat32);
  expect_dtype(outputs[2], DType::kUInt8);
  expect_shape(outputs[0], x.shape());
  for (size_t i = 1; i < 3; ++i) expect_shape(outputs[i], {});
  float low = 0, high = 0;
  for (float v : x.as<float>()) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  const float range = high - low;
  expect(range < std::numeric_limits<float>::infinity(), "the elements must be finite");
  const float scale = range > 0 ? range / 255.0f : 1.0f;
  const IntLimits limits = int_limits(DType::kUInt8);
  const int32_t zero = quantize_one(-low, scale, 0, limits);
  for (int64_t i = 0; i < x.count(); ++i)
    data<uint8_t>(outputs[0])[i] = static_cast<uint8_t>(quantize_one(data<float>(x)[i], scale, zero, limits));
  *data<float>(outputs[1]) = scale;
  *data<uint8_t>(outputs[2]) = static_cast<uint8_t>(zero);
}

}  // namespace octet::kernels::generic
