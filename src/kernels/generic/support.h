// What the generic operators share: checks of inputs, dispatch on the element type, broadcasting, strided
// copies. Every function here throws Error for sizes that contradict the operator, so that no operator
// touches memory outside of its tensors.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tensor/attributes.h"
#include "tensor/tensor.h"

namespace octet::kernels::generic {

using Inputs = std::span<const Tensor>;
using Outputs = std::span<Tensor>;

[[noreturn]] void unsupported_dtype(DType dtype);

void expect_arity(Inputs inputs, size_t min_inputs, size_t max_inputs, std::span<const Tensor> outputs,
                  size_t min_outputs = 1, size_t max_outputs = 1);
inline bool has(Inputs inputs, size_t i) {
  return i < inputs.size() && inputs[i].count() >= 0;
}
const Tensor& input(Inputs inputs, size_t i);  // must be present
void expect_shape(const Tensor& tensor, const Shape& shape);
void expect_dtype(const Tensor& tensor, DType dtype);
[[noreturn]] void refuse(std::string_view what);
inline void expect(bool condition, std::string_view what) {
  if (!condition) refuse(what);
}

int64_t normalize_axis(int64_t axis, int64_t rank);
// Sorted, distinct and within [0, rank).
std::vector<int64_t> normalize_axes(std::vector<int64_t> axes, int64_t rank);
Shape row_major_strides(const Shape& shape);
// Product of dims [begin, end).
int64_t product(const Shape& shape, int64_t begin, int64_t end);

// Elements without the check of Tensor::as, so that bool can be read as bytes.
template <typename T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.raw());
}
template <typename T>
T* data(Tensor& tensor) {
  return static_cast<T*>(tensor.raw());
}

template <typename T>
bool is_nan(T v) {
  if constexpr (std::is_floating_point_v<T>)
    return std::isnan(v);
  else
    return false;
}

// Through int64, wrapping into narrower integers as processors do; NaN gives 0.
template <typename To, typename From>
To cast_value(From v) {
  if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (is_nan(v)) return 0;
    if constexpr (std::is_same_v<To, uint64_t>)
      if (v >= static_cast<From>(0x1p63))
        return v >= static_cast<From>(0x1p64) ? ~uint64_t{0} : static_cast<uint64_t>(v);
    if (v >= static_cast<From>(0x1p63)) return static_cast<To>(INT64_MAX);
    if (v < static_cast<From>(-0x1p63)) return static_cast<To>(INT64_MIN);
    return static_cast<To>(static_cast<int64_t>(v));
  } else {
    return static_cast<To>(v);
  }
}

// |v|; the lowest integer, which has no positive counterpart, stays as it is.
template <typename T>
T magnitude(T v) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fabs(v);
  else
    return v < T{0} ? static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(v))
                    : v;
}

template <typename T>
struct Type {
  using type = T;
};

// body(Type<T>{}) for the C++ type of `dtype`; bool is visited as uint8_t when `with_bool`.
template <typename Body>
void visit_number(DType dtype, Body&& body, bool with_bool = false) {
  switch (dtype) {
    case DType::kFloat32:
      return body(Type<float>{});
    case DType::kFloat64:
      return body(Type<double>{});
    case DType::kInt8:
      return body(Type<int8_t>{});
    case DType::kUInt8:
      return body(Type<uint8_t>{});
    case DType::kInt16:
      return body(Type<int16_t>{});
    case DType::kUInt16:
      return body(Type<uint16_t>{});
    case DType::kInt32:
      return body(Type<int32_t>{});
    case DType::kUInt32:
      return body(Type<uint32_t>{});
    case DType::kInt64:
      return body(Type<int64_t>{});
    case DType::kUInt64:
      return body(Type<uint64_t>{});
    case DType::kBool:
      if (with_bool) return body(Type<uint8_t>{});
      break;
    default:
      break;
  }
  unsupported_dtype(dtype);
}

template <typename Body>
void visit_float(DType dtype, Body&& body) {
  if (dtype == DType::kFloat32) return body(Type<float>{});
  if (dtype == DType::kFloat64) return body(Type<double>{});
  unsupported_dtype(dtype);
}

