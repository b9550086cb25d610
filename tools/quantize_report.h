// What quantization did and cost, for people and as JSON.
#pragma once

#include <string>
#include <vector>

#include "calibrate/channel_scales.h"
#include "common.h"
#include "pipeline/float_tensors.h"
#include "pipeline/quantize_report.h"
#include "pipeline/recipe.h"
#include "report/compare.h"

namespace octet::tools {

// Which tensors have a scale per channel, or would gain by it, and how much.
std::string scales_text(const ChosenParams& scales, bool verbose);
Json scales_json(const ChosenParams& scales);

std::string report_text(const QuantizeReport& report, bool verbose);
Json layers_json(const QuantizeReport& report);
Json outputs_json(const std::vector<LayerComparison>& outputs);

// What the corrections did.
std::string corrections_text(const RecipeResult& result);
Json corrections_json(const RecipeResult& result);

// Which tensors stay in float, and why.
std::string float_tensors_text(const FloatTensors& tensors);
Json float_tensors_json(const FloatTensors& tensors);

}  // namespace octet::tools
