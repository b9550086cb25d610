// Reductions. The elements of one result are gathered in row-major order; float32 sums then use the fixed
// order of sum_lanes.
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/parts.h"
#include "kernels/simd/function_scalar.h"

namespace octet::kernels::generic {
namespace {

// Calls body(output offset, elements, count) for every result; elements are contiguous.
template <typename T, typename Body>
void for_each_group(const Tensor& x, const std::vector<int64_t>& axes, int64_t outputs, Body body) {
  Shape kept, kept_strides, reduced, reduced_strides;
  const Shape strides = row_major_strides(x.shape());
  for (size_t d = 0; d < x.shape().size(); ++d) {
    const bool is_reduced = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(d));
    (is_reduced ? reduced : kept).push_back(x.shape()[d]);
    (is_reduced ? reduced_strides : kept_strides).push_back(strides[d]);
  }
  const int64_t count = product(reduced, 0, static_cast<int64_t>(reduced.size()));
  const bool trailing = axes.empty() || axes.front() + static_cast<int64_t>(axes.size()) == x.rank();
  std::vector<T> gathered(trailing ? 0 : static_cast<size_t>(count));
  Shape at(kept.size(), 0);
  int64_t offset = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    const T* source = data<T>(x) + offset;
    if (!trailing && count > 0) {
      copy_strided(DTypeOf<T>::value, reduced, source, reduced_strides, gathered.data(),
                   row_major_strides(reduced));
      source = gathered.data();
    }
    body(o, source, count);
    for (size_t d = kept.size(); d-- > 0;) {
      offset += kept_strides[d];
      if (++at[d] < kept[d]) break;
      offset -= kept_strides[d] * kept[d];
      at[d] = 0;
    }
  }
}

// `body(elements, count)` gives the result.
template <typename Body>
void reduce(const Attributes& attributes, Inputs inputs, Outputs outputs, Body body, bool with_bool = false) {
  expect_arity(inputs, 1, 2, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  std::vector<int64_t> axes = has(inputs, 1) ? to_int64(inputs[1]) : attributes.get_ints("axes");
  if (axes.empty()) {
    if (attributes.get_int("noop_with_empty_axes", 0) == 0) {
      axes.resize(static_cast<size_t>(x.rank()));
      std::iota(axes.begin(), axes.end(), 0);
    }
  }
  axes = normalize_axes(axes, x.rank());
  Shape shape;
  for (int64_t d = 0; d < x.rank(); ++d) {
    if (!std::binary_search(axes.begin(), axes.end(), d))
      shape.push_back(x.shape()[static_cast<size_t>(d)]);
    else if (attributes.get_int("keepdims", 1) != 0)
      shape.push_back(1);
  }
  expect_shape(y, shape);
  visit_number(
      x.dtype(),
      [&](auto type) {
        using T = typename decltype(type)::type;
        for_each_group<T>(x, axes, y.count(), [&](int64_t o, const T* v, int64_t n) {
          data<T>(y)[o] = cast_value<T>(body(v, n));
        });
      },
      with_bool);
}

template <typename T>
T sum(const T* v, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    return sum_lanes(v, n);
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::accumulate(v, v + n, T{0});
  } else {
    uint64_t total = 0;
    for (int64_t i = 0; i < n; ++i) total += static_cast<uint64_t>(v[i]);
    return static_cast<T>(total);
  }
}

template <typename T>
T sum_squares(const T* v, int64_t n) {
  if constexpr (std::is_same_v<T, float>) {
    return sum_squares_lanes(v, n, 0.0f);
  } else if constexpr (std::is_floating_point_v<T>) {
    T total = 0;
    for (int64_t i = 0; i < n; ++i) total += v[i] * v[i];
    return total;
  } else {
    uint64_t total = 0;
    for (int64_t i = 0; i < n; ++i) total += static_cast<uint64_t>(v[i]) * static_cast<uint64_t>(v[i]);
    return static_cast<T>(total);
  }
}

template <typename T>
T divide_by_count(T total, int64_t n) {
  if constexpr (std::is_floating_point_v<T>)
    return total / static_cast<T>(n);
  else if constexpr (std::is_signed_v<T>)
    return n > 0 ? static_cast<T>(int64_t{total} / n) : T{0};
  else
    return n > 0 ? static_cast<T>(uint64_t{total} / static_cast<uint64_t>(n)) : T{0};
}

