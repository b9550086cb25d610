// Learns how the weights of a block of layers are rounded, their steps and their biases, so that what the
// block makes comes nearest to what it makes in float.
//
// A weight is exp(s) * step * (l + [p >= 1/2]): l and l + 1 are two neighbouring integers, of which one is
// the weight that the block begins with (GPTQ's), the other lies towards the exact weight. Adam moves the
// places p, the log factors s of the steps (one per output channel), the biases, and of each grid that the
// block's activations are rounded to the log factor of its scales and its zero-point against the sum over
// outputs of |y^ - y|^2 / |y|^2. Weights and activations are rounded as the engine will; gradients pass
// through by the straight-through estimator. Sources: Li et al., "BRECQ: Pushing the Limit of Post-Training
// Quantization by Block Reconstruction", ICLR 2021; Esser et al., "Learned Step Size Quantization", ICLR
// 2020.
//
// Other than there: no weighting by the Fisher information, which needs a loss of the network's outputs, and
// no soft roundings that harden as they are learned. From GPTQ's weights these lose more when they harden
// than they had gained (squeezenet1.1, 4 bits, 60 to 200 iterations: 0.5 to 6 dB a block).
#pragma once

#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "correct/gradients.h"
#include "correct/layer_data.h"

namespace octet {

struct BlockOptions {
  int iterations = 80;
  int batch = 8;            // samples
  double rate = 4e-3;       // of Adam, for p; all rates fall to zero along half a cosine
  double step_rate = 3e-3;  // for s
  double bias_rate = 3e-3;  // in deviations of the layer's sums
  double grid_rate = 3e-3;  // of the log factors of activations' scales
  double zero_rate = 0.1;   // of zero-points, in steps
  bool grids = true;        // whether activations' scales are learned,
  bool zero_points = true;  // and zero-points: of values on both sides of zero, where the target has any
};

// Where a block's data come from; both are called by several threads at once.
struct BlockData {
  std::vector<int64_t> training, held_back;
  // Writes the inputs of a sample into their slots.
  std::function<void(int64_t sample, PartSlots& s)> load;
  // The float value of an output of the part, by its index, or nothing where it has none.
  std::function<std::vector<float>(int64_t sample, size_t output)> target;
};

struct BlockGain {
  // Output error below the signal in decibels, on the held-back samples: of the weights that the block began
  // with, and of the learned ones. Mean over the outputs.
  double before_db = 0, after_db = 0;
  int64_t flipped = 0;  // weights that are rounded otherwise than before
  int64_t grids = 0;    // of activations, learned with them
};

// What was learned of a grid; with `zero_point` its zero-point may move.
struct GridChange {
  bool zero_point = false;
  float factor = 1;
  int shift = 0;
};

// `layers` and `grids` are those of the part in their order, with the biases that they have now; integers,
// steps, biases and grids become the learned ones. The same for any number of threads.
BlockGain learn_block(const GraphPart& part, std::vector<LayerWeights>& layers,
                      std::vector<GridChange>& grids, const BlockData& data, const BlockOptions& options,
                      ThreadPool& pool);

}  // namespace octet