// An unsigned integer of the element's size, for operators that only move elements.
template <typename Body>
void visit_size(DType dtype, Body&& body) {
  switch (dtype_bits(dtype)) {
    case 8:
      return body(Type<uint8_t>{});
    case 16:
      return body(Type<uint16_t>{});
    case 32:
      return body(Type<uint32_t>{});
    case 64:
      return body(Type<uint64_t>{});
    default:
      unsupported_dtype(dtype);
  }
}

inline constexpr size_t kMaxBroadcast = 3;

// How up to three inputs walk along the rows of the output; adjacent dimensions are merged where all agree.
struct BroadcastPlan {
  Shape dims;                                // at least one; the last is the row
  std::array<Shape, kMaxBroadcast> strides;  // elements, per input; 0 where it is repeated
};

Shape broadcast_shape(std::span<const Tensor* const> tensors);
// Throws Error unless every input broadcasts to `shape`.
BroadcastPlan plan_broadcast(const Shape& shape, std::span<const Tensor* const> tensors);

// body(output offset, input offsets, row length, input steps) for every row.
template <typename Body>
void for_each_row(const BroadcastPlan& plan, Body&& body) {
  const size_t outer = plan.dims.size() - 1;
  const int64_t length = plan.dims[outer];
  for (int64_t d : plan.dims)
    if (d == 0) return;
  std::array<int64_t, kMaxBroadcast> offset{}, step{};
  for (size_t k = 0; k < kMaxBroadcast; ++k) step[k] = plan.strides[k].empty() ? 0 : plan.strides[k][outer];
  Shape index(outer, 0);
  for (int64_t out = 0;; out += length) {
    body(out, offset, length, step);
    size_t d = outer;
    for (; d-- > 0;) {
      for (size_t k = 0; k < kMaxBroadcast; ++k)
        if (!plan.strides[k].empty()) offset[k] += plan.strides[k][d];
      if (++index[d] < plan.dims[d]) break;
      for (size_t k = 0; k < kMaxBroadcast; ++k)
        if (!plan.strides[k].empty()) offset[k] -= plan.strides[k][d] * plan.dims[d];
      index[d] = 0;
    }
    if (d == static_cast<size_t>(-1)) return;
  }
}

// out = f(a, b) with broadcasting to the shape of `out`.
template <typename A, typename B, typename R, typename F>
void broadcast_binary(const Tensor& a, const Tensor& b, Tensor& out, F f) {
  const std::array<const Tensor*, 2> tensors{&a, &b};
  const A* pa = data<A>(a);
  const B* pb = data<B>(b);
  R* pr = data<R>(out);
  for_each_row(plan_broadcast(out.shape(), tensors),
               [&](int64_t o, const auto& at, int64_t n, const auto& step) {
                 const A* x = pa + at[0];
                 const B* y = pb + at[1];
                 R* r = pr + o;
                 if (step[0] == 1 && step[1] == 1) {
                   for (int64_t i = 0; i < n; ++i) r[i] = f(x[i], y[i]);
                 } else if (step[0] == 1) {
                   const B c = *y;
                   for (int64_t i = 0; i < n; ++i) r[i] = f(x[i], c);
                 } else if (step[1] == 1) {
                   const A c = *x;
                   for (int64_t i = 0; i < n; ++i) r[i] = f(c, y[i]);
                 } else {
                   const R c = f(*x, *y);
                   for (int64_t i = 0; i < n; ++i) r[i] = c;
                 }
               });
}

// Copies dims[0] x dims[1] x ... elements between two strided arrays (strides in elements, may be 0 or
// negative in the source). The caller has checked that every address lies inside.
void copy_strided(DType dtype, Shape dims, const void* source, Shape source_strides, void* target,
                  Shape target_strides);

// Sum in the fixed order of the contract: 16 partial sums, lane i takes elements i, i + 16, ...; then a tree
// of halves.
float sum_lanes(const float* values, int64_t count) noexcept;
// The same for the sum of squares of (values - shift).
float sum_squares_lanes(const float* values, int64_t count, float shift) noexcept;

// 4-bit elements as bytes (int8 or uint8), and back.
Tensor unpack_4bit(const Tensor& packed);
void pack_4bit(const Tensor& bytes, Tensor& packed);

}  // namespace octet::kernels::generic
