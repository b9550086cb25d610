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

double count_of(const Shape& shape) {
  double count = 1;
  for (const int64_t d : shape) count *= static_cast<double>(d);
  return count;
}

double layer_work(const Graph& graph, const Node& node, const SymbolValues& symbols, double samples) {
  const Shape& w = graph.value(node.inputs[1]).constant->shape();
  const Shape y = evaluate(*graph.value(node.outputs[0]).shape, symbols);
  const bool conv = node.is("Conv");
  const double groups = conv ? static_cast<double>(node.attributes.get_int("group", 1)) : 1;
  const auto channels = static_cast<double>(conv ? w.at(0) : y.back());
  if (!(channels > 0)) return 0;
  const double k = count_of(w) / channels, positions = count_of(y) / channels;
  const double gram = k * k * groups;
  const double rows =
      std::min({kMostRows, kMostOutputs / channels, kMostGram / std::max(1.0, gram), positions * samples});
  double work = kMacs * positions * channels * k * samples + kSums * 4 * rows * channels * k +
                kGathered * 3 * rows * k * groups + kMeans * rows * channels;
  if (k > 1 && k <= kWidest)
    work += kGram * 2 * rows * gram + kFactors * (2 * k * gram / 3 + 3 * channels * k * k);
  return work;
}

}  // namespace

double correction_work(const RecipeSetup& setup, const Dataset& data) {
  constexpr double kUnknown = std::numeric_limits<double>::infinity();
  if (data.size() == 0) return kUnknown;
  const Sample sample = data.load(0);
  if (sample.bad) return kUnknown;
  const Graph& graph = setup.model.graph;
  const auto known = shapes_for(setup.engine.model(), order_inputs(setup.engine.model(), sample.inputs));
  const SymbolValues symbols(known.begin(), known.end());
  const double samples = std::min(kMostSamples, static_cast<double>(data.size()));
  double work = 0;
  try {
    for (const NodeId id : setup.placement.weighted)
      work += layer_work(graph, graph.node(id), symbols, samples);
    for (ValueId v = 0; v < graph.value_slots(); ++v)
      if (graph.value(v).producer != kNoId && graph.value(v).shape)
        work += kValues * samples * count_of(evaluate(*graph.value(v).shape, symbols));
  } catch (const Error&) {  // a symbol that only a run knows
    return kUnknown;
  }
  return work / kBillion;
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