template <bool largest, typename T>
T extreme(const T* v, int64_t n) {
  using Limits = std::numeric_limits<T>;
  constexpr int64_t kLanes = 16;
  T lanes[kLanes];
  std::fill_n(lanes, kLanes,
              largest ? (Limits::has_infinity ? -Limits::infinity() : Limits::lowest())
                      : (Limits::has_infinity ? Limits::infinity() : Limits::max()));
  const auto take = [](T& best, T x) {
    const bool better = (largest ? x > best : x < best) | is_nan(x);
    best = better ? x : best;
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) take(lanes[k], v[i + k]);
  for (; i < n; ++i) take(lanes[0], v[i]);
  for (int64_t k = 1; k < kLanes; ++k) take(lanes[0], lanes[k]);
  return lanes[0];
}

template <typename T>
double log_of(T v) {
  if constexpr (std::is_same_v<T, double>)
    return std::log(v);
  else
    return log_exact(static_cast<double>(v));
}

}  // namespace

void run_reduce_sum(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, [](const auto* v, int64_t n) { return sum(v, n); });
}

void run_reduce_mean(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, [](const auto* v, int64_t n) { return divide_by_count(sum(v, n), n); });
}

void run_reduce_sum_square(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, [](const auto* v, int64_t n) { return sum_squares(v, n); });
}

void run_reduce_l2(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, []<typename T>(const T* v, int64_t n) {
    if constexpr (std::is_floating_point_v<T>)
      return std::sqrt(sum_squares(v, n));
    else
      return cast_value<T>(std::sqrt(static_cast<double>(sum_squares(v, n))));
  });
}

void run_reduce_l1(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, []<typename T>(const T* v, int64_t n) {
    std::vector<T> magnitudes(static_cast<size_t>(n));
    std::transform(v, v + n, magnitudes.begin(), magnitude<T>);
    return sum(magnitudes.data(), n);
  });
}

void run_reduce_log_sum(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, [](const auto* v, int64_t n) { return log_of(sum(v, n)); });
}

void run_reduce_log_sum_exp(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, []<typename T>(const T* v, int64_t n) -> double {
    const double shift = static_cast<double>(extreme<true>(v, n));
    if (!(std::fabs(shift) < std::numeric_limits<double>::infinity())) return shift;
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total += exp_exact(static_cast<double>(v[i]) - shift);
    return shift + log_of(total);
  });
}

void run_reduce_prod(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  reduce(attributes, inputs, outputs, []<typename T>(const T* v, int64_t n) {
    std::conditional_t<std::is_floating_point_v<T>, T, uint64_t> total = 1;
    for (int64_t i = 0; i < n; ++i) total *= static_cast<decltype(total)>(v[i]);
    return total;
  });
}

void run_reduce_max(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const bool is_bool = has(inputs, 0) && inputs[0].dtype() == DType::kBool;
  reduce(
      attributes, inputs, outputs,
      [=](const auto* v, int64_t n) { return is_bool && n == 0 ? 0 : extreme<true>(v, n); }, true);
}

void run_reduce_min(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const bool is_bool = has(inputs, 0) && inputs[0].dtype() == DType::kBool;
  reduce(
      attributes, inputs, outputs,
      [=]<typename T>(const T* v, int64_t n) { return is_bool && n == 0 ? T{1} : extreme<false>(v, n); },
      true);
}

