// Where each tensor lives during a run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model.h"

namespace octet::engine {

struct MemoryPlan {
  std::vector<int64_t>
      offset;         // of each tensor in the arena, in bytes; -1 for constants and for inputs read in place
  int64_t bytes = 0;  // of the arena
};

// Offsets such that tensors whose lifetimes overlap do not share memory, each 64-byte aligned and followed by
// room for over-reads. Largest first, each at the lowest place that is free during its lifetime. Outputs live
// to the end; 8-bit inputs get a place (they are copied in, so that kernels may read past their end), and so
// do inputs that are outputs too, which outlive the caller's memory.
// Late tensors (see late.h) get none. Where early[s] a piece of step s may begin before step s - 1 has ended,
// so that what step s - 1 uses keeps its place for step s; empty: nowhere.
MemoryPlan plan_memory(const Model& model, std::span<const Shape> shapes, const std::vector<bool>& late = {},
                       const std::vector<bool>& early = {});

// Bytes of the arena for the largest shapes that the engine was built for, so that a context that changes
// between shapes allocates once; 0 where nobody chose them.
int64_t largest_arena(const Model& model, const std::vector<bool>& late, const std::vector<bool>& early);

// Bytes of a tensor that is no view, with the room for over-reads.
int64_t place_bytes(const TensorDef& def, const Shape& shape);

}  // namespace octet::engine
