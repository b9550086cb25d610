#include "summary.h"

#include <algorithm>
#include <functional>

namespace octet::tools {
namespace {

int64_t elements(const engine::TensorDef& def, const SymbolValues& symbols) {
  int64_t count = 1;
  for (int64_t d : evaluate(def.shape, symbols)) count *= std::max<int64_t>(0, d);
  return count;
}

int64_t constant_count(const engine::Model& model, const engine::StepDef& step, size_t input) {
  if (input >= step.inputs.size() || step.inputs[input] < 0) return 0;
  const engine::TensorDef& def = model.tensors[step.inputs[input]];
  return def.storage == engine::Storage::kConstant ? def.constant.count() : 0;
}

// Multiplications per element of the output.
int64_t macs_per_output(const engine::Model& model, const engine::StepDef& step,
                        const SymbolValues& symbols) {
  const Shape x = evaluate(model.tensors[step.inputs[0]].shape, symbols);
  const std::string kind = step_kind(step);
  if (kind == "conv" || kind == "conv_f32") {
    const auto kernel = step.attributes.get_ints("kernel", {1, 1});
    const int64_t group = std::max<int64_t>(1, step.attributes.get_int("group", 1));
    return kernel.at(0) * kernel.at(1) * x.at(1) / group;
  }
  const engine::TensorDef& y = model.tensors[step.outputs[0]];
  if (kind == "gemm" && model.tensors[step.inputs[0]].layout == Layout::kNhwc) return x.at(1);
  if (kind == "gemm" || kind == "gemm_f32" || kind == "matmul_f32" || kind == "MatMul" || kind == "Gemm")
    return x.back();
  if (kind == "Conv" || kind == "ConvTranspose") {
    const int64_t channels = evaluate(y.shape, symbols).at(1);
    return channels > 0 ? constant_count(model, step, 1) / channels : 0;
  }
  return 0;
}

// 0 where sizes of the optimum are not those of a run: only the data decide them, or it is none.
int64_t multiplications(const engine::Model& model, const engine::StepDef& step,
                        const SymbolValues& symbols) {
  try {
    const int64_t macs = macs_per_output(model, step, symbols);
    return macs <= 0 ? 0 : macs * elements(model.tensors[step.outputs[0]], symbols);
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace

std::string step_kind(const engine::StepDef& step) {
  return step.kind == "generic" ? step.attributes.get_string("op", "generic") : step.kind;
}

std::string shape_text(const Dims& dims) {
  return dims.empty() ? "scalar" : to_string(dims);
}

std::string tensor_text(const engine::TensorDef& def) {
  std::string text = fmt::format("{} {}", shape_text(def.shape), dtype_name(def.dtype));
  if (def.quant.scale.size() == 1)
    text += fmt::format(" (scale {}, zero-point {})", def.quant.scale[0], def.quant.zero_point[0]);
  return text;
}

EngineSummary summarize(const engine::Model& model) {
  EngineSummary summary;
  SymbolValues symbols;
  for (const engine::Symbol& s : model.symbols)
    if (!s.at_run) symbols[s.name] = s.optimum;
  for (const engine::TensorDef& def : model.tensors)
    if (def.storage == engine::Storage::kConstant) summary.constant_bytes += def.constant.bytes();
  std::map<std::pair<std::string, std::string>, int64_t> kinds;
  for (const engine::StepDef& step : model.steps) {
    ++summary.steps;
    const bool int8 = step.precision == "int8";
    summary.int8_steps += int8;
    summary.float_steps += step.precision.starts_with("float");
    ++kinds[{step_kind(step), step.precision}];
    if (step.inputs.empty() || step.inputs[0] < 0 || step.outputs.empty()) continue;
    const int64_t total = multiplications(model, step, symbols);
    summary.macs += total;
    if (int8) summary.int8_macs += total;
  }
  for (const auto& [key, count] : kinds) summary.kinds.push_back({key.first, key.second, count});
  std::stable_sort(summary.kinds.begin(), summary.kinds.end(),
                   [](const KindCount& a, const KindCount& b) { return a.steps > b.steps; });
  return summary;
}

std::string summary_text(const EngineSummary& summary) {
  std::string text = fmt::format("{}, {} in int8", plural(summary.steps, "step"), summary.int8_steps);
  if (summary.macs > 0)
    text += fmt::format("; {:.1f} % of {:.1f} million multiplications in int8",
                        100.0 * static_cast<double>(summary.int8_macs) / static_cast<double>(summary.macs),
                        static_cast<double>(summary.macs) / 1e6);
  text += fmt::format("; {} of constants\n", size_text(summary.constant_bytes));
  std::vector<std::vector<std::string>> rows;
  for (const KindCount& k : summary.kinds) rows.push_back({k.kind, k.precision, std::to_string(k.steps)});
  return text + columns(rows, 2);
}

Json summary_json(const EngineSummary& summary) {
  Json json{{"steps", summary.steps},
            {"int8_steps", summary.int8_steps},
            {"float_steps", summary.float_steps},
            {"constant_bytes", summary.constant_bytes},
            {"macs", summary.macs},
            {"int8_macs", summary.int8_macs},
            {"kinds", Json::array()}};
  for (const KindCount& k : summary.kinds)
    json["kinds"].push_back({{"kind", k.kind}, {"precision", k.precision}, {"steps", k.steps}});
  return json;
}

}  // namespace octet::tools
