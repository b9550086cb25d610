// One number for how near a quantized network's outputs are to the float network's: decibels of signal to
// noise, or, where an output is one row of probabilities, of information to information lost (Kullback and
// Leibler, "On Information and Sufficiency", 1951).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/dataset_runner.h"
#include "report/metrics.h"
#include "tensor/tensor.h"

namespace octet {

// Element i of an output belongs to part (i / inner) % count.
struct OutputParts {
  int64_t count = 1, inner = 1;
};

// Detectors join attributes of different units in one output: boxes in pixels would drown the scores. Where
// an output has many places (at least eight for each attribute) the attributes are parts: the channels of
// [N, C, positions...], or the last axis of [N, positions, attributes].
OutputParts output_parts(const Shape& shape);

// Of an output with one row of probabilities for a sample, in nats: what the reference's say more than equal
// ones (KL(p || 1/n)), and what the others lose of that (KL(p || q)). Of a row that is none: `all` is false.
struct LostInformation {
  bool all = true;
  double information = 0, lost = 0;
  LostInformation& operator+=(const LostInformation& more);
};
// Probabilities below `floor` (half a step of those in 8 bits) count as that much on both sides.
LostInformation lost_information(std::span<const float> reference, std::span<const float> other,
                                 double floor);

// What an engine's outputs differ by, by output and part; of several sets of samples it can be added up.
struct OutputSums {
  std::vector<std::vector<PairSums>> outputs;
  std::vector<LostInformation> rows;  // by output
  OutputSums& operator+=(const OutputSums& more);
};

// Of each of `others` against the reference, in one pass over the data. The same for any number of threads.
std::vector<OutputSums> measure_outputs(const engine::Engine& reference,
                                        std::span<const engine::Engine> others, const Dataset& data,
                                        const RunnerOptions& options);

// Mean over outputs of the mean over their parts of 10 log10(signal / noise), each part within -10 and 80 dB;
// parts without signal do not count. For rows of probabilities 10 log10(information / lost) stands instead.
// Nullopt: nothing differs.
std::optional<double> output_quality(const OutputSums& sums);

}  // namespace octet
