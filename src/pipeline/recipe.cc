#include "pipeline/recipe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "build/build.h"
#include "calibrate/image_input.h"
#include "correct/four_bits.h"
#include "correct/layer_data.h"
#include "data/subset.h"
#include "pipeline/recipe_search.h"
#include "pipeline/text.h"
#include "pipeline/trial_budget.h"

namespace octet {
namespace {

constexpr int64_t kAnalyticSamples = 32;
// Of --effort fast, which moves biases alone: means need many samples, but few rows of each. Large networks,
// where each sample costs more and has more rows, take fewer: beyond so many seconds of correction_work().
constexpr int64_t kFastSamples = 48, kFewestFastSamples = 20;
constexpr double kFastWork = 40;
constexpr double kFastRows = 0.2;
constexpr int kTimings = 3;
// Decibels that scales per channel must promise on made-up images: these leave channels of late layers silent
// that real images use, whose scales would then clip.
constexpr double kSyntheticGain = 12;

SequentialOptions sequential_options(const RecipeSetup& setup, const Recipe& recipe) {
  SequentialOptions options;
  options.bias = !setup.effort.skips("bias-correction");
  const bool fast = setup.effort.effort == "fast";
  if (fast) options.share_of_rows = kFastRows;
  const bool fitted = !fast && !setup.effort.skips("gptq");
  options.gptq = fitted && setup.effort.rounding != "adaround";
  options.adaround = fitted && setup.effort.rounding == "adaround";
  options.refit = recipe.lambda > 0;
  if (options.refit) options.refit_lambda = recipe.lambda;
  options.layer_done = [&model = setup.model] { model.drop_pages(); };
  return options;
}

int64_t fast_samples(const RecipeSetup& setup, const Dataset& data) {
  const double work = correction_work(setup, data);  // 0 or infinite where sizes say nothing
  const double share = work > kFastWork ? kFastWork / work : 1;
  return std::max(static_cast<int64_t>(share * kFastSamples), kFewestFastSamples);
}

// What the calibration run saw of the channels, where a table keeps it.
ChannelMeans means_of(const CalibrationTable& table) {
  ChannelMeans means;
  for (const auto& [name, tensor] : table.tensors)
    if (!tensor.channels.mean.empty()) means[name] = tensor.channels.mean;
  return means;
}

CalibrationTable with_method(CalibrationTable table, std::optional<RangeMethod> method) {
  if (method) choose_method(table, *method);
  return table;
}

// The mean of each channel that the layers will see. (Values that the input is moved to keep theirs.)
void shift_means(ChannelMeans& means, const std::string& input, const std::vector<float>& offset) {
  const auto found = means.find(input);
  for (size_t c = 0; found != means.end() && c < std::min(offset.size(), found->second.size()); ++c)
    found->second[c] += offset[c];
}

// The bytes' own grid, where the input can have it at no cost: ONNX Runtime would run the Add that the rest
// of a mean takes as a pass of its own, 1 % of a small network.
std::optional<ImageInput> image_grid(const RecipeSetup& setup, const Graph& graph,
                                     const CalibrationTable& table, ActivationParams& params) {
  if (table.preprocess.empty()) return {};
  const QuantizeOptions options = setup.quantization.options();
  ActivationParams with_grid = params;
  auto image =
      use_image_grid(graph, setup.placement, options, Preprocess::parse(table.preprocess), with_grid);
  const bool adds = image && !image->offset.empty() && !setup.quantization.input_bytes;
  if (!image || (adds && options.target->quantized_sums)) return {};
  params = std::move(with_grid);
  return image;
}

// Up to what differs between the ways to correct.
RecipeResult begin_recipe(const RecipeSetup& setup, const CalibrationTable& table, const Recipe& recipe) {
  RecipeResult result;
  const QuantizeOptions options = setup.quantization.options();
  result.graph = setup.model.graph;
  result.method = table.method;
  result.scales = choose_activation_params(setup.model.graph, setup.placement, options, table, recipe.scales);
  result.image = image_grid(setup, result.graph, table, result.scales.params);
  if (result.image) fold_image_offset(result.graph, setup.placement, options, *result.image);
  if (setup.quantization.input_bytes && !result.image)
    fail(
        ErrorCode::kInvalidArgument,
        "--input-bytes: the model's input is no image, or its preprocessing is not affine by channel, or the "
        "target has no scales per channel");
  return result;
}

void correct_by_formula(const RecipeSetup& setup, RecipeResult& begun, ChannelMeans means) {
  const auto& image = begun.image;
  if (image) shift_means(means, setup.model.graph.value(image->value).name, image->offset);
  begun.corrected =
      correct_biases(begun.graph, setup.placement, setup.quantization.options(), begun.scales.params, means);
}

void insert(const RecipeSetup& setup, const Placement& placement, RecipeResult& begun) {
  begun.layers = insert_qdq(begun.graph, placement, setup.quantization.options(), begun.scales.params);
  setup.model.drop_pages();
  if (begun.image) add_image_offset(begun.graph, *begun.image);
}

}  // namespace

RecipeResult follow(const RecipeSetup& setup, const CalibrationTable& found, const Recipe& recipe,
                    const Dataset* data, const std::string& label, double share) {
  const CalibrationTable table = with_method(found, recipe.method);
  RecipeResult result = begin_recipe(setup, table, recipe);
  SequentialOptions sequential = sequential_options(setup, recipe);
  sequential.share_of_rows *= share;
  const bool side_by_side = data != nullptr && (sequential.bias || sequential.gptq || sequential.adaround);
  if (side_by_side) {
    if (setup.effort.effort == "fast") sequential.max_samples = fast_samples(setup, *data);
    if (sequential.bias) add_zero_biases(result.graph, setup.placement.weighted);
  } else if (sequential.bias) {
    correct_by_formula(setup, result, means_of(table));
  }
  insert(setup, setup.placement, result);
  if (setup.quantization.weights == "int4") result.four_bits = use_four_bits(result.graph, setup.model.graph);
  if (side_by_side) {
    result.sequential = correct_sequentially(result.graph, setup.model.graph, setup.engine, *data, sequential,
                                             setup.runner(label));
    for (const LayerCorrection& layer : result.sequential->layers) result.corrected += layer.bias;
    if (recipe.blocks) {
      BlockOptions blocks;
      blocks.iterations = recipe.iterations;
      blocks.zero_points = !setup.quantization.options().target->symmetric;
      result.blocks = reconstruct_blocks(result.graph, setup.model.graph, setup.engine, *data, blocks,
                                         sequential, setup.runner(label + " blocks"));
    }
  }
  return result;
}

RecipeResult follow_roughly(const RecipeSetup& setup, const CalibrationTable& table, const Recipe& recipe,
                            const ChannelMeans& means) {
  RecipeResult result = begin_recipe(setup, with_method(table, recipe.method), recipe);
  correct_by_formula(setup, result, means);
  insert(setup, setup.placement, result);
  return result;
}

RecipeResult round_activations(const RecipeSetup& setup, const CalibrationTable& table,
                               const Recipe& recipe) {
  RecipeResult result = begin_recipe(setup, with_method(table, recipe.method), recipe);
  Placement placement = setup.placement;
  placement.weighted.clear();
  placement.tables.clear();
  insert(setup, placement, result);
  return result;
}

ChannelMeans means_over(const RecipeSetup& setup, const Dataset& data, const std::string& label) {
  std::vector<int64_t> first(static_cast<size_t>(std::min(data.size(), kAnalyticSamples)));
  for (size_t i = 0; i < first.size(); ++i) first[i] = static_cast<int64_t>(i);
  const Subset some(data, std::move(first));
  return observe_channel_means(setup.engine, some, weighted_inputs(setup.model.graph, setup.placement),
                               setup.runner(label));
}

std::optional<double> quality(const Comparison& comparison) {
  double sum = 0;
  int count = 0;
  for (const LayerComparison& output : comparison.outputs)
    if (const auto db = output.sums.sqnr_db()) {
      sum += *db;
      ++count;
    }
  if (count == 0) return {};
  return sum / count;
}

bool EffortArguments::skips(std::string_view stage) const {
  if (stage == "bias-correction" && !bias_correction) return true;
  return std::find(skip.begin(), skip.end(), stage) != skip.end();
}

ChannelScaleOptions scale_options(const QuantizationArguments& quantization, bool synthetic) {
  ChannelScaleOptions scales = quantization.scale_options();
  if (!synthetic) return scales;
  scales.room = 0;  // real images differ from these by more than these from each other
  scales.stretch = 2;
  scales.least_gain_db = kSyntheticGain;
  return scales;
}

namespace {

// Of one core; infinite where nothing is known, or nothing is corrected layer by layer.
double counted_seconds(const RecipeSetup& setup, const Dataset& data, int trials) {
  const EffortArguments& effort = setup.effort;
  constexpr double kOthers = 0.2;  // of the work of correcting: calibration and the report
  const bool corrects = effort.effort != "fast" && !effort.skips("gptq") && data.size() >= kFewestToSearch &&
                        setup.quantization.options().target->channel_scales;
  if (!corrects || effort.rounding == "adaround") return std::numeric_limits<double>::infinity();
  if (effort.effort == "best") return plan_best(setup, data).seconds;
  double all = correction_work(setup, data) * (share_of_trials(trials) + kOthers);
  if (effort.rounding == "brecq") all += learning_work(setup, data, {});
  return all;
}

}  // namespace

double expected_seconds(const RecipeSetup& setup, const Dataset& data, int trials) {
  const int threads = setup.threads > 0 ? setup.threads : available_cpus();
  if (const double counted = counted_seconds(setup, data, trials); std::isfinite(counted))
    return counted / threads;
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  const auto start = Clock::now();
  const Sample sample = data.load(0);
  if (sample.bad) return 0;
  double load = seconds(start);
  const std::vector<Tensor> inputs = order_inputs(setup.engine.model(), sample.inputs);
  ContextCache contexts;
  engine::Context& context = contexts.get(setup.engine, inputs);
  context.run(inputs);
  double once = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTimings; ++i) {  // others may be at work as well
    const auto loading = Clock::now();
    data.load(0);
    load = std::min(load, seconds(loading));
    const auto again = Clock::now();
    context.run(inputs);
    once = std::min(once, seconds(again));
  }
  // Passes over the data, measured on classifiers and detectors: of loading, and of running the float model.
  const bool fast = setup.effort.effort == "fast";
  double passes = fast ? 3 : 9 * share_of_trials(trials);
  if (setup.effort.effort == "best") passes = 70;
  const auto samples = static_cast<double>(data.size());
  return samples * passes * (load / 3 + once) / threads;
}

