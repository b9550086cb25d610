// Operators that choose elements by their values: TopK, NonZero, Compress, Unique; and OneHot, which does the
// reverse.
#include <numeric>

#include "kernels/generic/makers.h"
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

// A strict order in which NaN is the largest.
template <typename T>
bool less(T a, T b) {
  return is_nan(a) || is_nan(b) ? !is_nan(a) : a < b;
}

// Of two equal elements the one with the lower index comes first.
template <typename T>
struct Better {
  const T* row;
  bool largest;
  bool operator()(int64_t i, int64_t j) const {
    if (largest ? less(row[j], row[i]) : less(row[i], row[j])) return true;
    if (largest ? less(row[i], row[j]) : less(row[j], row[i])) return false;
    return i < j;
  }
};

}  // namespace

void run_top_k(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs, 1, 2);
  const Tensor& x = inputs[0];
  Tensor& values = outputs[0];
  Tensor* indices = outputs.size() > 1 && outputs[1].count() >= 0 ? &outputs[1] : nullptr;
  expect_dtype(values, x.dtype());
  expect_shape(values, shape_of_top_k(attributes, inputs, 1)[0]);
  if (indices != nullptr) {
    expect_dtype(*indices, DType::kInt64);
    expect_shape(*indices, values.shape());
  }
  if (values.count() == 0) return;
  const int64_t axis = normalize_axis(attributes.get_int("axis", -1), x.rank());
  const int64_t n = x.shape()[static_cast<size_t>(axis)], k = values.shape()[static_cast<size_t>(axis)];
  const int64_t outer = product(x.shape(), 0, axis), inner = product(x.shape(), axis + 1, x.rank());
  const bool largest = attributes.get_int("largest", 1) != 0;
  std::vector<int64_t> order(static_cast<size_t>(n));
  visit_number(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    std::vector<T> row(static_cast<size_t>(n));
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        for (int64_t j = 0; j < n; ++j) row[static_cast<size_t>(j)] = data<T>(x)[(o * n + j) * inner + i];
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + k, order.end(), Better<T>{row.data(), largest});
        for (int64_t j = 0; j < k; ++j) {
          const int64_t chosen = order[static_cast<size_t>(j)], at = (o * k + j) * inner + i;
          data<T>(values)[at] = row[static_cast<size_t>(chosen)];
          if (indices != nullptr) data<int64_t>(*indices)[at] = chosen;
        }
      }
  });
}

// [rank, number of elements that are not 0]: their indices in row-major order.
void make_non_zero(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  expect_dtype(outputs[0], DType::kInt64);
  std::vector<int64_t> found;
  const auto collect = [&](const auto* v, auto is_zero) {
    for (int64_t i = 0; i < x.count(); ++i)
      if (!is_zero(v[i])) found.push_back(i);
  };
  if (x.dtype() == DType::kFloat16 || x.dtype() == DType::kBFloat16)
    collect(data<uint16_t>(x), [](uint16_t bits) { return (bits & 0x7fff) == 0; });
  else
    visit_number(
        x.dtype(),
        [&](auto type) {
          using T = typename decltype(type)::type;
          collect(data<T>(x), [](T v) { return v == T{0}; });
        },
        true);
  const auto rank = static_cast<int64_t>(std::max(x.rank(), 1)), n = static_cast<int64_t>(found.size());
  outputs[0] = Tensor(DType::kInt64, {rank, n});
  auto* out = data<int64_t>(outputs[0]);
  const Shape strides = row_major_strides(x.shape());
  for (int64_t d = 0; d < x.rank(); ++d)
    for (int64_t i = 0; i < n; ++i)
      out[d * n + i] =
          found[static_cast<size_t>(i)] / strides[static_cast<size_t>(d)] % x.shape()[static_cast<size_t>(d)];
}

void run_non_zero(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run_maker(make_non_zero, attributes, inputs, outputs);
}

// The slices along an axis (without one: the elements) where the condition holds.
void make_compress(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor &x = inputs[0], &condition = inputs[1];
  expect_dtype(outputs[0], x.dtype());
  expect_dtype(condition, DType::kBool);
  expect(condition.rank() == 1, "the condition must have rank 1");
  const bool flat = !attributes.has("axis");
  const int64_t axis = flat ? 0 : normalize_axis(attributes.get_int("axis", 0), x.rank());
  const int64_t n = flat ? x.count() : x.shape()[static_cast<size_t>(axis)];
  expect(condition.count() <= n, "the condition is longer than the axis");
  const int64_t outer = flat ? 1 : product(x.shape(), 0, axis),
                inner = flat ? 1 : product(x.shape(), axis + 1, x.rank());
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < condition.count(); ++i)
    if (data<uint8_t>(condition)[i] != 0) kept.push_back(i);
  const auto count = static_cast<int64_t>(kept.size());
  Shape shape = flat ? Shape{count} : x.shape();
  if (!flat) shape[static_cast<size_t>(axis)] = count;
  outputs[0] = Tensor(x.dtype(), shape);
  visit_size(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    T* out = data<T>(outputs[0]);
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i : kept) out = std::copy_n(data<T>(x) + (o * n + i) * inner, inner, out);
  });
}

