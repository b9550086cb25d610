#include "pipeline/trial_budget.h"

#include <algorithm>
#include <limits>

namespace octet {
namespace {

// Seconds for a thousand million, as measured on mobilenetv2, squeezenet1.1, ultraface and yolox_nano (within
// a fifth) with AVX-512: the products of both networks, those of the layers' sums, Gram matrices and factors,
// columns that are gathered, values behind activations, and values of the float network, which calibration
// and the passes look at.
constexpr double kMacs = 0.04, kSums = 0.02, kGram = 0.02, kFactors = 0.15, kGathered = 2.5, kMeans = 35,
                 kValues = 4, kBillion = 1e9;
constexpr double kMostSamples = 128, kMostRows = 20000, kMostOutputs = 2 << 20, kMostGram = 1.5e10;
constexpr double kWidest = 4096;  // what layer_corrector.cc takes

constexpr double kBudget = 28;   // seconds of one core: 14 on two, of 15
constexpr double kTrial = 0.75;  // of the work, on half the samples; the first look as well
constexpr int kMostTrials = 3;

// Of learning blocks, for each sample of a step: products (forward, and twice backward), and values that are
// made, rounded and differentiated. Measured on the same networks, within a fifth.
constexpr double kLearnMacs = 0.055, kLearnValues = 6.5;
constexpr double kLearnSamples = 35;  // as many more: errors before and behind, without gradients

constexpr double kBestBudget = 240;  // seconds of one core: 120 on two, of 180
constexpr double kBestTrial = 0.6;   // of the work, on half the samples, with its share of looks
constexpr double kBestOthers = 1.3;  // of the work: calibration and the report come on top
constexpr double kRefits = 2, kFolds = 2;
constexpr double kLearned = 2.5;  // times: on both halves, and every other time once more on all
constexpr double kRaced = 0.8;    // of the trials; the others end behind their first half
constexpr int kMostAlternatives = 5, kFewestAlternatives = 2;

double count_of(const Shape& shape) {
  double count = 1;
  for (const int64_t d : shape) count *= static_cast<double>(d);
  return count;
}

// Multiplications of a weighted layer for one sample; `k` and `positions` as there.
struct LayerSize {
  double channels = 0, k = 0, positions = 0, groups = 1;
};

LayerSize layer_size(const Graph& graph, const Node& node, const SymbolValues& symbols) {
  const Shape& w = graph.value(node.inputs[1]).constant->shape();
  const Shape y = evaluate(*graph.value(node.outputs[0]).shape, symbols);
  const bool conv = node.is("Conv");
  LayerSize size;
  size.groups = conv ? static_cast<double>(node.attributes.get_int("group", 1)) : 1;
  size.channels = static_cast<double>(conv ? w.at(0) : y.back());
  if (!(size.channels > 0)) return {};
  size.k = count_of(w) / size.channels;
  size.positions = count_of(y) / size.channels;
  return size;
}

double layer_work(const Graph& graph, const Node& node, const SymbolValues& symbols, double samples) {
  const auto [channels, k, positions, groups] = layer_size(graph, node, symbols);
  if (!(channels > 0)) return 0;
  const double gram = k * k * groups;
  const double rows =
      std::min({kMostRows, kMostOutputs / channels, kMostGram / std::max(1.0, gram), positions * samples});
  double work = kMacs * positions * channels * k * samples + kSums * 4 * rows * channels * k +
                kGathered * 3 * rows * k * groups + kMeans * rows * channels;
  if (k > 1 && k <= kWidest)
    work += kGram * 2 * rows * gram + kFactors * (2 * k * gram / 3 + 3 * channels * k * k);
  return work;
}

constexpr double kUnknown = std::numeric_limits<double>::infinity();

// Values that one sample makes.
double values_of(const Graph& graph, const SymbolValues& symbols) {
  double count = 0;
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    if (graph.value(v).producer != kNoId && graph.value(v).shape)
      count += count_of(evaluate(*graph.value(v).shape, symbols));
  return count;
}

// `work` of the sizes that the first sample gives; infinite where they are not known.
template <typename Work>
double with_sizes(const RecipeSetup& setup, const Dataset& data, const Work& work) {
  if (data.size() == 0) return kUnknown;
  const Sample sample = data.load(0);
  if (sample.bad) return kUnknown;
  const auto known = shapes_for(setup.engine.model(), order_inputs(setup.engine.model(), sample.inputs));
  try {
    return work(SymbolValues(known.begin(), known.end())) / kBillion;
  } catch (const Error&) {  // a symbol that only a run knows
    return kUnknown;
  }
}

}  // namespace

double correction_work(const RecipeSetup& setup, const Dataset& data) {
  const Graph& graph = setup.model.graph;
  const double samples = std::min(kMostSamples, static_cast<double>(data.size()));
  return with_sizes(setup, data, [&](const SymbolValues& symbols) {
    double work = kValues * samples * values_of(graph, symbols);
    for (const NodeId id : setup.placement.weighted)
      work += layer_work(graph, graph.node(id), symbols, samples);
    return work;
  });
}

double learning_work(const RecipeSetup& setup, const Dataset& data, const BlockOptions& options) {
  const Graph& graph = setup.model.graph;
  return with_sizes(setup, data, [&](const SymbolValues& symbols) {
    double sample = kLearnValues * values_of(graph, symbols);
    for (const NodeId id : setup.placement.weighted) {
      const auto [channels, k, positions, groups] = layer_size(graph, graph.node(id), symbols);
      sample += kLearnMacs * positions * channels * k;
    }
    return sample * (options.iterations * options.batch + kLearnSamples);
  });
}

BestPlan plan_best(const RecipeSetup& setup, const Dataset& data) {
  const double work = correction_work(setup, data);
  BestPlan plan;
  plan.seconds = kUnknown;
  const auto seconds = [&](const BestPlan& p, double learning) {
    const double trials = kRaced * kFolds * (1 + p.alternatives + (p.refits ? kRefits : 0));
    return work * (kBestOthers + kBestTrial * trials) + kLearned * learning;
  };
  // The least of what is wanted first: blocks gain least.
  for (plan.alternatives = kMostAlternatives; plan.alternatives >= kFewestAlternatives; --plan.alternatives) {
    plan.refits = plan.alternatives > kFewestAlternatives;
    plan.seconds = seconds(plan, 0);
    if (plan.seconds <= kBestBudget) break;
  }
  plan.alternatives = std::max(plan.alternatives, kFewestAlternatives);
  BlockOptions blocks;
  for (const int part : {1, 2, 4}) {
    blocks.iterations = BlockOptions().iterations / part;
    const double all = seconds(plan, learning_work(setup, data, blocks));
    if (!(all <= kBestBudget)) continue;
    plan.iterations = blocks.iterations;
    plan.seconds = all;
    break;
  }
  return plan;
}

int affordable_trials(double work, double before) {
  for (int trials = kMostTrials; trials > 0; --trials)
    if (work * (before + share_of_trials(trials)) <= kBudget) return trials;
  return 0;
}

double share_of_trials(int trials) {
  return trials > 0 ? 1 + kTrial * (1 + trials) : 1;
}

}  // namespace octet
