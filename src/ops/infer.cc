#include <algorithm>

#include "ops/op_def.h"
#include "ops/support.h"

namespace octet {
namespace {

// Longer lists of integers are data, not shapes.
constexpr int64_t kMaxIntegers = 1024;
constexpr size_t kMaxRank = 32;

// Of an input whose shape only the data decide.
class UnknownShape : public Error {
 public:
  using Error::Error;
};

std::string where(const Node& node) {
  return fmt::format("node '{}' ({})", node.name, node.op);
}

std::optional<Dims> read_integers(const Tensor& tensor) {
  if (tensor.rank() > 1 || tensor.count() > kMaxIntegers || dtype_bits(tensor.dtype()) == 4)
    return std::nullopt;
  if (is_float(tensor.dtype())) {
    Dims result;
    for (const float x : to_float(tensor)) {
      if (!(x > -1e9f && x < 1e9f) || x != static_cast<float>(static_cast<int64_t>(x))) return std::nullopt;
      result.emplace_back(static_cast<int64_t>(x));
    }
    return result;
  }
  const std::vector<int64_t> values = to_int64(tensor);
  return Dims(values.begin(), values.end());
}

// A declared shape is of use when the graph's inputs fix every symbol in it.
void collect_symbols(const Dim& dim, std::vector<std::string>& names) {
  if (dim.known()) return;
  if (dim.op() == Dim::Op::kSymbol) {
    names.push_back(dim.name());
    return;
  }
  collect_symbols(dim.left(), names);
  collect_symbols(dim.right(), names);
}

}  // namespace

DType InferContext::dtype(size_t i) const {
  if (!has_input(i)) fail_here(fmt::format("input {} is missing", i));
  const Value& value = graph_.value(node().inputs[i]);
  if (!value.dtype)
    throw UnknownShape(ErrorCode::kUnsupported,
                       fmt::format("{}: the element type of '{}' is not known", where(node()), value.name));
  return *value.dtype;
}

bool InferContext::has_shape(size_t i) const {
  return has_input(i) && graph_.value(node().inputs[i]).shape.has_value();
}

const Dims& InferContext::shape(size_t i) const {
  if (!has_input(i)) fail_here(fmt::format("input {} is missing", i));
  const Value& value = graph_.value(node().inputs[i]);
  if (!value.shape)
    throw UnknownShape(ErrorCode::kUnsupported,
                       fmt::format("{}: the shape of '{}' is not known", where(node()), value.name));
  return *value.shape;
}

const Tensor* InferContext::constant(size_t i) const {
  if (!has_input(i)) return nullptr;
  const Value& value = graph_.value(node().inputs[i]);
  return value.constant ? &*value.constant : nullptr;
}

std::optional<Dims> InferContext::integers(size_t i) const {
  if (!has_input(i)) return std::nullopt;
  const Value& value = graph_.value(node().inputs[i]);
  return value.constant ? read_integers(*value.constant) : value.integers;
}

Dims InferContext::simplified(Dims dims) const {
  for (Dim& dim : dims)
    for (const DimEquality& rule : rules_) dim = replace(dim, rule.a, rule.b);
  return dims;
}

Dim InferContext::assume_equal(const Dim& a, const Dim& b) const {
  if (decided_at_run(a) || decided_at_run(b)) return max(a, b);
  const Dims pair = simplified({a, b});
  if (pair[0] == pair[1]) return pair[0];
  const bool first = complexity(pair[0]) < complexity(pair[1]) ||
                     (complexity(pair[0]) == complexity(pair[1]) && name_order(pair[0], pair[1]));
  const Dim &kept = pair[first ? 0 : 1], &gone = pair[first ? 1 : 0];
  for (DimEquality& rule : rules_) rule.b = replace(rule.b, gone, kept);
  rules_.push_back({gone, kept, node().name});
  return kept;
}

void InferContext::require_equal(const Dim& a, const Dim& b) const {
  if (decided_at_run(a) || decided_at_run(b)) return;
  const Dims pair = simplified({a, b});
  if (pair[0] != pair[1] && !(pair[0].known() && pair[1].known()))
    graph_.equalities.push_back({pair[0], pair[1], node().name});
}

bool InferContext::name_order(const Dim& a, const Dim& b) const {
  for (const ValueId input : graph_.inputs())
    if (graph_.value(input).shape)
      for (const Dim& dim : *graph_.value(input).shape)
        if (dim == a || dim == b) return dim == a;
  return a.text() < b.text();
}

void InferContext::set_output(size_t i, DType dtype, Dims shape) {
  if (!has_output(i)) return;
  shape = simplified(std::move(shape));
  if (shape.size() > kMaxRank)
    fail_here(fmt::format("output {} has rank {}, supported are {}", i, shape.size(), kMaxRank));
  for (const Dim& dim : shape)
    if (dim.known() && dim.value() < 0)
      fail_here(fmt::format("output {} has the shape {}", i, to_string(shape)));
  Value& value = graph_.value(node().outputs[i]);
  value.dtype = dtype;
  value.shape = std::move(shape);
}

void InferContext::set_output_dtype(size_t i, DType dtype) {
  if (has_output(i)) graph_.value(node().outputs[i]).dtype = dtype;
}

const Dims* InferContext::set_output_at_run(size_t i, DType dtype,
                                            const std::vector<std::optional<Dim>>& shape) {
  if (!has_output(i)) return nullptr;
  Value& value = graph_.value(node().outputs[i]);
  value.dtype = dtype;
  const bool declared = value.shape && value.shape->size() == shape.size();
  if (!declared && kernels::find_maker(node().op) == nullptr) return nullptr;
  Dims dims;
  for (size_t d = 0; d < shape.size(); ++d)
    dims.push_back(shape[d]   ? *shape[d]
                   : declared ? (*value.shape)[d]
                              : Dim::symbol(run_symbol(value.name, d)));
  set_output(i, dtype, std::move(dims));
  return &*value.shape;
}

void InferContext::set_integers(size_t i, Dims values) {
  if (has_output(i) && values.size() <= static_cast<size_t>(kMaxIntegers))
    graph_.value(node().outputs[i]).integers = simplified(std::move(values));
}

void InferContext::fail_here(std::string_view what) const {
  fail(ErrorCode::kInvalidArgument, "{}: {}", where(node()), what);
}

std::string run_symbol(std::string_view value, size_t axis) {
  return fmt::format("{}#{}", value, axis);
}

bool decided_at_run(const Dim& dim) {
  if (dim.known()) return false;
  if (dim.op() == Dim::Op::kSymbol) return dim.name().find('#') != std::string::npos;
  return decided_at_run(dim.left()) || decided_at_run(dim.right());
}

bool decides_at_run(const Graph& graph, const Node& node) {
  for (const ValueId output : node.outputs) {
    if (output == kNoId || !graph.value(output).shape) continue;
    const Value& value = graph.value(output);
    for (size_t d = 0; d < value.shape->size(); ++d)
      if ((*value.shape)[d] == Dim::symbol(run_symbol(value.name, d))) return true;
  }
  return false;
}

namespace {

void infer_once(Graph& graph, std::vector<DimEquality>& rules) {
  std::vector<std::string> bound;
  for (const ValueId input : graph.inputs())
    if (graph.value(input).shape)
      for (const Dim& dim : *graph.value(input).shape) collect_symbols(dim, bound);
  std::ranges::sort(bound);
  const auto unbound = [&](const Dim& dim) {
    std::vector<std::string> names;
    collect_symbols(dim, names);
    return std::ranges::any_of(names, [&](const auto& n) { return !std::ranges::binary_search(bound, n); });
  };

  for (const NodeId id : graph.sorted()) {
    const OpDef* def = find_op(graph.node(id).op, graph.node(id).domain);
    if (def == nullptr) fail(ErrorCode::kUnsupported, "{}: unknown operator", where(graph.node(id)));
    for (const ValueId output : graph.node(id).outputs) {
      if (output == kNoId) continue;
      Value& value = graph.value(output);
      value.integers.reset();
      if (value.shape && std::ranges::any_of(*value.shape, unbound)) value.shape.reset();
    }
    if (def->infer == nullptr) continue;
    InferContext context(graph, id, rules);
    try {
      def->infer(context);
    } catch (const UnknownShape&) {
      // The outputs keep what was declared, or stay unknown: folding may yet make the shape known.
    } catch (const Error& error) {
      if (error.message().starts_with("node '")) throw;
      throw Error(error.code(), where(graph.node(id)) + ": " + error.message());
    }
  }
}

}  // namespace

void infer_shapes(Graph& graph) {
  // Each round may find equalities that shapes before the node did not know of.
  constexpr int kMostRounds = 50;
  std::vector<DimEquality> rules;
  for (int round = 0;; ++round) {
    const size_t before = rules.size();
    graph.equalities.clear();
    infer_once(graph, rules);
    if (rules.size() == before) break;
    if (round == kMostRounds)
      fail(ErrorCode::kUnsupported, "the sizes of this network's tensors depend on each other too much");
    for (const ValueId input : graph.inputs())
      if (graph.value(input).shape)
        for (Dim& dim : *graph.value(input).shape)
          for (const DimEquality& rule : rules)
            if (dim == rule.a && rule.b.op() == Dim::Op::kSymbol) dim = rule.b;
  }
  for (const DimEquality& rule : rules)
    if (rule.a.op() != Dim::Op::kSymbol) graph.equalities.push_back(rule);
}

}  // namespace octet
