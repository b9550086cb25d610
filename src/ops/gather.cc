#include "ops/support.h"

namespace octet {
namespace {

void require_indices(const InferContext& context) {
  if (context.dtype(1) != DType::kInt64 && context.dtype(1) != DType::kInt32)
    context.fail_here(
        fmt::format("the indices are {}, expected int32 or int64", dtype_name(context.dtype(1))));
}

void infer(InferContext& context) {
  require_indices(context);
  const Dims& data = context.shape(0);
  const Dims& indices = context.shape(1);
  const size_t axis = normal_axis(context, context.attributes().get_int("axis", 0), data.size());
  const auto at = data.begin() + static_cast<std::ptrdiff_t>(axis);
  Dims shape(data.begin(), at);
  shape.insert(shape.end(), indices.begin(), indices.end());
  shape.insert(shape.end(), at + 1, data.end());
  const std::optional<Dims> values = context.integers(0);
  const auto wanted = known_integers(context, 1);
  if (wanted && data[axis].known())
    for (const int64_t i : *wanted)
      if (i < -data[axis].value() || i >= data[axis].value())
        context.fail_here(fmt::format("index {} on axis {} of {}", i, axis, data[axis].text()));
  const bool vector = data.size() == 1 && indices.size() <= 1;
  context.set_output(0, context.dtype(0), std::move(shape));
  if (!values || !wanted || !vector) return;
  const auto n = static_cast<int64_t>(values->size());
  Dims picked;
  for (const int64_t i : *wanted) {
    if (i < -n || i >= n) return;
    picked.push_back((*values)[static_cast<size_t>(i < 0 ? i + n : i)]);
  }
  context.set_integers(0, std::move(picked));
}

void infer_elements(InferContext& context) {
  require_indices(context);
  require_rank(context, 1, context.shape(0).size());
  normal_axis(context, context.attributes().get_int("axis", 0), context.shape(0).size());
  context.set_output(0, context.dtype(0), context.shape(1));
}

void infer_nd(InferContext& context) {
  if (context.dtype(1) != DType::kInt64) context.fail_here("the indices are not int64");
  const Dims& data = context.shape(0);
  const Dims& indices = context.shape(1);
  const int64_t batch = context.attributes().get_int("batch_dims", 0);
  if (indices.empty() || !indices.back().known()) {
    if (indices.empty()) context.fail_here("the indices are a scalar");
    return context.set_output_dtype(0, context.dtype(0));
  }
  const int64_t depth = indices.back().value(), rank = static_cast<int64_t>(data.size());
  if (batch >= std::min(rank, static_cast<int64_t>(indices.size())) || depth < 1 || depth > rank - batch)
    context.fail_here(fmt::format("indices of shape {} with batch_dims {} for data of shape {}",
                                  to_string(indices), batch, to_string(data)));
  Dims shape(indices.begin(), indices.end() - 1);
  shape.insert(shape.end(), data.begin() + batch + depth, data.end());
  context.set_output(0, context.dtype(0), std::move(shape));
}

}  // namespace

std::span<const OpDef> gather_ops() {
  static const OpDef ops[] = {
      {.name = "Gather",
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{"axis"}},
       .infer = infer,
       .quant = QuantRule::kSameScale},
      {.name = "GatherElements",
       .since = 11,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{"axis"}},
       .infer = infer_elements},
      {.name = "GatherND",
       .since = 11,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{.name = "batch_dims", .low = 0, .high = 32, .since = 12}},
       .infer = infer_nd},
  };
  return ops;
}

}  // namespace octet
