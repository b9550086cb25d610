#include "ops/support.h"

#include <algorithm>
#include <array>

namespace octet {
namespace {

// TensorProto.DataType, indexed by DType.
constexpr std::array<int64_t, kDTypeCount> kOnnxCodes{1, 10, 16, 11, 3, 2, 5, 4, 6, 12, 7, 13, 9, 22, 21};

void collect_factors(const Dim& dim, std::vector<Dim>& symbolic, int64_t& known) {
  if (dim.known()) {
    known = (Dim(known) * dim).value();
  } else if (dim.op() == Dim::Op::kMul) {
    collect_factors(dim.left(), symbolic, known);
    collect_factors(dim.right(), symbolic, known);
  } else {
    symbolic.push_back(dim);
  }
}

}  // namespace

std::optional<DType> dtype_from_onnx(int64_t code) {
  const auto found = std::ranges::find(kOnnxCodes, code);
  if (found == kOnnxCodes.end()) return std::nullopt;
  return static_cast<DType>(found - kOnnxCodes.begin());
}

int64_t dtype_to_onnx(DType dtype) {
  return kOnnxCodes[static_cast<size_t>(dtype)];
}

bool is_integer(DType dtype) {
  return !is_float(dtype) && dtype != DType::kBool;
}

size_t normal_axis(const InferContext& context, int64_t axis, size_t rank) {
  const auto r = static_cast<int64_t>(rank);
  if (axis < -r || axis >= r) context.fail_here(fmt::format("axis {} of a tensor of rank {}", axis, rank));
  return static_cast<size_t>(axis < 0 ? axis + r : axis);
}

std::vector<size_t> normal_axes(const InferContext& context, const std::vector<int64_t>& axes, size_t rank) {
  std::vector<size_t> result;
  result.reserve(axes.size());
  for (const int64_t axis : axes) result.push_back(normal_axis(context, axis, rank));
  std::ranges::sort(result);
  if (std::ranges::adjacent_find(result) != result.end()) context.fail_here("an axis is given twice");
  return result;
}

Dim broadcast(const InferContext& context, const Dim& a, const Dim& b) {
  if (a == b) return a;
  if (a.known() && a.value() == 1) return b;
  if (b.known() && b.value() == 1) return a;
  if (a.known() && b.known())
    context.fail_here(fmt::format("dimensions {} and {} do not broadcast", a.text(), b.text()));
  if (a.known()) return a;
  if (b.known()) return b;
  return context.assume_equal(a, b);
}

Dims broadcast(const InferContext& context, const Dims& a, const Dims& b) {
  const Dims& longer = a.size() >= b.size() ? a : b;
  const Dims& shorter = a.size() >= b.size() ? b : a;
  Dims result = longer;
  const size_t shift = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i)
    result[shift + i] = broadcast(context, longer[shift + i], shorter[i]);
  return result;
}

void require_same_dtype(const InferContext& context, size_t a, size_t b) {
  if (context.dtype(a) != context.dtype(b))
    context.fail_here(fmt::format("input {} is {}, but input {} is {}", a, dtype_name(context.dtype(a)), b,
                                  dtype_name(context.dtype(b))));
}

void require_float(const InferContext& context, size_t i) {
  if (!is_float(context.dtype(i)))
    context.fail_here(fmt::format("input {} is {}, expected a float type", i, dtype_name(context.dtype(i))));
}

void require_rank(const InferContext& context, size_t i, size_t rank) {
  if (context.shape(i).size() != rank)
    context.fail_here(
        fmt::format("input {} has shape {}, expected rank {}", i, to_string(context.shape(i)), rank));
}

Dim product(std::span<const Dim> dims) {
  Dim result = 1;
  for (const Dim& dim : dims) result = result * dim;
  return result;
}

namespace {

// Two products without the factors that they share.
struct Quotient {
  std::vector<Dim> above, below;
  int64_t a = 1, b = 1;
};

Quotient cancelled(std::span<const Dim> numerator, std::span<const Dim> denominator) {
  Quotient q;
  for (const Dim& dim : numerator) collect_factors(dim, q.above, q.a);
  for (const Dim& dim : denominator) collect_factors(dim, q.below, q.b);
  for (auto it = q.below.begin(); it != q.below.end();) {
    const auto match = std::ranges::find(q.above, *it);
    if (match == q.above.end()) {
      ++it;
      continue;
    }
    q.above.erase(match);
    it = q.below.erase(it);
  }
  if (q.b != 0 && q.a % q.b == 0) {
    q.a /= q.b;
    q.b = 1;
  }
  return q;
}

}  // namespace

