// Block reconstruction: behind layer by layer corrections, whole blocks of layers are made to give what they
// give in float (block_learning.h), from the first to the last, each with the inputs that the quantized
// network really gives it.
//
// A block ends where one value alone goes on (behind a residual sum, a concatenation), of at least three
// layers, or at eight; or before a layer that gradients do not reach (behind an operator that gradients.h
// does not have). Every fifth sample is held back: a block that is no better there stays as it was. Samples
// of the most frequent shape take part.
#pragma once

#include <string>
#include <vector>

#include "correct/block_learning.h"
#include "correct/sequential.h"

namespace octet {

constexpr int64_t kFewestToLearn = 20;  // samples

struct ReconstructedBlock {
  std::vector<std::string> layers;  // roots
  BlockGain gain;
  bool kept = false;  // else it stays as it was
};

struct BlockReport {
  std::vector<ReconstructedBlock> blocks;
  int64_t samples = 0;   // below kFewestToLearn nothing is learned
  int64_t left_out = 0;  // of other shapes
};

// `quantized` is what correct_sequentially() left; the other arguments are as there.
BlockReport reconstruct_blocks(Graph& quantized, const Graph& reference,
                               const engine::Engine& reference_engine, const Dataset& data,
                               const BlockOptions& options, const SequentialOptions& limits,
                               const RunnerOptions& runner);

}  // namespace octet
