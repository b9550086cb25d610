#include "passes/canonicalize.h"

#include "ops/op_def.h"

namespace octet {

void canonicalize(Graph& graph) {
  infer_shapes(graph);
  bool changed = true;
  while (changed) {
    changed = remove_noops(graph);
    changed |= fold_constants(graph);
    changed |= fold_batch_norm(graph);
    changed |= fuse_activations(graph);
    changed |= fuse_normalization(graph);
    changed |= constant_reshapes(graph);
    changed |= merge_transposes(graph);
    changed |= hoist_scales(graph);
    changed |= quantize_moved_bytes(graph);
    changed |= carry_scales(graph);
    changed |= quantize_before_concat(graph);
  }
  graph.prune();
  infer_shapes(graph);
}

}  // namespace octet
