#include "passes/canonicalize.h"

#include "ops/op_def.h"

namespace octet {

namespace {

// Optional outputs that nobody asked for: a step writes all that its operator has.
void name_absent_outputs(Graph& graph) {
  for (NodeId id = 0; id < graph.node_slots(); ++id)
    for (size_t i = 0; graph.node(id).alive && i < graph.node(id).outputs.size(); ++i)
      if (graph.node(id).outputs[i] == kNoId)
        graph.take_output(id, i, graph.add_value(graph.node(id).name + "_unused"));
}

}  // namespace

void canonicalize(Graph& graph) {
  name_absent_outputs(graph);
  infer_shapes(graph);
  widen_half(graph);
  bool changed = true;
  while (changed) {
    changed = remove_noops(graph);
    changed |= fold_constants(graph);
    changed |= fuse_activations(graph);  // while all of one stand in the same shape
    changed |= fold_pads(graph);
    changed |= widen_1d(graph);
    changed |= fold_batch_norm(graph);
    changed |= fold_input_scaling(graph);
    changed |= convolve_transposed(graph);
    changed |= fold_space_to_depth(graph);
    changed |= fuse_normalization(graph);
    changed |= constant_reshapes(graph);
    changed |= hoist_activations(graph);
    changed |= add_before_moves(graph);
    changed |= merge_reshapes(graph);
    changed |= sink_unit_axes(graph);
    changed |= channels_last_tokens(graph);
    changed |= merge_transposes(graph);
    changed |= hoist_scales(graph);
    changed |= dequantize_products(graph);
    changed |= quantize_moved_bytes(graph);
    changed |= carry_scales(graph);
    changed |= quantize_before_concat(graph);
    if (changed) continue;
    // Constants may be sizes, from which further ones follow.
    graph.prune();
    infer_shapes(graph);
    changed = fold_constants(graph) || convolve_batch_norm(graph) || unfold_depth(graph);
  }
}

}  // namespace octet
