// Less common operators, each a few lines: trigonometry (through libm in double, rounded to float32), sums of
// many inputs, tests for NaN and infinity, depth and space, triangles, scatter and group normalization.
#include <cmath>
#include <functional>

#include "base/checked.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

template <typename F>
void map_double(Inputs inputs, Outputs outputs, F f) {
  expect_arity(inputs, 1, 1, outputs);
  expect_shape(outputs[0], inputs[0].shape());
  expect_dtype(outputs[0], inputs[0].dtype());
  visit_float(inputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t i = 0; i < inputs[0].count(); ++i)
      data<T>(outputs[0])[i] = static_cast<T>(f(static_cast<double>(data<T>(inputs[0])[i])));
  });
}

template <typename F>
void map_to_bool(Inputs inputs, Outputs outputs, F f) {
  expect_arity(inputs, 1, 1, outputs);
  expect_shape(outputs[0], inputs[0].shape());
  expect_dtype(outputs[0], DType::kBool);
  visit_float(inputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t i = 0; i < inputs[0].count(); ++i)
      data<uint8_t>(outputs[0])[i] = static_cast<uint8_t>(f(static_cast<double>(data<T>(inputs[0])[i])));
  });
}

}  // namespace

void run_acos(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::acos(x); });
}

void run_acosh(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::acosh(x); });
}

void run_asin(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::asin(x); });
}

void run_asinh(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::asinh(x); });
}

void run_atan(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::atan(x); });
}

void run_atanh(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::atanh(x); });
}

void run_cosh(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return 0.5 * (exp_exact(x) + exp_exact(-x)); });
}

void run_sinh(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return std::sinh(x); });
}

void run_tan(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(inputs, outputs, [](double x) { return sin_exact(x) / cos_exact(x); });
}

void run_mish(const Attributes&, Inputs inputs, Outputs outputs) {
  map_double(
      inputs, outputs,
      [](double x) {  // x tanh(softplus x), with e = exp x: tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2)
        if (x > 30) return x;
        const double e = exp_exact(x), n = e * (e + 2);
        return x * n / (n + 2);
      });
}

void run_swish(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const double alpha = attributes.get_float("alpha", 1.0f);
  map_double(inputs, outputs, [=](double x) { return x / (1 + exp_exact(-alpha * x)); });
}

void run_shrink(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const double bias = attributes.get_float("bias", 0.0f), lambd = attributes.get_float("lambd", 0.5f);
  map_double(inputs, outputs, [=](double x) { return x < -lambd ? x + bias : x > lambd ? x - bias : 0.0; });
}

void run_is_nan(const Attributes&, Inputs inputs, Outputs outputs) {
  map_to_bool(inputs, outputs, [](double x) { return is_nan(x); });
}

void run_is_inf(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const bool negative = attributes.get_int("detect_negative", 1) != 0;
  const bool positive = attributes.get_int("detect_positive", 1) != 0;
  map_to_bool(inputs, outputs, [=](double x) { return std::isinf(x) && (x > 0 ? positive : negative); });
}

void run_mean(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run_sum(attributes, inputs, outputs);
  visit_float(outputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t i = 0; i < outputs[0].count(); ++i) data<T>(outputs[0])[i] /= static_cast<T>(inputs.size());
  });
}

// Inference: the input; the mask is all true.
void run_dropout(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 3, outputs, 1, 2);
  expect(!has(inputs, 2) || to_int64(inputs[2]) == std::vector<int64_t>{0} ||
             (has(inputs, 1) && to_float(inputs[1]) == std::vector<float>{0}),
         "training_mode is not supported");
  run_reshape({}, inputs.first(1), outputs.first(1));
  if (outputs.size() < 2 || outputs[1].count() < 0) return;
  expect_dtype(outputs[1], DType::kBool);
  expect_shape(outputs[1], inputs[0].shape());
  std::fill_n(data<uint8_t>(outputs[1]), outputs[1].count(), uint8_t{1});
}

