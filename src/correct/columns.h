// What a layer multiplies its weights by, at some of its output positions: im2col of a sample of them.
#pragma once

#include <cstdint>
#include <vector>

#include "correct/value_store.h"
#include "graph/graph.h"
#include "quant/quant_params.h"

namespace octet {

// A weighted node as a convolution; a Gemm or MatMul is one of 1x1 over its rows.
struct LayerGeometry {
  bool rows = false;  // of Gemm and MatMul: the last dimension of x are the channels
  int64_t in_channels = 0, out_channels = 0, groups = 1;
  std::vector<int64_t> kernel{1, 1}, strides{1, 1}, dilations{1, 1}, pads{0, 0, 0, 0};
  int64_t out_height = 1, out_width = 1, batch = 1;  // rows: all rows as out_height

  int64_t taps() const { return kernel[0] * kernel[1]; }
  int64_t group_inputs() const { return in_channels / groups * taps(); }  // weights of an output channel
  int64_t row_length() const { return group_inputs() * groups; }
  int64_t positions() const { return batch * out_height * out_width; }  // of a sample
};

// Throws Error where shapes are not known.
LayerGeometry geometry_of(const Graph& graph, NodeId layer);

// `count` of the positions of a sample, spread evenly with a jitter that depends on `sample` alone; all of
// them when there are not more.
std::vector<int64_t> choose_positions(int64_t positions, int64_t count, int64_t sample);

// Rows of [group][input channel of the group][tap] for the positions. `params` are those of an 8-bit value,
// empty for floats; padding is 0.
void gather_columns(const LayerGeometry& g, const StoredValue& x, const QuantParams& params,
                    const std::vector<int64_t>& positions, float* out);

// A value that has the layer's output shape: of channel c and position i, out[c * stride + i].
void gather_outputs(const LayerGeometry& g, const StoredValue& value, const QuantParams& params,
                    const std::vector<int64_t>& positions, float* out, int64_t stride);

}  // namespace octet
