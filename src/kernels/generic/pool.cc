// Pooling of any rank. The output's shape decides about ceil_mode; what lies outside of the padded input is
// not part of a window.
#include <cmath>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/window.h"

namespace octet::kernels::generic {
namespace {

void expect_pool(const Tensor& x, const Tensor& y) {
  expect_dtype(y, x.dtype());
  expect(x.rank() >= 3 && y.rank() == x.rank(), "input and output must have the same rank, at least 3");
  expect(x.shape()[0] == y.shape()[0] && x.shape()[1] == y.shape()[1],
         "input and output differ in batch or channels");
}

// For every output element: body(output offset, input plane offset, input indices inside the window, number
// of taps within the padded input).
template <typename Body>
void for_each_window(const Window& window, const Tensor& x, const Tensor& y, Body body) {
  const Shape in = spatial(x), out = spatial(y), strides = row_major_strides(in);
  const size_t rank = in.size();
  const int64_t in_size = product(in, 0, static_cast<int64_t>(rank));
  if (y.count() == 0) return;
  std::vector<int64_t> inside;
  Shape at(rank, 0), first(rank), last(rank), tap(rank);
  const int64_t planes = x.shape()[0] * x.shape()[1];
  int64_t offset = 0;
  for (int64_t p = 0; p < planes; ++p) {
    std::fill(at.begin(), at.end(), 0);
    for (bool more = true; more; ++offset) {
      int64_t padded = 1;
      bool empty = false;
      for (size_t d = 0; d < rank; ++d) {
        const int64_t start = at[d] * window.strides[d] - window.pads_begin[d], step = window.dilations[d];
        const auto taps_below = [&](int64_t limit) {  // taps at indices smaller than `limit`
          return std::clamp<int64_t>(limit <= start ? 0 : ceil_div(limit - start, step), 0, window.kernel[d]);
        };
        first[d] = taps_below(0);
        last[d] = taps_below(in[d]);
        padded = checked_mul(padded, taps_below(in[d] + window.pads_end[d]));
        empty |= first[d] >= last[d];
      }
      inside.clear();
      if (!empty) {
        tap = first;
        for (bool taps = true; taps;) {
          int64_t index = 0;
          for (size_t d = 0; d < rank; ++d)
            index += (at[d] * window.strides[d] - window.pads_begin[d] + tap[d] * window.dilations[d]) *
                     strides[d];
          inside.push_back(index);
          taps = false;
          for (size_t d = rank; d-- > 0;) {
            if (++tap[d] < last[d]) {
              taps = true;
              break;
            }
            tap[d] = first[d];
          }
        }
      }
      body(offset, p * in_size, inside, padded);
      more = false;
      for (size_t d = rank; d-- > 0;) {
        if (++at[d] < out[d]) {
          more = true;
          break;
        }
        at[d] = 0;
      }
    }
  }
}

// Offset of `index` of a plane when the axes are counted in reverse order (storage_order = 1).
int64_t column_major(int64_t index, const Shape& shape) {
  int64_t result = 0, stride = 1;
  Shape at(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    at[d] = index % shape[d];
    index /= shape[d];
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    result += at[d] * stride;
    stride *= shape[d];
  }
  return result;
}

Window whole(const Shape& shape) {
  return {shape, Shape(shape.size(), 1), Shape(shape.size(), 1), Shape(shape.size(), 0),
          Shape(shape.size(), 0)};
}

void max_pool(const Window& window, const Tensor& x, Tensor& y, Tensor* indices, bool columns) {
  const Shape in = spatial(x);
  visit_number(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T lowest =
        std::is_floating_point_v<T> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
    const T* source = data<T>(x);
    T* target = data<T>(y);
    for_each_window(window, x, y, [&](int64_t o, int64_t plane, const std::vector<int64_t>& inside, int64_t) {
      T best = lowest;
      int64_t where = inside.empty() ? 0 : inside[0];
      for (int64_t i : inside)
        if (const T v = source[plane + i]; v > best || is_nan(v)) {
          best = v;
          where = i;
        }
      target[o] = best;
      if (indices != nullptr)
        data<int64_t>(*indices)[o] = plane + (columns ? column_major(where, in) : where);
    });
  });
}

void average_pool(const Window& window, const Tensor& x, Tensor& y, bool include_pad) {
  visit_float(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* source = data<T>(x);
    T* target = data<T>(y);
    for_each_window(window, x, y,
                    [&](int64_t o, int64_t plane, const std::vector<int64_t>& inside, int64_t padded) {
                      T sum = 0;
                      for (int64_t i : inside) sum += source[plane + i];
                      const int64_t count = include_pad ? padded : static_cast<int64_t>(inside.size());
                      target[o] = count > 0 ? sum / static_cast<T>(count) : T{0};
                    });
  });
}