void run_compress(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run_maker(make_compress, attributes, inputs, outputs);
}

// Distinct slices along an axis (without one: elements), sorted or in order of their first appearance; where
// each was first, which of them each slice is, how often each is there.
void make_unique(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs, 1, 4);
  const Tensor& x = inputs[0];
  const bool flat = !attributes.has("axis");
  const int64_t axis = flat ? 0 : normalize_axis(attributes.get_int("axis", 0), x.rank());
  const int64_t n = flat ? x.count() : x.shape()[static_cast<size_t>(axis)];
  const int64_t outer = flat ? 1 : product(x.shape(), 0, axis),
                inner = flat ? 1 : product(x.shape(), axis + 1, x.rank());
  visit_number(
      x.dtype(),
      [&](auto type) {
        using T = typename decltype(type)::type;
        const int64_t length = outer * inner;
        std::vector<T> slices(static_cast<size_t>(n * length));
        copy_strided(x.dtype(), {outer, n, inner}, x.raw(), {n * inner, inner, 1}, slices.data(),
                     {inner, length, 1});
        const auto compare = [&](int64_t i, int64_t j) {  // below 0, 0, above 0
          const T *a = slices.data() + i * length, *b = slices.data() + j * length;
          for (int64_t k = 0; k < length; ++k) {
            if (less(a[k], b[k])) return -1;
            if (less(b[k], a[k])) return 1;
          }
          return 0;
        };
        std::vector<int64_t> order(static_cast<size_t>(n)), first, inverse(static_cast<size_t>(n)), counts;
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return compare(i, j) < 0; });
        for (size_t i = 0; i < order.size(); ++i) {
          if (i == 0 || compare(order[i - 1], order[i]) != 0) {
            first.push_back(order[i]);
            counts.push_back(0);
          }
          inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(first.size()) - 1;
          ++counts.back();
        }
        const size_t m = first.size();
        std::vector<int64_t> rank(m), place(m);
        std::iota(rank.begin(), rank.end(), 0);
        if (attributes.get_int("sorted", 1) == 0)
          std::sort(rank.begin(), rank.end(), [&](int64_t i, int64_t j) {
            return first[static_cast<size_t>(i)] < first[static_cast<size_t>(j)];
          });
        for (size_t i = 0; i < m; ++i) place[static_cast<size_t>(rank[i])] = static_cast<int64_t>(i);
        Shape shape = flat ? Shape{static_cast<int64_t>(m)} : x.shape();
        if (!flat) shape[static_cast<size_t>(axis)] = static_cast<int64_t>(m);
        outputs[0] = Tensor(x.dtype(), shape);
        for (size_t i = 0; i < m; ++i) {
          const T* slice = slices.data() + first[static_cast<size_t>(rank[i])] * length;
          for (int64_t o = 0; o < outer; ++o)
            std::copy_n(
                slice + o * inner, inner,
                data<T>(outputs[0]) + (o * static_cast<int64_t>(m) + static_cast<int64_t>(i)) * inner);
        }
        const auto give = [&](size_t output, size_t count, auto value) {
          if (outputs.size() <= output || outputs[output].count() < 0) return;
          outputs[output] = Tensor(DType::kInt64, {static_cast<int64_t>(count)});
          for (size_t i = 0; i < count; ++i) data<int64_t>(outputs[output])[i] = value(i);
        };
        give(1, m, [&](size_t i) { return first[static_cast<size_t>(rank[i])]; });
        give(2, static_cast<size_t>(n), [&](size_t i) { return place[static_cast<size_t>(inverse[i])]; });
        give(3, m, [&](size_t i) { return counts[static_cast<size_t>(rank[i])]; });
      },
      true);
}

void run_unique(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run_maker(make_unique, attributes, inputs, outputs);
}

void run_one_hot(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  const Tensor &indices = inputs[0], &values = inputs[2];
  Tensor& y = outputs[0];
  expect_dtype(y, values.dtype());
  expect(values.count() == 2, "values must be the one for off and the one for on");
  expect_shape(y, shape_of_one_hot(attributes, inputs, 1)[0]);
  const int64_t axis = normalize_axis(attributes.get_int("axis", -1), y.rank());
  const int64_t depth = y.shape()[static_cast<size_t>(axis)];
  const int64_t outer = product(y.shape(), 0, axis), inner = product(y.shape(), axis + 1, y.rank());
  const std::vector<int64_t> wanted = to_int64(indices);
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    T choice[2];
    std::memcpy(choice, values.raw(), sizeof choice);
    std::fill_n(data<T>(y), y.count(), choice[0]);
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t index = wanted[static_cast<size_t>(o * inner + i)];
        if (index < -depth || index >= depth) continue;
        data<T>(y)[(o * depth + (index < 0 ? index + depth : index)) * inner + i] = choice[1];
      }
  });
}

}  // namespace octet::kernels::generic
