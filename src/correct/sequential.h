// One pass over a quantized network from its inputs to its outputs that makes each layer's output come
// nearest to the float layer's, given what the layers before it have become.
//
// Per layer, from the float inputs x and the quantized inputs x^ at a fixed sample of output positions:
// weights refitted to x^ and rounded by GPTQ (rounding.h) or AdaRound (adaround.h), then the bias that
// restores the mean of the output behind the activation (output_mean.h). Every fifth sample is held back: of
// the ways to round, and with or without the bias, the one is kept whose output is nearest to the float one
// there. Below ten samples nothing is held back, and only biases change. Very wide layers keep their weights
// too.
//
// Both networks run on the engine, a segment at a time over all samples; what lies between segments is kept
// in a ValueStore. Samples of several shapes (sentences, images of any size) run in networks of their own,
// for each shape; their rows go into the same sums. Nothing depends on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "calibrate/dataset_runner.h"
#include "graph/graph.h"

namespace octet {

struct SequentialOptions {
  bool gptq = true, adaround = false, refit = true, bias = true;
  double refit_lambda = 1;  // of 8-bit weights; 4-bit ones take 0.1, and the largest inputs first
  bool act_order = false;
  int64_t max_samples = 128;  // the first of the data
  int64_t max_shapes = 24;    // of samples; those of the rarest ones are left out
  double share_of_rows = 1;   // of the output positions that a layer looks at
  // For activations, and at most a fourth of memory_limit(); what exceeds it goes to a temporary file.
  int64_t memory_bytes = int64_t{192} << 20;
  std::function<void()>
      layer_done;  // called before the first layer and behind each: time to give mapped pages back
};

// What became of one layer.
struct LayerCorrection {
  std::string node;
  std::string rounding = "nearest";  // or "gptq", "adaround", "refit+gptq", "refit+adaround"
  bool bias = false;                 // whether it was moved
  bool too_wide = false;             // for gptq and refit: more than 4096 weights of an output channel
  bool undone = false;               // a correction made the held-back samples worse
  // Output error in decibels below the signal, on the held-back samples (on all when none are), given the
  // quantized inputs: as the layer was, with the weights, and with the bias as well.
  double before_db = 0, rounded_db = 0, after_db = 0;
};

struct SequentialReport {
  std::vector<LayerCorrection> layers;
  int64_t samples = 0;
  int64_t shapes = 0;    // of the samples
  int64_t left_out = 0;  // samples of rarer shapes
  int64_t spilled_bytes = 0;
};

// `reference` is the canonical float graph, `reference_engine` its engine; `quantized` is what insert_qdq
// made of it, and is changed: integers and scales of weights, and biases.
SequentialReport correct_sequentially(Graph& quantized, const Graph& reference,
                                      const engine::Engine& reference_engine, const Dataset& data,
                                      const SequentialOptions& options, const RunnerOptions& runner);

}  // namespace octet