// (sum of |x|^p)^(1/p)
void lp_pool(const Window& window, const Tensor& x, Tensor& y, int64_t p) {
  expect(p >= 1, "p must be at least 1");
  const auto exponent = static_cast<double>(p);
  visit_float(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* source = data<T>(x);
    for_each_window(window, x, y, [&](int64_t o, int64_t plane, const std::vector<int64_t>& inside, int64_t) {
      double sum = 0;
      for (int64_t i : inside) {
        const double v = std::fabs(static_cast<double>(source[plane + i]));
        sum += p == 1 ? v : p == 2 ? v * v : pow_exact(v, exponent);
      }
      data<T>(y)[o] = static_cast<T>(p == 1 ? sum : p == 2 ? std::sqrt(sum) : pow_exact(sum, 1 / exponent));
    });
  });
}

}  // namespace

void run_max_pool(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs, 1, 2);
  const Tensor& x = inputs[0];
  Tensor* indices = outputs.size() > 1 && outputs[1].count() >= 0 ? &outputs[1] : nullptr;
  expect_pool(x, outputs[0]);
  if (indices != nullptr) {
    expect_dtype(*indices, DType::kInt64);
    expect_shape(*indices, outputs[0].shape());
  }
  const Shape kernel = attributes.get_ints("kernel_shape");
  expect(kernel.size() + 2 == x.shape().size(), "kernel_shape must have one entry per spatial axis");
  max_pool(read_window(attributes, kernel, spatial(x), spatial(outputs[0])), x, outputs[0], indices,
           attributes.get_int("storage_order", 0) != 0);
}

void run_average_pool(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  expect_pool(x, outputs[0]);
  const Shape kernel = attributes.get_ints("kernel_shape");
  expect(kernel.size() + 2 == x.shape().size(), "kernel_shape must have one entry per spatial axis");
  average_pool(read_window(attributes, kernel, spatial(x), spatial(outputs[0])), x, outputs[0],
               attributes.get_int("count_include_pad", 0) != 0);
}

void run_lp_pool(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  expect_pool(x, outputs[0]);
  const Shape kernel = attributes.get_ints("kernel_shape");
  expect(kernel.size() + 2 == x.shape().size(), "kernel_shape must have one entry per spatial axis");
  lp_pool(read_window(attributes, kernel, spatial(x), spatial(outputs[0])), x, outputs[0],
          attributes.get_int("p", 2));
}

void run_global_lp_pool(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  expect_pool(inputs[0], outputs[0]);
  for (int64_t d : spatial(outputs[0])) expect(d == 1, "the output must have one element per plane");
  lp_pool(whole(spatial(inputs[0])), inputs[0], outputs[0], attributes.get_int("p", 2));
}

void run_global_average_pool(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_pool(x, y);
  for (int64_t d : spatial(y)) expect(d == 1, "the output must have one element per plane");
  if (x.dtype() != DType::kFloat32) return average_pool(whole(spatial(x)), x, y, false);
  const int64_t size = product(x.shape(), 2, x.rank());
  for (int64_t p = 0; p < y.count(); ++p)
    data<float>(y)[p] = sum_lanes(data<float>(x) + p * size, size) / static_cast<float>(size);
}

void run_global_max_pool(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  expect_pool(inputs[0], outputs[0]);
  for (int64_t d : spatial(outputs[0])) expect(d == 1, "the output must have one element per plane");
  Attributes all;
  std::vector<int64_t> axes(static_cast<size_t>(inputs[0].rank()) - 2);
  std::iota(axes.begin(), axes.end(), 2);
  all.set("axes", std::move(axes));
  run_reduce_max(all, inputs, outputs);
}

}  // namespace octet::kernels::generic
