#include "build/tune.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/validate.h"
#include "kernels/conv/conv.h"

namespace octet {
namespace {

constexpr const char* kAttribute = "tile_blocks";
constexpr int kAlternatives = kernels::kMostTileBlocks;  // 0: as many blocks as possible; then 1, 2 ...
constexpr double kGain = 0.97;
constexpr int kFewestRuns = 10, kMostRuns = 200;

// Of each step; empty where it has no alternatives.
std::vector<std::string> tactic_keys(const engine::Model& model) {
  std::vector<std::string> keys = layer_keys(model);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].empty()) continue;
    const engine::StepDef& step = model.steps[i];
    const Dims& y = model.tensors[static_cast<size_t>(step.outputs[0])].shape;
    const Dim& channels = step.kind == "conv" ? y[1] : y.back();
    const bool one_block = channels.known() && channels.value() <= 16;
    if (step.attributes.get_int("group", 1) > 1 || one_block) keys[i].clear();
  }
  return keys;
}

}  // namespace

std::vector<std::string> layer_keys(const engine::Model& model) {
  SymbolValues symbols;
  for (const engine::Symbol& s : model.symbols)
    if (!s.at_run) symbols[s.name] = s.optimum;
  std::vector<std::string> keys(model.steps.size());
  // Shapes that the data decide have none before a run.
  if (std::any_of(model.symbols.begin(), model.symbols.end(), [](const auto& s) { return s.at_run; }))
    return keys;
  const std::vector<Shape> shapes = engine::concrete_shapes(model, symbols);
  for (size_t i = 0; i < keys.size(); ++i) {
    const engine::StepDef& step = model.steps[i];
    if (step.kind != "conv" && step.kind != "gemm") continue;
    if (step.inputs.empty() || step.outputs.empty() || step.inputs[0] < 0) continue;
    const Shape& x = shapes[static_cast<size_t>(step.inputs[0])];
    const Shape& y = shapes[static_cast<size_t>(step.outputs[0])];
    if (x.size() < 2 || y.size() < 2) continue;
    const auto list = [&](const char* name) {
      return fmt::format("{}", fmt::join(step.attributes.get_ints(name), "."));
    };
    const auto dtype = model.tensors[static_cast<size_t>(step.outputs[0])].dtype;
    keys[i] =
        fmt::format("{} {} to {} {}", step.kind, fmt::join(x, "x"), fmt::join(y, "x"), dtype_name(dtype));
    for (const char* name : {"kernel", "strides", "dilations", "pads"})
      if (step.kind == "conv") keys[i] += fmt::format(" {} {}", name, list(name));
    if (const int64_t group = step.attributes.get_int("group", 1); group > 1)
      keys[i] += fmt::format(" group {}", group);
    keys[i] += fmt::format(" function {}", step.attributes.get_int("function", 0));
    if (step.inputs.size() > 6 && step.inputs[6] >= 0) keys[i] += " residual";
  }
  return keys;
}

std::vector<Tensor> zero_inputs(const engine::Model& model, const engine::Context& context) {
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < model.inputs.size(); ++i) {
    const engine::TensorDef& def = model.tensors[static_cast<size_t>(model.inputs[i])];
    Tensor t(def.dtype, context.input_shape(i));
    if (t.bytes() > 0) std::memset(t.raw(), 0, static_cast<size_t>(t.bytes()));
    inputs.push_back(std::move(t));
  }
  return inputs;
}

int measure_tactics(const engine::Model& model, Tactics& tactics, double seconds) {
  const std::vector<std::string> keys = tactic_keys(model);
  const auto wanted = [&](const std::string& key) { return !key.empty() && !tactics.contains(key); };
  if (std::none_of(keys.begin(), keys.end(), wanted)) return 0;

  std::vector<engine::Context> contexts;
  for (int choice = 0; choice < kAlternatives; ++choice) {
    engine::Model variant = model;
    for (size_t i = 0; i < keys.size(); ++i)
      if (wanted(keys[i])) variant.steps[i].attributes.set(kAttribute, int64_t{choice});
    contexts.emplace_back(engine::Engine(std::move(variant)), engine::default_options());
  }
  const std::vector<Tensor> inputs = zero_inputs(model, contexts.front());

  // Alternatives take turns, so that a slow moment of the machine meets all of them; the fastest run counts.
  using Clock = std::chrono::steady_clock;
  const double never = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> best(kAlternatives, std::vector<double>(keys.size(), never));
  std::vector<double> once(keys.size());
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (int run = 0; run < kMostRuns && (run < kFewestRuns || Clock::now() < end); ++run)
    for (size_t c = 0; c < contexts.size(); ++c) {
      std::fill(once.begin(), once.end(), 0);
      contexts[c].profile(inputs, once);
      for (size_t i = 0; i < keys.size(); ++i) best[c][i] = std::min(best[c][i], once[i]);
    }

  int added = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!wanted(keys[i])) continue;
    int choice = 0;
    for (int c = 1; c < kAlternatives; ++c) {
      const double limit = choice == 0 ? best[0][i] * kGain : best[static_cast<size_t>(choice)][i];
      if (best[static_cast<size_t>(c)][i] < limit) choice = c;
    }
    tactics[keys[i]] = choice;
    ++added;
  }
  return added;
}

void apply_tactics(engine::Model& model, const Tactics& tactics) {
  for (const auto& [key, choice] : tactics)
    if (choice < 0 || choice >= kAlternatives)
      fail(ErrorCode::kInvalidArgument, "tactic '{}' is {}, expected 0 to {}", key, choice,
           kAlternatives - 1);
  const std::vector<std::string> keys = tactic_keys(model);
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto found = tactics.find(keys[i]);
    if (keys[i].empty() || found == tactics.end() || found->second == 0) continue;
    model.steps[i].attributes.set(kAttribute, int64_t{found->second});
  }
}

}  // namespace octet
