// QuantizeLinear and DequantizeLinear: per tensor, per channel and per block.
#include "base/checked.h"
#include "kernels/generic/ops.h"
#include "quant/quant_params.h"

namespace octet::kernels::generic {
namespace {

// Which scale belongs to an element: x is seen as [outer, axis, inner].
struct Grid {
  int64_t outer = 1, axis = 1, inner = 1;
  int64_t block = 0;     // elements of the axis that share a scale; 0: all elements do
  int64_t blocks = 1;    // of the axis
  bool blocked = false;  // scales have the shape of x with the axis in blocks

  int64_t index(int64_t o, int64_t a, int64_t i) const {
    if (block == 0) return 0;
    return blocked ? (o * blocks + a / block) * inner + i : a;
  }
};

Grid read_grid(const Attributes& attributes, const Tensor& x, const Tensor& scale) {
  Grid g;
  const int64_t block = attributes.get_int("block_size", 0);
  expect(block >= 0, "block_size must not be negative");
  if (block == 0 && scale.count() == 1 && scale.rank() <= 1) {
    g.inner = x.count();
    return g;
  }
  const int64_t axis = normalize_axis(attributes.get_int("axis", 1), x.rank());
  g.outer = product(x.shape(), 0, axis);
  g.axis = x.shape()[static_cast<size_t>(axis)];
  g.inner = product(x.shape(), axis + 1, x.rank());
  if (block == 0) {
    g.block = 1;
    expect_shape(scale, {g.axis});
    return g;
  }
  g.block = block;
  g.blocked = true;
  g.blocks = ceil_div(g.axis, block);
  Shape shape = x.shape();
  shape[static_cast<size_t>(axis)] = g.blocks;
  expect_shape(scale, shape);
  return g;
}

// Zero-points as integers; empty when absent.
std::vector<int64_t> read_zero_points(Inputs inputs, const Tensor& scale, DType dtype) {
  if (!has(inputs, 2)) return {};
  expect_dtype(inputs[2], dtype);
  expect(inputs[2].count() == scale.count(), "scale and zero-point must have the same shape");
  return to_int64(dtype == DType::kInt4 || dtype == DType::kUInt4 ? unpack_4bit(inputs[2]) : inputs[2]);
}

}  // namespace

void run_quantize_linear(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 3, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_shape(y, x.shape());
  expect_dtype(inputs[1], DType::kFloat32);
  const Grid g = read_grid(attributes, x, inputs[1]);
  const std::vector<int64_t> zero = read_zero_points(inputs, inputs[1], y.dtype());
  const IntLimits limits = int_limits(y.dtype());
  const std::vector<float> converted = x.dtype() == DType::kFloat32 ? std::vector<float>{} : to_float(x);
  const float* source = converted.empty() ? data<float>(x) : converted.data();
  const float* scale = data<float>(inputs[1]);
  const bool packed = dtype_bits(y.dtype()) == 4;
  Tensor bytes = packed ? Tensor(DType::kUInt8, y.shape()) : Tensor();
  Tensor& target = packed ? bytes : y;
  const auto each = [&](auto type) {
    using T = typename decltype(type)::type;
    T* out = data<T>(target);
    int64_t e = 0;
    for (int64_t o = 0; o < g.outer; ++o)
      for (int64_t a = 0; a < g.axis; ++a)
        for (int64_t i = 0; i < g.inner; ++i, ++e) {
          const int64_t k = g.index(o, a, i);
          const auto z = zero.empty() ? 0 : static_cast<int32_t>(zero[static_cast<size_t>(k)]);
          out[e] = static_cast<T>(quantize_one(source[e], scale[k], z, limits));
        }
  };
  if (dtype_bits(target.dtype()) == 16)
    each(Type<uint16_t>{});
  else if (dtype_bits(target.dtype()) == 8)
    each(Type<uint8_t>{});
  else
    unsupported_dtype(y.dtype());
  if (packed) pack_4bit(bytes, y);
}

void run_dequantize_linear(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 3, outputs);
  const std::vector<int64_t> zero = read_zero_points(inputs, inputs[1], inputs[0].dtype());
  const Tensor x = dtype_bits(inputs[0].dtype()) == 4 ? unpack_4bit(inputs[0]) : inputs[0];
  Tensor& y = outputs[0];
  expect_shape(y, x.shape());
  expect_dtype(y, DType::kFloat32);
  expect_dtype(inputs[1], DType::kFloat32);
  const Grid g = read_grid(attributes, x, inputs[1]);
  const float* scale = data<float>(inputs[1]);
  float* out = data<float>(y);
  visit_number(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_integral_v<T> && sizeof(T) <= 4) {
      const T* source = data<T>(x);
      int64_t e = 0;
      for (int64_t o = 0; o < g.outer; ++o)
        for (int64_t a = 0; a < g.axis; ++a)
          for (int64_t i = 0; i < g.inner; ++i, ++e) {
            const int64_t k = g.index(o, a, i);
            const int64_t z = zero.empty() ? 0 : zero[static_cast<size_t>(k)];
            out[e] = static_cast<float>(source[e] - z) * scale[k];
          }
    } else {
      unsupported_dtype(x.dtype());
    }
  });
}

}  // namespace octet::kernels::generic
