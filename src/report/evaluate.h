// Accuracy of an engine over labelled data, and its agreement with a reference.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/dataset_runner.h"
#include "report/metrics.h"

namespace octet {

struct Evaluation {
  int64_t images = 0;
  // Percent; with labels.
  std::optional<double> top1, top5;
  // With a reference: percent of samples with the reference's largest class (of the first output), and
  // distance of the outputs.
  std::optional<double> agreement;
  std::vector<std::string> names;  // of outputs
  std::vector<PairSums> outputs;   // per output
  std::vector<double> cosine;      // per output, mean over samples
  std::vector<SkippedSample> skipped;

  PairSums all() const;
};

// `labels` has one class per sample, -1 where there is none (the sample then counts for the reference only),
// or is empty. The class of a label is the index in the first output minus `class_offset`.
Evaluation evaluate_engine(const engine::Engine& engine, const engine::Engine* reference, const Dataset& data,
                           const std::vector<int64_t>& labels, int64_t class_offset,
                           const RunnerOptions& options);

}  // namespace octet
