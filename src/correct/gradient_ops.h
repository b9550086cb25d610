// Operators of a differentiable part of a graph (gradients.h): values, and gradients by reverse mode.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "correct/columns.h"
#include "passes/groups.h"
#include "quant/quant_params.h"
#include "tensor/tensor.h"

namespace octet {

// Weights of a layer as rows, [output channel][weights of the channel], and its biases.
struct LayerFloats {
  std::vector<float> weights, bias;
};

// What is learned of an 8-bit grid: its scales times `factor`, its zero-point plus `shift`, rounded.
struct GridFloats {
  float factor = 1, shift = 0;
};

// What a part is a function of, or the gradients of a loss with respect to that.
struct PartVariables {
  std::vector<LayerFloats> layers;
  std::vector<GridFloats> grids;
};

// What one run of a part holds, by slot: a value, and the gradient of the loss with respect to it (empty
// where nobody asks for it). `kept` is by operator.
struct PartSlots {
  std::vector<std::vector<float>> values, gradients, kept;
  std::vector<float> columns, column_gradients;  // scratch
};

// Values are row-major float32 of the graph's shapes. Threads: const; a PartSlots serves one thread.
class PartOp {
 public:
  virtual ~PartOp() = default;
  virtual void forward(PartSlots& s, const PartVariables& at) const = 0;
  // Adds to the gradients of the inputs, and of the layers.
  virtual void backward(PartSlots& s, const PartVariables& at, PartVariables& gradients) const = 0;
};

// The factories take slots: `x` (and others) what is read, `y` what is made, `kept` where the operator may
// keep something between forward and backward.

// Convolution, or rows times weights; `layer` is its index in the list of layers.
std::unique_ptr<PartOp> make_layer_op(const LayerGeometry& geometry, int64_t in_height, int64_t in_width,
                                      size_t layer, size_t x, size_t y);
std::unique_ptr<PartOp> make_activation_op(const ActivationSpec& spec, size_t x, size_t y, size_t kept);
// Rounds to the grid; the gradient passes where nothing is clipped (the straight-through estimator). Channels
// are the indices of an axis with `inner` elements behind it. `grid` is the index of the variables that the
// grid has, or kNoGrid. With y = s (clip(round(x / s) + z) - z) they have the gradients
//   dy/ds = round(x / s) - x / s within the grid, its end minus z where y is clipped;
//   dy/dz = 0 within the grid, -s where y is clipped.
// Sources: Esser et al., "Learned Step Size Quantization", ICLR 2020; Bhalgat et al., "LSQ+: Improving
// Low-Bit Quantization through Learnable Offsets and Better Initialization", CVPR Workshops 2020.
constexpr size_t kNoGrid = static_cast<size_t>(-1);
std::unique_ptr<PartOp> make_round_op(const QuantParams& params, int64_t channels, int64_t inner, size_t grid,
                                      size_t x, size_t y);
// a + b or a * b with broadcasting to `shape`. An operand may be a constant instead of a slot.
struct Operand {
  size_t slot = 0;
  Shape shape;
  std::vector<float> constant = {};
};
std::unique_ptr<PartOp> make_sum_op(Operand a, Operand b, const Shape& shape, size_t y);
std::unique_ptr<PartOp> make_product_op(Operand a, Operand b, const Shape& shape, size_t y);
// The same elements, in another shape.
std::unique_ptr<PartOp> make_copy_op(size_t x, size_t y);
// y[i] = x[from[i]]: transposition, slices, enlargement to the nearest.
std::unique_ptr<PartOp> make_gather_op(std::vector<int32_t> from, size_t x, size_t y);
// Along an axis; `sizes` are what each input has from that axis on, `outer` how often.
std::unique_ptr<PartOp> make_concat_op(std::vector<size_t> x, std::vector<int64_t> sizes, int64_t outer,
                                       size_t y);

// Windows over planes of height x width.
struct PoolGeometry {
  int64_t planes = 0, height = 0, width = 0, out_height = 0, out_width = 0;
  std::vector<int64_t> kernel, strides, pads;
  bool max = false, count_padding = false;
};
std::unique_ptr<PartOp> make_pool_op(PoolGeometry geometry, size_t x, size_t y);

}  // namespace octet