namespace {

// What is left out where samples are too few for it.
void explain_few(const RecipeSetup& setup, int64_t samples, const Log& log) {
  if (samples == 0 || samples >= kFewestToSearch || setup.effort.effort == "fast") return;
  note(log,
       fmt::format("{}: gptq, refit{} and scales per channel need {} and are left out",
                   plural(samples, "sample"),
                   setup.effort.effort == "best" ? ", the search of --effort best" : "", kFewestToSearch));
}

}  // namespace

Recipe default_recipe(const RecipeSetup& setup) {
  Recipe recipe;
  recipe.scales = scale_options(setup.quantization, setup.synthetic);
  if (setup.effort.skips("refit") || setup.synthetic) recipe.lambda = 0;
  recipe.blocks = setup.effort.rounding == "brecq";
  return recipe;
}

RecipeResult quantize_by_recipe(const RecipeSetup& setup, const CalibrationTable& table, const Log& log) {
  Recipe recipe = default_recipe(setup);
  const auto data = setup.data ? setup.data(0) : nullptr;
  std::vector<TriedRecipe> tried;
  explain_few(setup, data ? data->size() : 0, log);
  std::optional<RecipeSearch> found;
  if (setup.effort.effort == "best" && data != nullptr && data->size() >= kFewestToSearch)
    found = search_recipes(setup, table, *data, recipe);
  else if (const int trials = data ? trials_of_default(setup, *data) : 0; trials > 0)
    found = search_few(setup, table, *data, recipe, trials);
  if (found) {
    recipe = std::move(found->best);
    tried = std::move(found->tried);
  }
  RecipeResult result = follow(setup, table, recipe, data.get(), "correcting");
  result.tried = std::move(tried);
  if (setup.quantization.input_bytes) take_image_bytes(result.graph, *result.image);
  return result;
}

}  // namespace octet
