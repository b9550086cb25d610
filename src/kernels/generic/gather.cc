// Operators that pick elements by index.
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

std::vector<int64_t> checked_indices(const Tensor& indices, int64_t size) {
  if (indices.dtype() != DType::kInt64 && indices.dtype() != DType::kInt32)
    unsupported_dtype(indices.dtype());
  std::vector<int64_t> result = to_int64(indices);
  for (int64_t& i : result) {
    if (i < -size || i >= size) fail(ErrorCode::kInvalidArgument, "index {} of an axis of size {}", i, size);
    if (i < 0) i += size;
  }
  return result;
}

}  // namespace

void run_gather(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor &x = inputs[0], &indices = inputs[1];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  const int64_t axis = normalize_axis(attributes.get_int("axis", 0), x.rank());
  Shape shape(x.shape().begin(), x.shape().begin() + axis);
  shape.insert(shape.end(), indices.shape().begin(), indices.shape().end());
  shape.insert(shape.end(), x.shape().begin() + axis + 1, x.shape().end());
  expect_shape(y, shape);
  const int64_t size = x.shape()[static_cast<size_t>(axis)];
  const std::vector<int64_t> index = checked_indices(indices, size);
  const int64_t outer = product(x.shape(), 0, axis), inner = product(x.shape(), axis + 1, x.rank());
  if (y.count() == 0) return;
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    T* out = data<T>(y);
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i : index) out = std::copy_n(data<T>(x) + (o * size + i) * inner, inner, out);
  });
}

void run_gather_elements(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor &x = inputs[0], &indices = inputs[1];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  expect_shape(y, indices.shape());
  expect(indices.rank() == x.rank(), "indices must have the rank of the data");
  const auto axis = static_cast<size_t>(normalize_axis(attributes.get_int("axis", 0), x.rank()));
  for (size_t d = 0; d < x.shape().size(); ++d)
    expect(d == axis || indices.shape()[d] <= x.shape()[d], "indices exceed the data");
  const std::vector<int64_t> index = checked_indices(indices, x.shape()[axis]);
  const Shape strides = row_major_strides(x.shape());
  Shape at(x.shape().size(), 0);
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* source = data<T>(x);
    T* out = data<T>(y);
    for (size_t i = 0; i < index.size(); ++i) {
      int64_t offset = index[i] * strides[axis];
      for (size_t d = 0; d < at.size(); ++d)
        if (d != axis) offset += at[d] * strides[d];
      out[i] = source[offset];
      for (size_t d = at.size(); d-- > 0;) {
        if (++at[d] < indices.shape()[d]) break;
        at[d] = 0;
      }
    }
  });
}

}  // namespace octet::kernels::generic
