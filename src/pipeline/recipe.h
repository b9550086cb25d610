// From ranges to a corrected Q/DQ graph: what `quantize` does behind calibration. recipe_search.h looks for
// the best of several ways to do it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/image_input.h"
#include "correct/bias_correction.h"
#include "correct/blocks.h"
#include "correct/sequential.h"
#include "data/dataset.h"
#include "pipeline/calibration.h"
#include "report/compare.h"

namespace octet {

// --effort, --rounding and --skip.
struct EffortArguments {
  std::string effort = "default";
  std::string rounding = "auto";  // or "gptq", "adaround", "brecq"
  std::vector<std::string> skip;
  bool bias_correction = true;  // --no-bias-correction is --skip bias-correction

  bool skips(std::string_view stage) const;
};

// What a recipe works on. Nothing is owned.
struct RecipeSetup {
  const FloatModel& model;
  const engine::Engine& engine;  // of the float model
  const Placement& placement;
  const QuantizationArguments& quantization;
  const EffortArguments& effort;
  int threads = 0;  // 0: one worker per available CPU
  Progress& progress;
  // The samples, at most that many; null without data.
  std::function<std::unique_ptr<Dataset>(int64_t most)> data;
  bool synthetic = false;  // the data stands in for real images
  // The table of some of the samples; null where the user gave the ranges.
  std::function<CalibrationTable(const Dataset&)> calibrate{};
  bool method_given = false;  // by the user, who wants no other

  RunnerOptions runner(std::string label) const { return {threads, &progress, std::move(label)}; }
};

// One way to get from statistics to a graph.
struct Recipe {
  std::string name = "default";
  std::optional<RangeMethod> method;  // nullopt: the ranges that the table has
  ChannelScaleOptions scales;
  double lambda = 1;                           // ridge of the refit of 8-bit weights; 0: no refit
  bool blocks = false;                         // reconstructed, behind the layers
  int iterations = BlockOptions().iterations;  // of that
};

struct TriedRecipe {
  std::string name;
  std::optional<double> sqnr_db;  // on the held-back samples
  bool taken = false;
};

struct RecipeResult {
  Graph graph;
  ChosenParams scales;
  std::vector<QuantizedLayer> layers;
  RangeMethod method = RangeMethod::kMse;  // of the ranges
  int corrected = 0;                       // biases
  int four_bits = 0;                       // layers with weights of 4 bits
  std::optional<ImageInput> image;         // where the input's grid is that of the images' bytes
  std::optional<SequentialReport> sequential;
  std::optional<BlockReport> blocks;
  std::vector<TriedRecipe> tried;  // recipe_search.h, best first
};

// Mean over the outputs of their signal to noise, so that no output drowns the others; nullopt: identical.
std::optional<double> quality(const Comparison& comparison);

// How scales per channel are chosen from these samples.
ChannelScaleOptions scale_options(const QuantizationArguments& quantization, bool synthetic);

// Seconds that --effort is expected to take from here: as counted from shapes (trial_budget.h), or from the
// time of one sample where shapes are not known, or little is corrected. `trials` recipes are tried by the
// default one.
double expected_seconds(const RecipeSetup& setup, const Dataset& data, int trials);

// The recipe that --effort default follows.
Recipe default_recipe(const RecipeSetup& setup);

// Corrected on `data`, layer by layer; without data by the formula, with what the table knows of channels.
// Layers look at this share of the rows that they look at otherwise. The input is the float model's, with
// --input-bytes too.
RecipeResult follow(const RecipeSetup& setup, const CalibrationTable& table, const Recipe& recipe,
                    const Dataset* data, const std::string& label, double share = 1);

// Means of the layers' inputs over the first samples.
ChannelMeans means_over(const RecipeSetup& setup, const Dataset& data, const std::string& label);

// First impressions of a recipe, in a hundredth of the time. The graph of the first has weights rounded to
// the nearest 8 bits and biases by the formula from these means; in the second only activations are rounded.
RecipeResult follow_roughly(const RecipeSetup& setup, const CalibrationTable& table, const Recipe& recipe,
                            const ChannelMeans& means);
RecipeResult round_activations(const RecipeSetup& setup, const CalibrationTable& table, const Recipe& recipe);

// Quantizes and corrects, by the recipe that a search found where there is one (recipe_search.h).
RecipeResult quantize_by_recipe(const RecipeSetup& setup, const CalibrationTable& table, const Log& log);

}  // namespace octet
