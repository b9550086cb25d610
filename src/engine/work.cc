#include "engine/work.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace octet::engine {
namespace {

int64_t count(const Shape& shape) {
  const bool known = std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 0; });
  return known ? std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()) : 0;
}

// The last dimension of an operand behind its permutation.
int64_t last_dim(const StepDef& step, const Shape& shape, const char* perm) {
  if (shape.empty()) return 0;
  const auto order = step.attributes.get_ints(perm);
  const int64_t last = order.empty() ? static_cast<int64_t>(shape.size()) - 1 : order.back();
  return last >= 0 && last < static_cast<int64_t>(shape.size()) ? shape[static_cast<size_t>(last)] : 0;
}

}  // namespace

int64_t multiply_adds(const StepDef& step, std::span<const Shape> shapes) {
  if (step.inputs.empty() || step.outputs.empty() || step.inputs[0] < 0 || step.outputs[0] < 0) return 0;
  const auto input = [&](size_t i) -> const Shape& { return shapes[static_cast<size_t>(step.inputs[i])]; };
  const Shape &x = input(0), &y = shapes[static_cast<size_t>(step.outputs[0])];
  const int64_t results = count(y);
  if (step.kind == "conv" || step.kind == "conv_f32") {
    const auto kernel = step.attributes.get_ints("kernel");
    const int64_t groups = std::max<int64_t>(step.attributes.get_int("group", 1), 1);
    return x.size() == 4 && kernel.size() == 2 ? results * (x[1] / groups) * kernel[0] * kernel[1] : 0;
  }
  if (step.kind == "gemm" || step.kind == "gemm_f32" || step.kind == "matmul_f32")
    return results * last_dim(step, x, "");
  if (step.kind == "matmul") return results * last_dim(step, x, "a_perm");
  if (step.kind == "attention" && step.inputs.size() > 1 && step.inputs[1] >= 0)
    return (count(x) + results) * last_dim(step, input(1), "k_perm");
  return 0;
}

}  // namespace octet::engine
