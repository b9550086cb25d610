// Float weights in 16 bits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "build/build.h"
#include "tensor/half.h"

namespace octet {
namespace {

using engine::Model;
using engine::StepDef;
using engine::Storage;

// Fewer are not worth the rounding.
constexpr int64_t kMinCount = 256;

// Inputs of a step that are weights, and not indices, sizes, anchors or the like.
bool is_weight(const StepDef& step, size_t input) {
  if (step.kind == "conv_f32" || step.kind == "gemm_f32") return input == 1;
  if (step.kind == "matmul_f32") return true;
  if (step.kind != "generic") return false;
  const std::string op = step.attributes.get_string("op", "");
  if (op == "Gather") return input == 0;
  if (op == "Gemm" || op == "Conv" || op == "ConvTranspose") return input == 1;
  return op == "MatMul";
}

bool fits(const Tensor& values, DType to) {
  if (to == DType::kBFloat16) return true;
  return std::ranges::all_of(values.as<float>(), [](float v) { return std::fabs(v) < 65504.0f; });
}

bool is_exact(float v) {
  const float stored = half_to_float(float_to_half(v));
  return std::memcmp(&stored, &v, sizeof v) == 0;
}

// Large float weights that nothing else reads.
std::vector<int32_t> float_weights(const Model& model) {
  std::set<int32_t> weights, others(model.outputs.begin(), model.outputs.end());
  for (const StepDef& step : model.steps)
    for (size_t i = 0; i < step.inputs.size(); ++i)
      (is_weight(step, i) ? weights : others).insert(step.inputs[i]);
  std::vector<int32_t> found;
  std::ranges::copy_if(weights, std::back_inserter(found), [&](int32_t t) {
    if (t < 0 || others.contains(t)) return false;
    const engine::TensorDef& def = model.tensors[t];
    return def.storage == Storage::kConstant && def.dtype == DType::kFloat32 &&
           def.constant.dtype() == DType::kFloat32 && def.constant.count() >= kMinCount;
  });
  return found;
}

}  // namespace

void shorten_weights(Model& model, DType to) {
  if (to != DType::kFloat16 && to != DType::kBFloat16) return;
  std::set<int32_t> done, large;
  for (const int32_t t : float_weights(model)) {
    Tensor& values = model.tensors[t].constant;
    const bool can = fits(values, to);
    if (can) values = narrowed(values, to);
    (can ? done : large).insert(t);
  }
  for (StepDef& step : model.steps)
    for (const int32_t t : step.inputs) {
      if (done.contains(t)) step.precision = fmt::format("float32, {} weights", dtype_name(to));
      if (large.contains(t))
        step.reason +=
            fmt::format("{}its weights exceed {}", step.reason.empty() ? "" : "; ", dtype_name(to));
    }
}

void store_exact_halves(Model& model) {
  for (const int32_t t : float_weights(model)) {
    Tensor& values = model.tensors[t].constant;
    if (std::ranges::all_of(values.as<float>(), is_exact)) values = narrowed(values, DType::kFloat16);
  }
}

}  // namespace octet
