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

// A convolution or pool over one dimension becomes one over two, the first of which has one row; so does what
// is computed on each element behind it.
bool widen_1d(Graph& graph);

// Zeros around an image become the padding of the convolutions that alone read them.
bool fold_pads(Graph& graph);

// A BatchNormalization (or a Mul or Add by a constant per channel) behind a convolution, transposed or not,
// goes into its weights and bias; a BatchNormalization of a matrix into the product that makes its rows.
bool fold_batch_norm(Graph& graph);

// A BatchNormalization of an image that stays (DenseNet's, behind a concatenation) becomes a convolution of
// each channel with one tap, whose 8-bit weight is exact; one of anything else a Mul and an Add. Only once
// nothing else can take it in.
bool convolve_batch_norm(Graph& graph);

// What scales and shifts an image before the first convolution ((x - mean) / std within the model): the
// scales go into its weights, one Add stays, behind the Transpose of an image whose channels are last (up to
// float rounding). The quantization of the sum takes it in.
bool fold_input_scaling(Graph& graph);

// A ConvTranspose by constant weights with equal strides becomes a Conv of all its phases and a DepthToSpace
// (up to the order of additions), which have 8-bit forms. Functions of each element behind a DepthToSpace
// come in front of it, and its phases become the outermost channels where a convolution makes them.
bool convolve_transposed(Graph& graph);

// A convolution of every second pixel, joined by channels from several starts (the Focus of YOLOX and
// YOLOv5), becomes one with twice the kernel and stride over the pixels themselves.
bool fold_space_to_depth(Graph& graph);

// x * sigmoid(x) becomes ai.octet Silu; x * clip(x / 6 + 0.5) and its spellings become HardSwish; the erf
// and the tanh form become Gelu.
bool fuse_activations(Graph& graph);

// (x - mean) / sqrt(variance + epsilon) becomes LayerNormalization and x / sqrt(mean of squares + epsilon)
// RMSNormalization, with the Mul and Add of constants behind them; exp(x - max) / sum becomes Softmax.
bool fuse_normalization(Graph& graph);

// A function of each element behind the Reshapes and Transposes of a layer's result stands beside the layer.
bool hoist_activations(Graph& graph);

// A Transpose of a Transpose is one.
bool merge_transposes(Graph& graph);

// The shape of a Reshape becomes constant (0 and -1 stand for symbolic dimensions), so that nothing computes
// it.
bool constant_reshapes(Graph& graph);

// A convolution of a volume of known size becomes one of images: the frames are a batch, and the frames that
// its taps reach stand side by side as channels. A pool of each frame alone, too. Only once nothing else
// changes, so that a BatchNormalization is in the weights.
bool unfold_depth(Graph& graph);

// The sum of two values that went through the same Transpose, or Reshapes to the same shape, goes through it
// instead.
bool add_before_moves(Graph& graph);

// A Reshape of a Reshape is one.
bool merge_reshapes(Graph& graph);

// An Add or Mul by a constant between two Reshapes that only add axes of size one and take them away again is
// computed without them (Swin's masks of shifted windows).
bool sink_unit_axes(Graph& graph);

// Tokens that become an image, or an image that becomes tokens, by Transpose (0, 2, 1) and Reshape: the
// Transpose is one of channels to the end or back, which a channels-last tensor does not need.
bool channels_last_tokens(Graph& graph);

// A number that multiplies an operand of a product of two variables multiplies the result instead (rounding
// differs).
bool hoist_scales(Graph& graph);

// Identity, Dropout, casts to the same type, transposes and reshapes to the same shape disappear.
bool remove_noops(Graph& graph);

// An operator that only moves values (QuantRule::kSameScale) and does so on 8-bit tensors, as ONNX Runtime's
// QOperator format has it, stands between DequantizeLinear and QuantizeLinear instead.
bool quantize_moved_bytes(Graph& graph);

// What only moves values that were all dequantized with the same parameters gets a QuantizeLinear and
// DequantizeLinear with these behind it, so that its readers see 8 bits too. Exact: its results lie on the
// grid of its inputs.
bool carry_scales(Graph& graph);

// A QuantizeLinear that alone reads a Concat comes before it: each input that is not 8-bit already gets its
// part of the scales. Exact, and the concatenation is one of bytes.
bool quantize_before_concat(Graph& graph);

// A scaled MatMulInteger or ConvInteger by constant weights, as dynamic quantization writes it, becomes the
// product of dequantized factors (up to float rounding).
bool dequantize_products(Graph& graph);

// Constants of one type, shape and content become one. Not a part of canonicalize(): who changes the weights
// of a layer must find them its own.
bool merge_constants(Graph& graph);

// What computes in 16-bit floats computes in float32 instead, weights included; inputs and outputs of the
// graph keep their types.
bool widen_half(Graph& graph);

}  // namespace octet