namespace {

// What ArgMax and ArgMin work on, checked: `count` results, `inner` of them side by side, of `size` each.
struct ArgWalk {
  int64_t size = 0, inner = 0, count = 0;
  bool last = false;  // of equal ones
};

ArgWalk arg_walk(const Attributes& attributes, Inputs inputs, std::span<const Tensor> outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor &x = inputs[0], &y = outputs[0];
  expect_dtype(y, DType::kInt64);
  const int64_t axis = normalize_axis(attributes.get_int("axis", 0), x.rank());
  Shape shape = x.shape();
  if (attributes.get_int("keepdims", 1) != 0)
    shape[static_cast<size_t>(axis)] = 1;
  else
    shape.erase(shape.begin() + axis);
  expect_shape(y, shape);
  ArgWalk walk;
  walk.size = x.shape()[static_cast<size_t>(axis)];
  walk.inner = product(x.shape(), axis + 1, x.rank());
  walk.count = y.count();
  walk.last = attributes.get_int("select_last_index", 0) != 0;
  expect(walk.size > 0 || walk.count == 0, "an empty axis has no extreme");
  expect(walk.size <= std::numeric_limits<int32_t>::max(), "the axis is too long");
  return walk;
}

// Results [begin, end), as many as stand side by side at a time.
template <bool largest, bool last, typename T>
void arg_extremes(const ArgWalk& walk, const T* x, int64_t* y, int64_t begin, int64_t end) {
  constexpr int64_t kRow = 512;
  T best[kRow];
  int32_t index[kRow];
  for (int64_t o = begin; o < end;) {
    const int64_t i = o % walk.inner, count = std::min({walk.inner - i, end - o, kRow});
    const T* v = x + o / walk.inner * walk.size * walk.inner + i;
    std::copy_n(v, count, best);
    std::fill_n(index, count, 0);
    for (int32_t a = 1; a < walk.size; ++a) {
      v += walk.inner;
      for (int64_t k = 0; k < count; ++k) {
        const bool better = last ? (largest ? v[k] >= best[k] : v[k] <= best[k])
                                 : (largest ? v[k] > best[k] : v[k] < best[k]);
        best[k] = better ? v[k] : best[k];
        index[k] = better ? a : index[k];
      }
    }
    std::copy_n(index, count, y + o);
    o += count;
  }
}

template <bool largest>
void arg_extremes(const ArgWalk& walk, Inputs inputs, Outputs outputs, int64_t begin, int64_t end) {
  visit_number(inputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run = walk.last ? arg_extremes<largest, true, T> : arg_extremes<largest, false, T>;
    run(walk, data<T>(inputs[0]), data<int64_t>(outputs[0]), begin, end);
  });
}

template <bool largest>
void arg_extremes(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const ArgWalk walk = arg_walk(attributes, inputs, outputs);
  arg_extremes<largest>(walk, inputs, outputs, 0, walk.count);
}

template <bool largest>
void arg_extreme_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                       int64_t end) {
  const ArgWalk walk = arg_walk(attributes, inputs, outputs);
  const int64_t parts = arg_max_parts(attributes, inputs, outputs);
  arg_extremes<largest>(walk, inputs, outputs, part_begin(walk.count, begin, parts),
                        part_begin(walk.count, end, parts));
}

}  // namespace

void run_arg_max(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  arg_extremes<true>(attributes, inputs, outputs);
}

void run_arg_min(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  arg_extremes<false>(attributes, inputs, outputs);
}

int64_t arg_max_parts(const Attributes& /*attributes*/, Inputs inputs, std::span<const Tensor> outputs) {
  return suitable_parts(inputs[0].count(), outputs[0].count());
}

void run_arg_max_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                       int64_t end) {
  arg_extreme_parts<true>(attributes, inputs, outputs, begin, end);
}

int64_t arg_min_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> outputs) {
  return arg_max_parts(attributes, inputs, outputs);
}

void run_arg_min_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                       int64_t end) {
  arg_extreme_parts<false>(attributes, inputs, outputs, begin, end);
}

namespace {

template <bool product_of>
void cumulate(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  expect_shape(y, x.shape());
  expect(inputs[1].count() == 1, "axis must have one element");
  const int64_t axis = normalize_axis(to_int64(inputs[1])[0], x.rank());
  const bool exclusive = attributes.get_int("exclusive", 0) != 0,
             reverse = attributes.get_int("reverse", 0) != 0;
  const int64_t outer = product(x.shape(), 0, axis), n = x.shape()[static_cast<size_t>(axis)];
  const int64_t inner = product(x.shape(), axis + 1, x.rank());
  visit_number(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    using Sum = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i) {
        Sum total = product_of ? 1 : 0;
        for (int64_t j = 0; j < n; ++j) {
          const int64_t at = (o * n + (reverse ? n - 1 - j : j)) * inner + i;
          const Sum value = cast_value<Sum>(data<T>(x)[at]);
          const Sum next = product_of ? total * value : total + value;
          data<T>(y)[at] = static_cast<T>(exclusive ? total : next);
          total = next;
        }
      }
  });
}

}  // namespace

void run_cum_sum(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  cumulate<false>(attributes, inputs, outputs);
}

void run_cum_prod(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  cumulate<true>(attributes, inputs, outputs);
}

}  // namespace octet::kernels::generic
