// Images as the bytes that they are: where the preprocessing is affine per channel, x = (p - mean) / std *
// scale, the input's grid is scale / std with zero-point round(mean), so that every byte p is stored as
// itself and nothing is lost.
//
// What rounding the mean leaves, (mean - round(mean)) / std * scale, is added to the input and taken out of
// the biases of the layers that read it. A convolution pads with the byte nearest to 0.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "data/preprocess.h"
#include "engine/model.h"
#include "passes/quantize.h"

namespace octet {

struct ImageInput {
  ValueId source = kNoId;     // the graph's input, or its transposition where its channels are last
  ValueId value = kNoId;      // what is stored in 8 bits: `source`, or its sum with a constant per channel
  std::vector<float> offset;  // per channel, added to `value`; empty where all are 0
};

// Gives the graph's only input (Graph::only_input), or its sum with a constant per channel, and what is
// merely moved from it, the grid of the preprocessing's bytes. Nullopt (and nothing changes) where the input
// is no image of the preprocessing's channels, the target cannot express the grid, the preprocessing is not
// affine, or others than 8-bit layers read the input.
std::optional<ImageInput> use_image_grid(const Graph& graph, const Placement& placement,
                                         const QuantizeOptions& options, const Preprocess& preprocess,
                                         ActivationParams& params);

// Takes the offset out of the biases of the float graph.
void fold_image_offset(Graph& graph, const Placement& placement, const QuantizeOptions& options,
                       const ImageInput& image);

// Behind insert_qdq: adds the offset to the input.
void add_image_offset(Graph& graph, const ImageInput& image);
// Behind that: makes the input uint8, under its DequantizeLinear.
void take_image_bytes(Graph& graph, const ImageInput& image);

// A float image by `preprocess` as the uint8 image that it was made from, and back.
Tensor image_bytes(const Tensor& image, const Preprocess& preprocess);
Tensor image_floats(const Tensor& bytes, const Preprocess& preprocess);

// Inputs of the network `from` as its other form `to` takes them: images as bytes, or as floats.
std::vector<Tensor> inputs_for(const engine::Model& to, const engine::Model& from,
                               std::span<const Tensor> inputs);

}  // namespace octet
