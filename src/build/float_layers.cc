#include "build/float_layers.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <set>

#include "build/tune.h"
#include "engine/engine.h"

namespace octet {
namespace {

constexpr int kFewestRuns = 5, kMostRuns = 100;
constexpr int kWorthwhile = 90;  // per cent

bool is_integer_layer(const engine::StepDef& step) {
  return step.kind == "conv" || step.kind == "gemm";
}

bool touches(const std::vector<int32_t>& tensors, const engine::Model& model, int32_t tensor) {
  const auto root = [&](int32_t t) {
    return t >= 0 && model.tensors[static_cast<size_t>(t)].parent >= 0
               ? model.tensors[static_cast<size_t>(t)].parent
               : t;
  };
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](int32_t t) { return t >= 0 && root(t) == root(tensor); });
}

// The steps of a float layer: its own, what converts its inputs, and what stands behind it up to the bytes.
std::vector<size_t> steps_of_layer(const engine::Model& model, size_t own) {
  static constexpr std::string_view kBefore[] = {"dequantize", "layout", "copy"};
  static constexpr std::string_view kBehind[] = {"binary_f32", "function_f32", "layout"};
  const auto among = [](std::span<const std::string_view> kinds, const std::string& kind) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  std::set<size_t> found{own};
  std::vector<size_t> open{own};
  while (!open.empty()) {  // backwards
    const engine::StepDef& step = model.steps[open.back()];
    open.pop_back();
    for (size_t i = 0; i < own; ++i)
      for (int32_t t : model.steps[i].outputs)
        if (among(kBefore, model.steps[i].kind) && touches(step.inputs, model, t) && found.insert(i).second)
          open.push_back(i);
  }
  open = {own};
  while (!open.empty()) {
    const engine::StepDef& step = model.steps[open.back()];
    open.pop_back();
    for (size_t i = own + 1; i < model.steps.size(); ++i) {
      const std::string& kind = model.steps[i].kind;
      const bool last = kind == "quantize";
      if (!last && !among(kBehind, kind)) continue;
      for (int32_t t : step.outputs)
        if (touches(model.steps[i].inputs, model, t) && found.insert(i).second && !last) open.push_back(i);
    }
  }
  return {found.begin(), found.end()};
}

}  // namespace

std::vector<std::string> integer_layers(const engine::Model& model) {
  std::vector<std::string> names;
  for (const engine::StepDef& step : model.steps)
    if (is_integer_layer(step)) names.push_back(step.name);
  return names;
}

int measure_float_times(const engine::Model& model, const engine::Model& floats, FloatTimes& times,
                        double seconds) {
  const std::vector<std::string> keys = layer_keys(model);
  std::map<std::string, size_t> twins;
  for (size_t i = 0; i < floats.steps.size(); ++i)
    if (floats.steps[i].kind == "conv_f32" || floats.steps[i].kind == "gemm_f32")
      twins[floats.steps[i].name] = i;
  struct Pair {
    size_t own;
    std::vector<size_t> twin;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].empty() || times.contains(keys[i])) continue;
    const auto twin = twins.find(model.steps[i].name);
    if (twin != twins.end()) pairs.push_back({i, steps_of_layer(floats, twin->second)});
  }
  if (pairs.empty()) return 0;

  const engine::Model* models[] = {&model, &floats};
  std::vector<engine::Context> contexts;
  std::vector<double> best[2];
  for (int m = 0; m < 2; ++m) {
    contexts.emplace_back(engine::Engine(*models[m]), engine::default_options());
    best[m].assign(models[m]->steps.size(), std::numeric_limits<double>::infinity());
  }
  const std::vector<Tensor> inputs = zero_inputs(model, contexts.front());
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (int run = 0; run < kMostRuns && (run < kFewestRuns || Clock::now() < end); ++run)
    for (size_t m = 0; m < 2; ++m) {
      std::vector<double> once(best[m].size());
      contexts[m].profile(inputs, once);
      for (size_t i = 0; i < once.size(); ++i) best[m][i] = std::min(best[m][i], once[i]);
    }

  int added = 0;
  for (const Pair& pair : pairs) {
    double in_float = 0;
    for (size_t i : pair.twin) in_float += best[1][i];
    const double percent = 100 * in_float / std::max(best[0][pair.own], 1e-9);
    // Of several layers with one key the first counts.
    if (times.emplace(keys[pair.own], static_cast<int>(std::lround(std::clamp(percent, 1.0, 1000.0)))).second)
      ++added;
  }
  return added;
}

std::vector<FasterInFloat> faster_in_float(const engine::Model& model, const FloatTimes& times) {
  const std::vector<std::string> keys = layer_keys(model);
  std::vector<FasterInFloat> result;
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto found = keys[i].empty() ? times.end() : times.find(keys[i]);
    if (found != times.end() && found->second <= kWorthwhile)
      result.push_back({model.steps[i].name, found->second});
  }
  return result;
}

}  // namespace octet
