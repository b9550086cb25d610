#include "engine/steps/matrices.h"

#include <algorithm>

#include "base/checked.h"

namespace octet::engine {
namespace {

// A permutation of [0, rank), or the identity.
std::vector<int64_t> permutation(const StepSetup& setup, size_t rank, std::string_view name) {
  std::vector<int64_t> perm;
  if (!setup.attributes().has(name)) {
    for (size_t i = 0; i < rank; ++i) perm.push_back(static_cast<int64_t>(i));
    return perm;
  }
  perm = setup.int_list(name, rank, 0, static_cast<int64_t>(rank) - 1);
  std::vector<bool> seen(rank, false);
  for (int64_t p : perm) {
    setup.expect(!seen[static_cast<size_t>(p)], "a permutation names a dimension twice");
    seen[static_cast<size_t>(p)] = true;
  }
  return perm;
}

void expect_matrices(const StepSetup& setup, const Operand& operand) {
  setup.expect(!operand.nhwc() && operand.shape.size() >= 2, "an operand is not a plain tensor of matrices");
}

}  // namespace

Strided dense(const Shape& shape) {
  Strided s{shape, std::vector<int64_t>(shape.size(), 1)};
  for (size_t i = shape.size(); i-- > 1;) s.strides[i - 1] = checked_mul(s.strides[i], shape[i]);
  return s;
}

Strided permuted(const StepSetup& setup, const Operand& operand, std::string_view name) {
  expect_matrices(setup, operand);
  const Strided whole = dense(operand.shape);
  Strided s;
  for (int64_t p : permutation(setup, operand.shape.size(), name)) {
    s.shape.push_back(whole.shape[static_cast<size_t>(p)]);
    s.strides.push_back(whole.strides[static_cast<size_t>(p)]);
  }
  return s;
}

Strided permuted_result(const StepSetup& setup, const Operand& operand, std::string_view name) {
  expect_matrices(setup, operand);
  const std::vector<int64_t> strides = dense(operand.shape).strides,
                             perm = permutation(setup, operand.shape.size(), name);
  Strided s{Shape(perm.size()), std::vector<int64_t>(perm.size())};
  for (size_t i = 0; i < perm.size(); ++i) {
    s.shape[static_cast<size_t>(perm[i])] = operand.shape[i];
    s.strides[static_cast<size_t>(perm[i])] = strides[i];
  }
  return s;
}

int64_t Batches::count() const {
  return checked_product(shape_);
}

std::vector<int64_t> Batches::strides_of(const StepSetup& setup, const Strided& operand, size_t kept) const {
  std::vector<int64_t> strides(shape_.size(), 0);
  setup.expect(operand.shape.size() >= kept && operand.shape.size() - kept <= shape_.size(),
               "an operand has more dimensions than the result");
  const size_t own = operand.shape.size() - kept, skip = shape_.size() - own;
  for (size_t i = 0; i < own; ++i) {
    if (operand.shape[i] == 1) continue;
    setup.expect(operand.shape[i] == shape_[skip + i], "an operand does not broadcast to the result");
    strides[skip + i] = operand.strides[i];
  }
  return strides;
}

int64_t Batches::offset(const std::vector<int64_t>& strides, int64_t index) const {
  int64_t at = 0;
  for (size_t i = shape_.size(); i-- > 0;) {
    at += index % shape_[i] * strides[i];
    index /= shape_[i];
  }
  return at;
}

ScalarQuant scalar_quant(const StepSetup& setup, const Operand& operand) {
  setup.expect_dtype(operand, DType::kUInt8);
  const QuantParams& q = operand.def->quant;
  setup.expect(
      q.scale.size() == 1 && q.zero_point.size() == 1 && q.zero_point[0] >= 0 && q.zero_point[0] <= 255,
      "an operand is not quantized with one scale");
  return {q.scale[0], q.zero_point[0]};
}

kernels::MatMulOutput matmul_output(const StepSetup& setup, const Operand& y, const Strided& layout,
                                    double real_scale) {
  kernels::MatMulOutput out;
  out.is_float = y.def->dtype == DType::kFloat32;
  if (!out.is_float) {
    const ScalarQuant q = scalar_quant(setup, y);
    real_scale /= q.scale;
    out.bias = static_cast<float>(q.zero);
  }
  out.scale = static_cast<float>(real_scale);
  out.row_stride = layout.row_stride();
  out.column_stride = layout.column_stride();
  return out;
}

}  // namespace octet::engine
