#include "ops/support.h"

namespace octet {
namespace {

void upgrade(Graph& graph, NodeId id, int opset) {
  if (opset >= 10) return;
  for (const auto* name : {"starts", "ends"})
    if (!graph.node(id).attributes.has(name))
      fail_node(graph, id, fmt::format("attribute '{}' is missing", name));
  attribute_to_input(graph, id, "starts", 1);
  attribute_to_input(graph, id, "ends", 2);
  attribute_to_input(graph, id, "axes", 3);
}

// An index that counts from the end where it is negative, within [low, high]; nullopt when its sign is
// unknown.
std::optional<Dim> clamp_index(const Dim& index, const Dim& size, const Dim& low, const Dim& high) {
  Dim at = index;
  if (index.known() && index.value() < 0) {
    // Far beyond the beginning: also of a size that is not known yet.
    if (index.value() < -(int64_t{1} << 30)) return low;
    at = size + index;
    if (!size.known() && high == size) return at == high ? at : max(at, low);
  } else if (!nonnegative(index)) {
    return std::nullopt;
  } else if (index.known() && index.value() > (int64_t{1} << 30) &&
             (!size.known() || index.value() >= size.value())) {
    return high;
  } else if (at == high || (index.known() && index.value() == 0 && low == Dim(0))) {
    return at;
  }
  return max(min(at, high), low);
}

std::optional<Dim> slice_size(const Dim& size, const Dim& start, const Dim& end, int64_t step) {
  if (step > 0) {
    const auto last = clamp_index(end, size, 0, size);
    if (!last) return std::nullopt;
    // A start beyond the end gives a negative number, as does an unclamped one beyond the size.
    std::optional<Dim> first = start;
    if (!size.known() && start.known() && start.value() >= 0 && start.value() < (int64_t{1} << 30)) {
      if (*last == size) return start == Dim(0) ? ceil_div(size, step) : max(ceil_div(size - start, step), 0);
    } else {
      first = clamp_index(start, size, 0, size);
    }
    if (!first) return std::nullopt;
    const Dim length = ceil_div(*last - *first, step);
    return nonnegative(length) ? length : max(length, 0);
  }
  const auto first = clamp_index(start, size, -1, size - 1);
  const auto last = clamp_index(end, size, -1, size - 1);
  if (!first || !last) return std::nullopt;
  const Dim length = ceil_div(*first - *last, -step);
  return nonnegative(length) ? length : max(length, 0);
}

void infer_values(InferContext& context, const Dims& starts, const Dims& ends, int64_t step) {
  const std::optional<Dims> values = context.integers(0);
  if (!values || context.shape(0).size() != 1 || !starts[0].known() || !ends[0].known()) return;
  const auto n = static_cast<int64_t>(values->size());
  const auto first = clamp_index(starts[0], n, step > 0 ? 0 : -1, step > 0 ? n : n - 1);
  const auto last = clamp_index(ends[0], n, step > 0 ? 0 : -1, step > 0 ? n : n - 1);
  Dims picked;
  for (int64_t i = first->value(); step > 0 ? i < last->value() : i > last->value(); i += step)
    picked.push_back((*values)[static_cast<size_t>(i)]);
  context.set_integers(0, std::move(picked));
}

// Only the data decide what is left of the sliced axes.
void infer_late(InferContext& context, const std::optional<std::vector<int64_t>>& axes) {
  std::vector<std::optional<Dim>> shape(context.shape(0).begin(), context.shape(0).end());
  const Dims& starts = context.shape(1);
  if (axes)
    for (const int64_t axis : *axes) shape[normal_axis(context, axis, shape.size())].reset();
  else if (!context.has_input(3) && starts.size() == 1 && starts[0].known())
    for (size_t d = 0; d < shape.size() && static_cast<int64_t>(d) < starts[0].value(); ++d) shape[d].reset();
  else
    shape.assign(shape.size(), std::nullopt);
  context.set_output_at_run(0, context.dtype(0), shape);
}

void infer(InferContext& context) {
  Dims shape = context.shape(0);
  const std::optional<Dims> starts = context.integers(1), ends = context.integers(2);
  const auto steps_given = known_integers(context, 4);
  auto axes_given = known_integers(context, 3);
  context.set_output_dtype(0, context.dtype(0));
  if (!starts || !ends || (context.has_input(3) && !axes_given) || (context.has_input(4) && !steps_given))
    return infer_late(context, axes_given);
  const size_t n = starts->size();
  if (!axes_given) {
    axes_given.emplace();
    for (size_t i = 0; i < n; ++i) axes_given->push_back(static_cast<int64_t>(i));
  }
  const std::vector<int64_t> steps = steps_given.value_or(std::vector<int64_t>(n, 1));
  if (ends->size() != n || axes_given->size() != n || steps.size() != n)
    context.fail_here("starts, ends, axes and steps differ in length");
  normal_axes(context, *axes_given, shape.size());
  for (size_t i = 0; i < n; ++i) {
    if (steps[i] == 0 || steps[i] < -INT32_MAX) context.fail_here(fmt::format("step {}", steps[i]));
    // Beyond any size.
    const int64_t step = std::min<int64_t>(steps[i], INT32_MAX);
    Dim& dim = shape[normal_axis(context, (*axes_given)[i], shape.size())];
    const auto length = slice_size(dim, (*starts)[i], (*ends)[i], step);
    if (!length) return infer_late(context, axes_given);
    dim = *length;
  }
  context.set_output(0, context.dtype(0), std::move(shape));
  if (n == 1) infer_values(context, *starts, *ends, std::min<int64_t>(steps[0], INT32_MAX));
}

}  // namespace

std::span<const OpDef> slice_ops() {
  static const OpDef ops[] = {
      {.name = "Slice",
       .min_inputs = 3,
       .max_inputs = 5,
       .attributes = {{.name = "axes", .kind = AttributeKind::kInts, .until = 9},
                      {.name = "ends", .kind = AttributeKind::kInts, .until = 9},
                      {.name = "starts", .kind = AttributeKind::kInts, .until = 9}},
       .upgrade = upgrade,
       .infer = infer,
       .quant = QuantRule::kSameScale},
  };
  return ops;
}

}  // namespace octet