void run_depth_to_space(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  const int64_t b = attributes.get_int("blocksize", 1);
  expect_dtype(y, x.dtype());
  expect(x.rank() == 4 && b >= 1 && b < 32768 && x.shape()[1] % (b * b) == 0,
         "rank 4 and channels in whole blocks expected");
  const int64_t n = x.shape()[0], c = x.shape()[1] / (b * b), h = x.shape()[2], w = x.shape()[3];
  expect_shape(y, {n, c, h * b, w * b});
  const std::string mode = attributes.get_string("mode", "DCR");
  expect(mode == "DCR" || mode == "CRD", "unknown depth-to-space mode");
  // output [n, c, h, by, w, bx]
  const int64_t plane = h * w, step_c = mode == "DCR" ? plane : plane * b * b,
                step_b = mode == "DCR" ? c * plane : plane;
  const Shape dims{n, c, h, b, w, b};
  copy_strided(y.dtype(), dims, x.raw(), {c * b * b * plane, step_c, w, step_b * b, 1, step_b}, y.raw(),
               row_major_strides(dims));
}

void run_space_to_depth(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  const int64_t b = attributes.get_int("blocksize", 1);
  expect_dtype(y, x.dtype());
  expect(x.rank() == 4 && b >= 1 && b < 32768 && x.shape()[2] % b == 0 && x.shape()[3] % b == 0,
         "rank 4 and a size in whole blocks expected");
  const int64_t n = x.shape()[0], c = x.shape()[1], h = x.shape()[2] / b, w = x.shape()[3] / b;
  expect_shape(y, {n, c * b * b, h, w});
  const Shape dims{n, b, b, c, h, w};  // output [n, by, bx, c, h, w]
  const int64_t row = w * b, plane = h * b * row;
  copy_strided(y.dtype(), dims, x.raw(), {c * plane, row, 1, plane, b * row, b}, y.raw(),
               row_major_strides(dims));
}

void run_trilu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 2, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  expect_shape(y, x.shape());
  expect(x.rank() >= 2, "rank at least 2 expected");
  expect(!has(inputs, 1) || inputs[1].count() == 1, "k must have one element");
  const bool upper = attributes.get_int("upper", 1) != 0;
  const int64_t rows = x.shape()[static_cast<size_t>(x.rank() - 2)], columns = x.shape().back();
  const int64_t k = has(inputs, 1) ? std::clamp<int64_t>(to_int64(inputs[1])[0], -rows - 1, columns + 1) : 0;
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t i = 0; i < y.count(); ++i) {
      const int64_t row = i / columns % rows, column = i % columns;
      data<T>(y)[i] = (upper ? column - row >= k : column - row <= k) ? data<T>(x)[i] : T{0};
    }
  });
}

void run_gather_nd(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor &x = inputs[0], &indices = inputs[1];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  expect_dtype(indices, DType::kInt64);
  const int64_t batch = attributes.get_int("batch_dims", 0),
                depth = indices.rank() > 0 ? indices.shape().back() : 0;
  expect(indices.rank() >= 1 && batch >= 0 && batch < std::min(x.rank(), indices.rank()) && depth >= 1 &&
             depth <= x.rank() - batch,
         "the indices do not fit the data");
  const Shape& s = x.shape();
  expect(std::equal(s.begin(), s.begin() + batch, indices.shape().begin()), "the batch dimensions differ");
  Shape shape(indices.shape().begin(), indices.shape().end() - 1);
  shape.insert(shape.end(), s.begin() + batch + depth, s.end());
  expect_shape(y, shape);
  const Shape strides = row_major_strides(s);
  const int64_t inner = product(s, batch + depth, x.rank()), per_batch = product(s, batch, x.rank());
  const int64_t tuples = indices.count() / depth, batches = product(s, 0, batch);
  if (y.count() == 0) return;
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    for (int64_t t = 0; t < tuples; ++t) {
      int64_t offset = t / (tuples / batches) * per_batch;
      for (int64_t d = 0; d < depth; ++d) {
        const auto axis = static_cast<size_t>(batch + d);
        int64_t i = data<int64_t>(indices)[t * depth + d];
        if (i < -s[axis] || i >= s[axis])
          fail(ErrorCode::kInvalidArgument, "index {} of an axis of size {}", i, s[axis]);
        offset += (i < 0 ? i + s[axis] : i) * strides[axis];
      }
      std::copy_n(data<T>(x) + offset, inner, data<T>(y) + t * inner);
    }
  });
}

