// Matrix products: every sum runs over k in order.
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

// c[m, n] = a[m, k] * b[k, n]
template <typename T>
void multiply(const T* a, const T* b, T* c, int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kBlockK = 128, kBlockN = 512;
  std::fill_n(c, m * n, T{0});
  for (int64_t j0 = 0; j0 < n; j0 += kBlockN)
    for (int64_t k0 = 0; k0 < k; k0 += kBlockK)
      for (int64_t i = 0; i < m; ++i) {
        T* out = c + i * n + j0;
        const int64_t width = std::min(kBlockN, n - j0);
        for (int64_t p = k0; p < std::min(k, k0 + kBlockK); ++p) {
          const T factor = a[i * k + p];
          const T* row = b + p * n + j0;
          for (int64_t j = 0; j < width; ++j) out[j] += factor * row[j];
        }
      }
}

template <typename Body>
void visit_matrix(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(Type<float>{});
    case DType::kFloat64:
      return body(Type<double>{});
    case DType::kInt32:  // as unsigned: overflow wraps
    case DType::kUInt32:
      return body(Type<uint32_t>{});
    case DType::kInt64:
    case DType::kUInt64:
      return body(Type<uint64_t>{});
    default:
      unsupported_dtype(dtype);
  }
}

Tensor transposed(const Tensor& t) {
  const int64_t rows = t.shape()[0], columns = t.shape()[1];
  Tensor result(t.dtype(), {columns, rows});
  copy_strided(t.dtype(), {columns, rows}, t.raw(), {1, columns}, result.raw(), {rows, 1});
  return result;
}

}  // namespace

void run_matmul(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor &a = inputs[0], &b = inputs[1];
  Tensor& y = outputs[0];
  expect_dtype(b, a.dtype());
  expect_dtype(y, a.dtype());
  expect(a.rank() >= 1 && b.rank() >= 1, "a scalar has no matrix product");
  Shape sa = a.shape(), sb = b.shape();
  if (a.rank() == 1) sa.insert(sa.begin(), 1);
  if (b.rank() == 1) sb.push_back(1);
  const int64_t m = sa[sa.size() - 2], k = sa.back(), n = sb.back();
  expect(sb[sb.size() - 2] == k, "the inner dimensions differ");
  const auto batch_of = [](const Shape& s) {
    return Tensor::view(DType::kInt8, Shape(s.begin(), s.end() - 2), "", nullptr);
  };
  const Tensor ba = batch_of(sa), bb = batch_of(sb);
  const std::array<const Tensor*, 2> batches{&ba, &bb};
  const Shape batch = broadcast_shape(batches);
  Shape shape = batch;
  if (a.rank() > 1) shape.push_back(m);
  if (b.rank() > 1) shape.push_back(n);
  expect_shape(y, shape);
  if (y.count() == 0) return;
  visit_matrix(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    for_each_row(
        plan_broadcast(batch, batches), [&](int64_t o, const auto& at, int64_t count, const auto& step) {
          for (int64_t i = 0; i < count; ++i)
            multiply(data<T>(a) + (at[0] + i * step[0]) * m * k, data<T>(b) + (at[1] + i * step[1]) * k * n,
                     data<T>(y) + (o + i) * m * n, m, n, k);
        });
  });
}

void run_gemm(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 3, outputs);
  Tensor a = inputs[0], b = inputs[1];
  Tensor& y = outputs[0];
  expect_dtype(b, a.dtype());
  expect_dtype(y, a.dtype());
  expect(a.rank() == 2 && b.rank() == 2, "the inputs must be matrices");
  if (attributes.get_int("transA", 0) != 0) a = transposed(a);
  if (attributes.get_int("transB", 0) != 0) b = transposed(b);
  const int64_t m = a.shape()[0], k = a.shape()[1], n = b.shape()[1];
  expect(b.shape()[0] == k, "the inner dimensions differ");
  expect_shape(y, {m, n});
  if (y.count() == 0) return;
  const float alpha = attributes.get_float("alpha", 1.0f), beta = attributes.get_float("beta", 1.0f);
  visit_matrix(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    multiply(data<T>(a), data<T>(b), data<T>(y), m, n, k);
    T* out = data<T>(y);
    if (alpha != 1.0f)
      for (int64_t i = 0; i < m * n; ++i) out[i] = static_cast<T>(static_cast<T>(alpha) * out[i]);
    if (!has(inputs, 2)) return;
    expect_dtype(inputs[2], y.dtype());
    broadcast_binary<T, T, T>(y, inputs[2], y,
                              [=](T v, T c) { return static_cast<T>(v + static_cast<T>(beta) * c); });
  });
}

}  // namespace octet::kernels::generic