Dim exact_quotient(std::span<const Dim> numerator, std::span<const Dim> denominator) {
  const Quotient q = cancelled(numerator, denominator);
  return floor_div(product(q.above) * Dim(q.a), product(q.below) * Dim(q.b));
}

void require_same_count(const InferContext& context, std::span<const Dim> a, std::span<const Dim> b) {
  const Quotient q = cancelled(a, b);
  if (q.a == q.b && q.above.size() == 1 && q.below.size() == 1)
    context.assume_equal(q.above[0], q.below[0]);
  else
    context.require_equal(product(q.above) * Dim(q.a), product(q.below) * Dim(q.b));
}

Dim ceil_div(const Dim& a, const Dim& b) {
  return floor_div(a + b - 1, b);
}

std::optional<bool> equal(const Dim& a, const Dim& b) {
  if (a == b) return true;
  if (a.known() && b.known()) return false;
  if (a.known() && a.value() < 0 && nonnegative(b)) return false;
  if (b.known() && b.value() < 0 && nonnegative(a)) return false;
  return std::nullopt;
}

std::optional<std::vector<int64_t>> known_integers(const InferContext& context, size_t i) {
  const std::optional<Dims> dims = context.integers(i);
  if (!dims || !all_known(*dims)) return std::nullopt;
  return evaluate(*dims);
}

std::vector<int64_t> spatial_attribute(const InferContext& context, std::string_view name, size_t count,
                                       int64_t fallback) {
  std::vector<int64_t> values = context.attributes().get_ints(name);
  if (values.empty()) values.assign(count, fallback);
  if (values.size() != count)
    context.fail_here(fmt::format("attribute '{}' has {} entries, expected {}", name, values.size(), count));
  return values;
}

void infer_from_data(InferContext& context, size_t rank) {
  const Dims& length = context.shape(1);
  if (length.size() != 1 || !length[0].known() || length[0].value() > 32) return;
  rank = std::max(rank, static_cast<size_t>(length[0].value()));
  context.set_output_at_run(0, context.dtype(0), std::vector<std::optional<Dim>>(rank));
}

void infer_like_first(InferContext& context) {
  context.set_output(0, context.dtype(0), context.shape(0));
}

void infer_broadcast(InferContext& context) {
  Dims shape = context.shape(0);
  for (size_t i = 1; i < context.input_count(); ++i) {
    require_same_dtype(context, 0, i);
    shape = broadcast(context, shape, context.shape(i));
  }
  context.set_output(0, context.dtype(0), std::move(shape));
}

void fail_node(const Graph& graph, NodeId node, std::string_view what) {
  const Node& n = graph.node(node);
  fail(ErrorCode::kUnsupported, "node '{}' ({}): {}", n.name, n.op, what);
}

ValueId add_ints(Graph& graph, std::string_view name, const std::vector<int64_t>& values) {
  return graph.add_constant(
      name, Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values)));
}

void put_input(Graph& graph, NodeId node, size_t index, ValueId value) {
  while (graph.node(node).inputs.size() <= index) graph.append_input(node, kNoId);
  graph.set_input(node, index, value);
}

void attribute_to_input(Graph& graph, NodeId node, std::string_view name, size_t index) {
  if (!graph.node(node).attributes.has(name)) return;
  const std::vector<int64_t> values = graph.node(node).attributes.get_ints(name);
  drop_attribute(graph, node, name);
  put_input(graph, node, index, add_ints(graph, fmt::format("{}.{}", graph.node(node).name, name), values));
}

void drop_attribute(Graph& graph, NodeId node, std::string_view name) {
  graph.node(node).attributes.erase(name);
}

void drop_output(Graph& graph, NodeId node, size_t index, std::string_view what) {
  Node& n = graph.node(node);
  if (n.outputs.size() <= index) return;
  const ValueId value = n.outputs[index];
  if (value != kNoId) {
    if (!graph.consumers(value).empty() || graph.is_output(value))
      fail_node(graph, node,
                fmt::format("the output '{}' ({}) is not supported", graph.value(value).name, what));
    graph.value(value).producer = kNoId;
    n.outputs[index] = kNoId;
  }
  while (!n.outputs.empty() && n.outputs.back() == kNoId) n.outputs.pop_back();
}

void drop_unused_outputs(Graph& graph, NodeId node, size_t first) {
  for (size_t i = graph.node(node).outputs.size(); i-- > first;) {
    const ValueId value = graph.node(node).outputs[i];
    if (value == kNoId || (graph.consumers(value).empty() && !graph.is_output(value)))
      drop_output(graph, node, i, "");
  }
}

bool has_input(const Node& node, size_t index) {
  return index < node.inputs.size() && node.inputs[index] != kNoId;
}

}  // namespace octet