namespace {

// Integers wrap.
template <typename T>
T scatter_value(const std::string& reduction, T old, T update) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;
  if (reduction == "add") return static_cast<T>(static_cast<Wide>(old) + static_cast<Wide>(update));
  if (reduction == "mul") return static_cast<T>(static_cast<Wide>(old) * static_cast<Wide>(update));
  if (reduction == "max") return std::max(old, update);
  if (reduction == "min") return std::min(old, update);
  return update;
}

}  // namespace

// ScatterElements and ScatterND
void run_scatter_elements(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  const Tensor &x = inputs[0], &indices = inputs[1], &updates = inputs[2];
  Tensor& y = outputs[0];
  expect_dtype(updates, x.dtype());
  expect_shape(y, x.shape());
  expect_shape(updates, indices.shape());
  expect(indices.rank() == x.rank(), "indices must have the rank of the data");
  run_reshape({}, inputs.first(1), outputs);
  const auto axis = static_cast<size_t>(normalize_axis(attributes.get_int("axis", 0), x.rank()));
  for (size_t d = 0; d < x.shape().size(); ++d)
    expect(d == axis || indices.shape()[d] <= x.shape()[d], "indices exceed the data");
  const std::string reduction = attributes.get_string("reduction", "none");
  const std::vector<int64_t> index = to_int64(indices);
  const Shape strides = row_major_strides(x.shape());
  Shape at(x.shape().size(), 0);
  const int64_t size = x.shape()[axis];
  visit_number(
      x.dtype(),
      [&](auto type) {
        using T = typename decltype(type)::type;
        for (size_t i = 0; i < index.size(); ++i) {
          if (index[i] < -size || index[i] >= size)
            fail(ErrorCode::kInvalidArgument, "index {} of an axis of size {}", index[i], size);
          int64_t offset = (index[i] < 0 ? index[i] + size : index[i]) * strides[axis];
          for (size_t d = 0; d < at.size(); ++d)
            if (d != axis) offset += at[d] * strides[d];
          T& target = data<T>(y)[offset];
          target = scatter_value(reduction, target, data<T>(updates)[i]);
          for (size_t d = at.size(); d-- > 0;) {
            if (++at[d] < indices.shape()[d]) break;
            at[d] = 0;
          }
        }
      },
      true);
}

void run_scatter_nd(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  const Tensor &x = inputs[0], &indices = inputs[1], &updates = inputs[2];
  Tensor& y = outputs[0];
  expect_dtype(indices, DType::kInt64);
  expect_dtype(updates, x.dtype());
  expect_shape(y, x.shape());
  const Shape& s = x.shape();
  const int64_t depth = indices.rank() > 0 ? indices.shape().back() : 0;
  expect(depth >= 1 && depth <= x.rank(), "the indices do not fit the data");
  Shape shape(indices.shape().begin(), indices.shape().end() - 1);
  shape.insert(shape.end(), s.begin() + depth, s.end());
  expect_shape(updates, shape);
  run_reshape({}, inputs.first(1), outputs);
  const std::string reduction = attributes.get_string("reduction", "none");
  const Shape strides = row_major_strides(s);
  const int64_t inner = product(s, depth, x.rank());
  visit_number(
      x.dtype(),
      [&](auto type) {
        using T = typename decltype(type)::type;
        for (int64_t t = 0; t < indices.count() / depth; ++t) {
          int64_t offset = 0;
          for (int64_t d = 0; d < depth; ++d) {
            const auto axis = static_cast<size_t>(d);
            const int64_t i = data<int64_t>(indices)[t * depth + d];
            if (i < -s[axis] || i >= s[axis])
              fail(ErrorCode::kInvalidArgument, "index {} of an axis of size {}", i, s[axis]);
            offset += (i < 0 ? i + s[axis] : i) * strides[axis];
          }
          for (int64_t i = 0; i < inner; ++i) {
            T& target = data<T>(y)[offset + i];
            target = scatter_value(reduction, target, data<T>(updates)[t * inner + i]);
          }
        }
      },
      true);
}

}  // namespace octet::kernels::generic
