#include "engine/plan.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "engine/steps/step.h"
#include "engine/validate.h"

namespace octet::engine {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kOverread = 64;

struct Block {
  int32_t tensor;
  int64_t bytes;
  int32_t first, last;  // steps; both inclusive
  int64_t offset = -1;
};

int64_t storage_bytes(const TensorDef& def, const Shape& shape) {
  if (def.layout == Layout::kPlain) return dtype_bytes(def.dtype, checked_product(shape));
  const int64_t pixels = checked_mul(checked_mul(shape[0], shape[2]), shape[3]);
  return dtype_bytes(def.dtype, checked_mul(pixels, natural_pixel_stride(def.dtype, shape[1])));
}

bool needs_place(const TensorDef& def, bool is_output) {
  return def.storage == Storage::kArena || def.storage == Storage::kOutput ||
         (def.storage == Storage::kInput && (is_output || dtype_bits(def.dtype) == 8));
}

}  // namespace

int64_t place_bytes(const TensorDef& def, const Shape& shape) {
  return round_up(checked_add(storage_bytes(def, shape), kOverread), kAlignment);
}

MemoryPlan plan_memory(const Model& model, std::span<const Shape> shapes, const std::vector<bool>& late,
                       const std::vector<bool>& early) {
  const int32_t count = static_cast<int32_t>(model.tensors.size());
  const int32_t steps = static_cast<int32_t>(model.steps.size());
  const auto root = [&](int32_t t) { return model.tensors[t].parent >= 0 ? model.tensors[t].parent : t; };

  std::vector<int32_t> first(count, steps), last(count, -1);
  const auto use = [&](int32_t t, int32_t step) {
    if (t < 0) return;
    t = root(t);
    first[t] = std::min(first[t], step);
    last[t] = std::max(last[t], step);
  };
  for (int32_t s = 0; s < steps; ++s) {
    for (int32_t t : model.steps[s].inputs) use(t, s);
    for (int32_t t : model.steps[s].outputs) use(t, s);
  }
  for (int32_t t : model.inputs) use(t, 0);
  for (int32_t t : model.outputs) use(t, steps);

  std::vector<Block> blocks;
  for (int32_t t = 0; t < count; ++t) {
    if (root(t) != t || !needs_place(model.tensors[t], last[t] == steps) || last[t] < 0) continue;
    if (!late.empty() && late[t]) continue;
    const size_t next = static_cast<size_t>(last[t]) + 1;
    const int32_t end = next < early.size() && early[next] ? last[t] + 1 : last[t];
    blocks.push_back({t, place_bytes(model.tensors[t], shapes[t]), first[t], end});
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return a.bytes > b.bytes; });

  MemoryPlan plan;
  plan.offset.assign(count, -1);
  std::vector<Block*> placed;  // by offset
  for (Block& block : blocks) {
    int64_t at = 0;
    for (const Block* other : placed) {
      const bool apart = other->last < block.first || block.last < other->first;
      if (apart) continue;
      if (at + block.bytes <= other->offset) break;
      at = std::max(at, other->offset + other->bytes);
    }
    block.offset = at;
    plan.bytes = std::max(plan.bytes, checked_add(at, block.bytes));
    plan.offset[block.tensor] = at;
    placed.insert(std::upper_bound(placed.begin(), placed.end(), &block,
                                   [](const Block* a, const Block* b) { return a->offset < b->offset; }),
                  &block);
  }
  for (int32_t t = 0; t < count; ++t) {
    const int32_t parent = root(t);
    if (parent == t || plan.offset[parent] < 0) continue;
    plan.offset[t] =
        plan.offset[parent] + dtype_bytes(model.tensors[t].dtype, model.tensors[t].channel_offset);
  }
  return plan;
}

int64_t largest_arena(const Model& model, const std::vector<bool>& late, const std::vector<bool>& early) {
  int64_t bytes = 0;
  for (const Profile& profile : model.profiles) {
    SymbolValues symbols;
    for (size_t i = 0; i < model.symbols.size(); ++i)
      if (!model.symbols[i].at_run) symbols[model.symbols[i].name] = profile[i].maximum;
    try {
      bytes = std::max(bytes, plan_memory(model, concrete_shapes(model, symbols, late), late, early).bytes);
    } catch (const Error&) {
      // No input has these sizes together.
    }
  }
  return bytes;
}

}  // namespace octet::engine
