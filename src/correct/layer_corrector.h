// Corrects one layer of two networks that run side by side.
#pragma once

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

// The segment of `layer` is the next to run. Nullopt where the layer has a form that cannot be corrected.
std::optional<CorrectedLayer> correct_layer(SideBySide& networks, const Graph& reference,
                                            const Graph& quantized, const PairedLayer& layer,
                                            const SequentialOptions& options);

}  // namespace octet
