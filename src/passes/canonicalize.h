// Brings a graph to the one form that quantization and `build` expect. Every pass keeps what the graph
// computes (up to float rounding where said).
#pragma once

#include <cstdint>

#include "graph/graph.h"

namespace octet {

// All passes below, in order, until nothing changes; then infer_shapes and prune.
void canonicalize(Graph& graph);

// Nodes whose inputs are all constant become constants, unless one result has more than `max_bytes`. A
// DequantizeLinear stays: an 8-bit weight is never turned back into floats.
bool fold_constants(Graph& graph, int64_t max_bytes = 64 << 20);

// A BatchNormalization (or a Mul or Add by a constant per channel) behind a convolution goes into its weights
// and bias.
bool fold_batch_norm(Graph& graph);

// x * sigmoid(x) becomes ai.octet Silu; x * clip(x / 6 + 0.5) and its spellings become HardSwish; the erf
// form becomes Gelu.
bool fuse_activations(Graph& graph);

// Identity, Dropout, casts to the same type, transposes and reshapes to the same shape disappear.
bool remove_noops(Graph& graph);

}  // namespace octet
