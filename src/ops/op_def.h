// What Octet knows about an operator. Import, the verifier, shape inference, quantization, lowering and the
// documentation read it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "kernels/generic/generic.h"

namespace octet {

enum class AttributeKind : uint8_t { kInt, kFloat, kString, kInts, kFloats, kStrings, kTensor };

struct AttributeDef {
  std::string_view name;
  AttributeKind kind = AttributeKind::kInt;
  bool required = false;
  int64_t low = INT64_MIN, high = INT64_MAX;   // of integers and of each entry of a list
  std::vector<std::string_view> choices = {};  // of strings; empty: any
  int since = 1, until = 1000;                 // opsets that have it; 1000: and the internal form
};

// How an operator takes part in a quantized graph.
enum class QuantRule : uint8_t {
  kFloat,       // stays in float, gets no Q/DQ
  kInteger,     // shape and index arithmetic: never touched
  kWeighted,    // Conv, Gemm, MatMul: 8-bit inputs and weights, int32 sum
  kArithmetic,  // Add, Mul: 8-bit inputs and outputs, each with its own scale
  kAverage,     // average pooling: 8-bit input and output, each with its own scale
  kSameScale,   // Concat, MaxPool, Resize, Reshape ...: moves values, inputs and outputs share one scale
  kActivation,  // an elementwise function: part of the producer's epilogue, or a table
};

// What `build` turns the operator into when it is quantized or has a fast float form; kGeneric runs
// OpDef::run.
enum class Lowering : uint8_t {
  kGeneric,
  kConv,
  kGemm,
  kMatMul,
  kAdd,
  kMul,
  kConcat,
  kMaxPool,
  kAveragePool,
  kGlobalAveragePool,
  kResize,
  kDepthToSpace,
  kActivation,
  kReshape,
  kTranspose,
  kQuantize,
  kDequantize,
  kBinary,
  kSoftmax,
};

// Shape inference of one node: reads inputs, sets outputs.
class InferContext {
 public:
  // `rules` collects pairs of dimensions that were taken to be equal: every later shape has `b` where it
  // would have `a`.
  InferContext(Graph& graph, NodeId node, std::vector<DimEquality>& rules)
      : graph_(graph), node_(node), rules_(rules) {}

  const Node& node() const { return graph_.node(node_); }
  const Attributes& attributes() const { return node().attributes; }
  size_t input_count() const { return node().inputs.size(); }
  bool has_input(size_t i) const { return i < input_count() && node().inputs[i] != kNoId; }
  DType dtype(size_t i) const;        // throws Error when absent
  const Dims& shape(size_t i) const;  // throws Error when absent or unknown
  bool has_shape(size_t i) const;
  size_t output_count() const { return node().outputs.size(); }
  bool has_output(size_t i) const { return i < output_count() && node().outputs[i] != kNoId; }
  const Tensor* constant(size_t i) const;  // null when not constant
  // Elements of a small integer tensor (rank 0 or 1), symbolic where they derive from shapes; nullopt when
  // unknown.
  std::optional<Dims> integers(size_t i) const;
  void set_output(size_t i, DType dtype, Dims shape);
  // Where the shape depends on data: it keeps what it was declared to be, or stays unknown.
  void set_output_dtype(size_t i, DType dtype);
  // Where the data may decide: a dimension that is left out is what was declared, or a symbol of its own
  // (run_symbol) whose value the operator finds when it runs. Gives the shape, or null where neither serves
  // and it stays unknown.
  const Dims* set_output_at_run(size_t i, DType dtype, const std::vector<std::optional<Dim>>& shape);
  // Elements of an integer output that derive from shapes (Shape, Gather, Concat ... of them), so that
  // Reshape and the like can read them.
  void set_integers(size_t i, Dims values);
  // From here on the two, neither of which is known, count as equal; returns the simpler one.
  Dim assume_equal(const Dim& a, const Dim& b) const;
  // The network is only valid where they are equal.
  void require_equal(const Dim& a, const Dim& b) const;
  // Throws Error that names the node.
  [[noreturn]] void fail_here(std::string_view what) const;

 private:
  Dims simplified(Dims dims) const;
  // Which of two names an input has first.
  bool name_order(const Dim& a, const Dim& b) const;

  Graph& graph_;
  NodeId node_;
  std::vector<DimEquality>& rules_;
};

// The symbol of a dimension that only the data decide, of the value of that name.
std::string run_symbol(std::string_view value, size_t axis);
// Whether a dimension mentions one.
bool decided_at_run(const Dim& dim);
// Whether an output of the node has such a dimension of its own.
bool decides_at_run(const Graph& graph, const Node& node);

struct OpDef {
  std::string_view name;
  std::string_view domain = "";
  int since = 1, until = 1000;  // opsets that import understands
  int min_inputs = 1, max_inputs = 1, min_outputs = 1, max_outputs = 1;
  int max_old_outputs = 0;  // in older opsets, which upgrade() must understand; 0: as max_outputs
  std::vector<AttributeDef> attributes = {};
  // Brings a node of an older opset to the internal (newest) form; may add nodes and constants. Null: all
  // opsets are alike.
  void (*upgrade)(Graph& graph, NodeId node, int opset) = nullptr;
  void (*infer)(InferContext& context) = nullptr;
  kernels::GenericFunction run = nullptr;  // null: removed or rewritten before anything runs
  QuantRule quant = QuantRule::kFloat;
  Lowering lowering = Lowering::kGeneric;
  // Lowest opset for export in which the internal form is valid; `export_opset` where that depends on the
  // node.
  int valid_from = 13;
  int (*export_opset)(const Graph& graph, const Node& node) = nullptr;
  // upgrade() runs after a first shape inference and may read the shapes of the node's inputs where they are
  // known.
  bool upgrade_needs_shapes = false;
  // Lowest opset of a model that import reads the operator from; below kOldestOpset where its form is that
  // old.
  int oldest = 7;
};

// Opsets of ONNX's own domain that import reads; below the oldest only operators that say so.
inline constexpr int kOldestOpset = 7, kNewestOpset = 28;
// Version of the domain ai.octet.
inline constexpr int kOctetOpset = 1;

// Null when unknown.
const OpDef* find_op(std::string_view name, std::string_view domain = "");
// Sorted by domain and name.
std::vector<const OpDef*> all_ops();

// Sets dtype and shape of every value, in topological order. Throws Error that names the first node that
// contradicts its operator.
//
// Where an operator broadcasts two sizes neither of which is known, they count as equal (a network that wants
// one of them to be 1 says so): one name replaces the other in all shapes, the inputs' among them; where an
// expression is taken to equal another, graph.equalities has the pair.
void infer_shapes(Graph& graph);

// What contradicts `def` in one node: arity and attributes. `opset` 0 means the internal form.
std::vector<std::string> check_node(const Node& node, const OpDef& def, int opset);

// The lowest opset of ONNX's own domain in which the node, in its internal form, is valid.
int export_opset(const Graph& graph, const Node& node);

// Structure, arity, attributes and types of every node against its OpDef; one Error that lists every
// violation.
void verify(const Graph& graph);

}  // namespace octet
