// Float weights in 16 bits.
#include <algorithm>
#include <cmath>
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

Tensor converted(const Tensor& values, DType to) {
  Tensor out(to, values.shape());
  auto* words = static_cast<uint16_t*>(out.raw());
  const auto from = values.as<float>();
  for (size_t i = 0; i < from.size(); ++i)
    words[i] = to == DType::kFloat16 ? float_to_half(from[i]) : float_to_bfloat16(from[i]);
  return out;
}

}  // namespace

void shorten_weights(Model& model, DType to) {
  if (to != DType::kFloat16 && to != DType::kBFloat16) return;
  std::set<int32_t> weights, others(model.outputs.begin(), model.outputs.end());
  for (const StepDef& step : model.steps)
    for (size_t i = 0; i < step.inputs.size(); ++i)
      (is_weight(step, i) ? weights : others).insert(step.inputs[i]);
  std::set<int32_t> done, large;
  for (const int32_t t : weights) {
    if (t < 0 || others.contains(t)) continue;
    engine::TensorDef& def = model.tensors[t];
    if (def.storage != Storage::kConstant || def.dtype != DType::kFloat32 ||
        def.constant.dtype() != DType::kFloat32 || def.constant.count() < kMinCount)
      continue;
    if (!fits(def.constant, to)) {
      large.insert(t);
      continue;
    }
    def.constant = converted(def.constant, to);
    done.insert(t);
  }
  for (StepDef& step : model.steps)
    for (const int32_t t : step.inputs) {
      if (done.contains(t)) step.precision = fmt::format("float32, {} weights", dtype_name(to));
      if (large.contains(t))
        step.reason +=
            fmt::format("{}its weights exceed {}", step.reason.empty() ? "" : "; ", dtype_name(to));
    }
}

}  // namespace octet
