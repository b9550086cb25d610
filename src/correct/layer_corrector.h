// Corrects one layer of two networks that run side by side.
#pragma once

#include <span>

#include "correct/columns.h"
#include "correct/layer_data.h"
#include "correct/output_mean.h"
#include "correct/sequential.h"
#include "correct/side_by_side.h"

namespace octet {

struct CorrectedLayer {
  LayerCorrection report;
  std::optional<LayerWeights> changed;  // integers, steps and bias; nullopt where nothing is better
};

// The networks that run the samples of one shape, and the layer there. Nothing is owned.
struct LayerSite {
  SideBySide* networks = nullptr;
  const Graph *reference = nullptr, *quantized = nullptr;
  const PairedLayer* layer = nullptr;
};
// Where a sample runs, and its index there.
struct SiteSample {
  size_t site = 0;
  int64_t index = 0;
};

// The segment of the layer is the next to run at all sites, at least one, whose layers have the same weights.
// Nullopt where the layer has a form that cannot be corrected.
std::optional<CorrectedLayer> correct_layer(std::span<const LayerSite> sites,
                                            std::span<const SiteSample> samples,
                                            const SequentialOptions& options, ThreadPool& pool);

}  // namespace octet
