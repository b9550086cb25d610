// Plain tensors as stacks of matrices, seen through a permutation of their dimensions: a transposition in
// front of a product or behind it is only strides.
#pragma once

#include <string_view>
#include <vector>

#include "engine/steps/step.h"
#include "kernels/matmul/matmul.h"

namespace octet::engine {

// Dimensions as an operator sees them and the elements between neighbours along each.
struct Strided {
  Shape shape;
  std::vector<int64_t> strides;

  int64_t rows() const { return shape[shape.size() - 2]; }
  int64_t columns() const { return shape.back(); }
  int64_t row_stride() const { return strides[strides.size() - 2]; }
  int64_t column_stride() const { return strides.back(); }
};

// Plain memory of this shape.
Strided dense(const Shape& shape);
// What a plain operand of rank 2 or more becomes under the permutation in attribute `perm` (ONNX's meaning:
// dimension i is the operand's dimension perm[i]); as it is without that attribute. Throws Error(kBadFile).
Strided permuted(const StepSetup& setup, const Operand& operand, std::string_view perm);
// Where the result of an operator lies whose transposition by the attribute is the operand.
Strided permuted_result(const StepSetup& setup, const Operand& operand, std::string_view perm);

// The leading dimensions (all but `kept`) of a result and where operands lie for each index of them.
class Batches {
 public:
  Batches(const Strided& result, size_t kept)
      : shape_(result.shape.begin(), result.shape.end() - static_cast<std::ptrdiff_t>(kept)) {}

  int64_t count() const;
  // Strides of an operand along the dimensions, 0 where it is repeated. Throws Error when it does not
  // broadcast.
  std::vector<int64_t> strides_of(const StepSetup& setup, const Strided& operand, size_t kept) const;
  // Elements in front of the matrices of batch `index`.
  int64_t offset(const std::vector<int64_t>& strides, int64_t index) const;

 private:
  Shape shape_;
};

// The zero-point and scale of an 8-bit operand with one of each.
struct ScalarQuant {
  double scale;
  int32_t zero;
};
ScalarQuant scalar_quant(const StepSetup& setup, const Operand& operand);

// scale and bias of a result of sums that stand for `real_scale` each, u8 or float.
kernels::MatMulOutput matmul_output(const StepSetup& setup, const Operand& y, const Strided& layout,
                                    double real_scale);

}  // namespace octet::engine
