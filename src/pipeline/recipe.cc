#include "pipeline/recipe.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "build/build.h"
#include "calibrate/image_input.h"
#include "correct/bias_correction.h"
#include "correct/four_bits.h"
#include "correct/layer_data.h"
#include "data/subset.h"
#include "pipeline/text.h"
#include "report/compare.h"

namespace octet {
namespace {

constexpr int64_t kAnalyticSamples = 32;
constexpr int64_t kHeldBack = 5;  // every fifth sample
constexpr int64_t kFewest = 10;   // samples that --effort best needs
// Decibels that scales per channel must promise on made-up images: these leave channels of late layers silent
// that real images use, whose scales would then clip.
constexpr double kSyntheticGain = 12;

SequentialOptions sequential_options(const RecipeSetup& setup, const Recipe& recipe) {
  SequentialOptions options;
  options.bias = !setup.effort.skips("bias-correction");
  options.gptq = !setup.effort.skips("gptq");
  options.refit = recipe.refit;
  options.layer_done = [&model = setup.model] { model.drop_pages(); };
  return options;
}

// What the calibration run saw of the channels, where a table keeps it.
ChannelMeans means_of(const CalibrationTable& table) {
  ChannelMeans means;
  for (const auto& [name, tensor] : table.tensors)
    if (!tensor.channels.mean.empty()) means[name] = tensor.channels.mean;
  return means;
}

CalibrationTable with_minmax(CalibrationTable table) {
  for (auto& [name, tensor] : table.tensors) tensor.range = {tensor.min, tensor.max};
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

RecipeResult follow(const RecipeSetup& setup, const CalibrationTable& found, const Recipe& recipe,
                    const Dataset* data, const std::string& label) {
  RecipeResult result;
  const QuantizeOptions options = setup.quantization.options();
  const CalibrationTable table = recipe.minmax ? with_minmax(found) : found;
  ChannelScaleOptions scales = scale_options(setup.quantization, setup.synthetic);
  scales.scales = recipe.scales;
  result.graph = setup.model.graph;
  result.scales = choose_activation_params(setup.model.graph, setup.placement, options, table, scales);
  ActivationParams& params = result.scales.params;
  const std::optional<ImageInput> image = image_grid(setup, result.graph, table, params);
  result.image_grid = image.has_value();
  if (image) fold_image_offset(result.graph, setup.placement, options, *image);
  if (setup.quantization.input_bytes && !image)
    fail(
        ErrorCode::kInvalidArgument,
        "--input-bytes: the model's input is no image, or its preprocessing is not affine by channel, or the "
        "target has no scales per channel");
  const SequentialOptions sequential = sequential_options(setup, recipe);
  const bool side_by_side =
      data != nullptr && setup.effort.effort != "fast" && (sequential.bias || sequential.gptq);
  if (side_by_side) {
    if (sequential.bias) add_zero_biases(result.graph, setup.placement.weighted);
  } else if (sequential.bias) {
    ChannelMeans means = means_of(table);
    if (data != nullptr) {
      std::vector<int64_t> first(std::min(data->size(), kAnalyticSamples));
      for (size_t i = 0; i < first.size(); ++i) first[i] = static_cast<int64_t>(i);
      const Subset some(*data, std::move(first));
      means = observe_channel_means(setup.engine, some, weighted_inputs(setup.model.graph, setup.placement),
                                    setup.runner(label));
    }
    if (image) shift_means(means, setup.model.graph.value(image->value).name, image->offset);
    result.corrected = correct_biases(result.graph, setup.placement, options, params, means);
  }
  result.layers = insert_qdq(result.graph, setup.placement, options, params);
  setup.model.drop_pages();
  if (image) add_image_offset(result.graph, *image);
  if (setup.quantization.weights == "int4") result.four_bits = use_four_bits(result.graph, setup.model.graph);
  if (side_by_side) {
    result.sequential = correct_sequentially(result.graph, setup.model.graph, setup.engine, *data, sequential,
                                             setup.runner(label));
    for (const LayerCorrection& layer : result.sequential->layers) result.corrected += layer.bias;
  }
  if (setup.quantization.input_bytes) take_image_bytes(result.graph, *image);
  return result;
}

}  // namespace

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

namespace {

std::vector<Recipe> alternatives(const CalibrationTable& table, const Recipe& first) {
  std::vector<Recipe> recipes;
  const std::string method(range_method_name(table.method));
  for (bool minmax : {false, true})
    for (ActivationScales scales : {first.scales, ActivationScales::kTensor})
      for (bool refit : {true, false}) {
        if (minmax && table.method == RangeMethod::kMinMax) continue;
        if (refit && !first.refit) continue;
        const bool again = scales == ActivationScales::kTensor && first.scales == ActivationScales::kTensor;
        if (again && std::any_of(recipes.begin(), recipes.end(),
                                 [&](const Recipe& r) { return r.minmax == minmax && r.refit == refit; }))
          continue;
        recipes.push_back(
            {fmt::format("{} ranges, {}, {}", minmax ? "minmax" : method,
                         scales == ActivationScales::kTensor ? "one scale per tensor" : "scales per channel",
                         refit ? "refit" : "no refit"),
             minmax, scales, refit});
      }
  return recipes;
}

std::vector<TriedRecipe> search(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                                Recipe& best) {
  std::vector<int64_t> training, held_back;
  for (int64_t i = 0; i < data.size(); ++i)
    (i % kHeldBack == kHeldBack - 1 ? held_back : training).push_back(i);
  const Subset fit(data, std::move(training)), judge(data, std::move(held_back));
  std::vector<TriedRecipe> tried;
  double most = -1e30;
  int last_taken = -1;
  const std::vector<Recipe> recipes = alternatives(table, best);
  for (size_t i = 0; i < recipes.size(); ++i) {
    const Recipe& recipe = recipes[i];
    // Where no tensor takes scales per channel, one per tensor is the same recipe again.
    if (recipe.scales == ActivationScales::kTensor && last_taken == 0) continue;
    const RecipeResult result =
        follow(setup, table, recipe, &fit, fmt::format("trying {}/{}", i + 1, recipes.size()));
    if (recipe.scales != ActivationScales::kTensor) last_taken = result.scales.taken;
    const engine::Engine engine(build_engine(result.graph));
    const auto db = quality(compare_engines(setup.engine, engine, judge, setup.runner("judging")));
    tried.push_back({recipe.name, db});
    if (db.value_or(1e9) <= most) continue;
    most = db.value_or(1e9);
    best = recipe;
  }
  std::stable_sort(tried.begin(), tried.end(), [](const TriedRecipe& a, const TriedRecipe& b) {
    return a.sqnr_db.value_or(1e9) > b.sqnr_db.value_or(1e9);
  });
  return tried;
}

}  // namespace

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

double expected_seconds(const RecipeSetup& setup, const Dataset& data) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  const auto start = Clock::now();
  const Sample sample = data.load(0);
  if (sample.bad) return 0;
  const double load = seconds(start);
  const std::vector<Tensor> inputs = order_inputs(setup.engine.model(), sample.inputs);
  ContextCache contexts;
  engine::Context& context = contexts.get(setup.engine, inputs);
  context.run(inputs);
  const auto again = Clock::now();
  context.run(inputs);
  const double once = seconds(again);
  // Passes over the data, measured on classifiers and detectors: of loading, and of running the float model.
  const bool fast = setup.effort.effort == "fast";
  double passes = fast ? 2 : 9;
  if (setup.effort.effort == "best") passes = 55;
  const auto samples = static_cast<double>(data.size());
  const int threads = setup.threads > 0 ? setup.threads : available_cpus();
  return samples * passes * (load / 3 + once) / threads;
}

namespace {

// What is left out where samples are too few for it.
void explain_few(const RecipeSetup& setup, int64_t samples, const Log& log) {
  if (samples == 0 || samples >= kFewest || setup.effort.effort == "fast") return;
  note(log, fmt::format("{}: gptq, refit{} and scales per channel need {} and are left out",
                        plural(samples, "sample"),
                        setup.effort.effort == "best" ? ", the search of --effort best" : "", kFewest));
}

}  // namespace

RecipeResult quantize_by_recipe(const RecipeSetup& setup, const CalibrationTable& table, const Log& log) {
  Recipe recipe;
  recipe.scales = setup.quantization.scale_options().scales;
  recipe.refit = !setup.effort.skips("refit") && !setup.synthetic;
  const auto data = setup.data ? setup.data(0) : nullptr;
  std::vector<TriedRecipe> tried;
  explain_few(setup, data ? data->size() : 0, log);
  if (setup.effort.effort == "best" && data != nullptr && data->size() >= kFewest)
    tried = search(setup, table, *data, recipe);
  RecipeResult result = follow(setup, table, recipe, data.get(), "correcting");
  result.tried = std::move(tried);
  return result;
}

}  // namespace octet
