// What the operators' definitions share: broadcasting, axes, changes from old opsets.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "ops/op_def.h"

namespace octet {

// ONNX's TensorProto.DataType, which attributes such as Cast's `to` hold.
std::optional<DType> dtype_from_onnx(int64_t code);
int64_t dtype_to_onnx(DType dtype);
bool is_integer(DType dtype);  // not bool

// `axis` in [-rank, rank) as one in [0, rank); throws for any other.
size_t normal_axis(const InferContext& context, int64_t axis, size_t rank);
// The same for a list, sorted; throws for duplicates.
std::vector<size_t> normal_axes(const InferContext& context, const std::vector<int64_t>& axes, size_t rank);

// The dimension that `a` and `b` broadcast to.
Dim broadcast(const InferContext& context, const Dim& a, const Dim& b);
Dims broadcast(const InferContext& context, const Dims& a, const Dims& b);

// Throws unless inputs a and b have one dtype.
void require_same_dtype(const InferContext& context, size_t a, size_t b);
void require_float(const InferContext& context, size_t i);
void require_rank(const InferContext& context, size_t i, size_t rank);

// The shape of the matrix product of inputs `first` and `second`.
Dims matmul_shape(const InferContext& context, size_t first, size_t second);

Dim product(std::span<const Dim> dims);
// numerator / denominator for a division that is known to leave no remainder; common factors cancel.
Dim exact_quotient(std::span<const Dim> numerator, std::span<const Dim> denominator);
// The network is only valid where the two shapes have as many elements; sizes count as equal where nothing
// else can make it so.
void require_same_count(const InferContext& context, std::span<const Dim> a, std::span<const Dim> b);
Dim ceil_div(const Dim& a, const Dim& b);
// Whether two integers are equal, where that is certain.
std::optional<bool> equal(const Dim& a, const Dim& b);

// The integers of input i when all are known numbers.
std::optional<std::vector<int64_t>> known_integers(const InferContext& context, size_t i);

// A list attribute with one entry per spatial dimension.
std::vector<int64_t> spatial_attribute(const InferContext& context, std::string_view name, size_t count,
                                       int64_t fallback);

// Output 0, whose shape input 1 holds and only the data decide: of its length, at least `rank`.
void infer_from_data(InferContext& context, size_t rank);
// Output 0 is like input 0.
void infer_like_first(InferContext& context);
// Output 0 is what all inputs, of one dtype, broadcast to.
void infer_broadcast(InferContext& context);

// For upgrade().
[[noreturn]] void fail_node(const Graph& graph, NodeId node, std::string_view what);
ValueId add_ints(Graph& graph, std::string_view name, const std::vector<int64_t>& values);
// Sets input `index`, extending the list with absent inputs.
void put_input(Graph& graph, NodeId node, size_t index, ValueId value);
// The integer list attribute `name`, where present, becomes a constant at input `index`.
void attribute_to_input(Graph& graph, NodeId node, std::string_view name, size_t index);
void drop_attribute(Graph& graph, NodeId node, std::string_view name);
// Output `index` goes, with an error when anything reads it.
void drop_output(Graph& graph, NodeId node, size_t index, std::string_view what);
// Outputs from `first` on that nothing reads become absent.
void drop_unused_outputs(Graph& graph, NodeId node, size_t first);
bool has_input(const Node& node, size_t index);

}  // namespace octet
