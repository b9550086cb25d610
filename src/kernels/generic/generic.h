// Operators on plain float and integer tensors, as ONNX defines them: what an engine runs where no faster
// family exists, what constant folding calls, and the reference for the faster ones.
#pragma once

#include <span>
#include <string_view>

#include "tensor/attributes.h"
#include "tensor/tensor.h"

namespace octet::kernels {

// Inputs and outputs in the operator's order, plain layout; an absent optional input is an undefined Tensor
// (defined() is false, count() -1). Outputs arrive with dtype, shape and memory. Attributes and constant
// inputs follow the operator's newest ONNX version that Octet imports. Throws Error for what contradicts the
// specification (sizes that come from data, e.g. a Gather index out of range).
using GenericFunction = void (*)(const Attributes& attributes, std::span<const Tensor> inputs,
                                 std::span<Tensor> outputs);

// Null when there is none of that name ("Softmax", "Silu").
GenericFunction find_generic(std::string_view op);

// An operator that makes its outputs in independent parts: their number, which the shapes decide (inputs and
// outputs need no memory), and parts [begin, end). Elements have whole bytes and the alignment of their type,
// floats 32 bits.
struct GenericParts {
  int64_t (*count)(const Attributes& attributes, std::span<const Tensor> inputs,
                   std::span<const Tensor> outputs);
  void (*run)(const Attributes& attributes, std::span<const Tensor> inputs, std::span<Tensor> outputs,
              int64_t begin, int64_t end);
};

// Null where an operator, or for these tensors this operator, has no parts.
const GenericParts* find_generic_parts(std::string_view op, std::span<const Tensor> inputs,
                                       std::span<const Tensor> outputs);

// For operators whose outputs' shapes can depend on the elements of their inputs; null for the others.
// Outputs arrive with their dtype and the shape {0}, or undefined where they are absent, and are replaced by
// tensors of the shape that the data give.
GenericFunction find_maker(std::string_view op);

// Names of all, sorted.
std::span<const std::string_view> generic_names();

}  // namespace octet::kernels
