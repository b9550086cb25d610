#include "pipeline/recipe_search.h"

#include <algorithm>
#include <cmath>

#include "build/build.h"
#include "data/subset.h"
#include "pipeline/text.h"
#include "pipeline/trial_budget.h"
#include "report/output_quality.h"

namespace octet {
namespace {

constexpr int64_t kHeldBack = 5;  // every fifth sample, where they are few
constexpr double kNothingLost = 1e9;
// Decibels that an alternative must win by: on one half of the samples luck is larger.
constexpr double kMargin = 0.1, kMarginOfFew = 0.5;
// Other ridges of the refit follow the samples more or less closely, which their own halves flatter.
constexpr double kMarginOfRefits = 0.5;
constexpr double kMarginOfBlocks = 0.2;            // and more than nothing on either half
constexpr double kHopeless = 1;                    // decibels behind the best on the first half
constexpr double kOtherTargets = 0.6;              // of the work of correcting
constexpr int64_t kLookBytes = int64_t{64} << 20;  // of weights of engines that run side by side

struct NamedScales {
  std::string name;
  ChannelScaleOptions options;
};

// What the user left open.
std::vector<NamedScales> ways_to_scale(const RecipeSetup& setup, const ChannelScaleOptions& first) {
  std::vector<NamedScales> ways;
  const auto add = [&](std::string name, ActivationScales scales, double least_gain, double most_alpha,
                       double room) {
    ChannelScaleOptions options = first;
    options.scales = scales;
    options.least_gain_db = least_gain;
    options.most_alpha = most_alpha;
    options.room = room;
    ways.push_back({std::move(name), options});
  };
  const double gain = first.least_gain_db, room = first.room;
  if (first.scales == ActivationScales::kAuto)
    add(fmt::format("scales per channel from {:g} dB", gain), ActivationScales::kAuto, gain, 1, room);
  if (first.scales != ActivationScales::kChannel)
    add("one scale per tensor", ActivationScales::kTensor, gain, 1, room);
  if (first.scales == ActivationScales::kTensor) return {ways.back()};
  if (setup.synthetic) return ways;
  add("scales per channel", ActivationScales::kChannel, gain, 1, room);
  add("moderate scales per channel", ActivationScales::kChannel, gain, 0.5, room);
  add("tight scales per channel", ActivationScales::kChannel, gain, 1, room / 4);
  return ways;
}

// What the table knows for every tensor, the one that it has first.
std::vector<RangeMethod> known_methods(const CalibrationTable& table) {
  std::vector<RangeMethod> methods;
  for (const RangeMethod m : {table.method, RangeMethod::kMse, RangeMethod::kMinMax, RangeMethod::kOutput}) {
    if (std::find(methods.begin(), methods.end(), m) != methods.end()) continue;
    if (std::all_of(table.tensors.begin(), table.tensors.end(),
                    [&](const auto& entry) { return entry.second.methods.count(m) > 0; }))
      methods.push_back(m);
  }
  return methods;
}

std::vector<Recipe> alternatives(const RecipeSetup& setup, const CalibrationTable& table,
                                 const Recipe& first) {
  std::vector<Recipe> recipes;
  std::vector<std::optional<RangeMethod>> methods;
  for (const RangeMethod m : known_methods(table)) methods.emplace_back(m);
  if (methods.empty()) methods.emplace_back();
  for (const auto& method : methods)
    for (const NamedScales& scales : ways_to_scale(setup, first.scales))
      recipes.push_back(
          {fmt::format("{} ranges, {}", range_method_name(method.value_or(table.method)), scales.name),
           method, scales.options, first.lambda, first.blocks});
  return recipes;
}

// The user left the choice open, and each tensor has what each method chose.
std::vector<Recipe> few_alternatives(const RecipeSetup& setup, const CalibrationTable& table,
                                     const Recipe& first) {
  const std::vector<RangeMethod> known = known_methods(table);
  const bool channels = setup.quantization.options().target->channel_scales;
  std::vector<Recipe> recipes;
  const auto add = [&](RangeMethod method, const std::string& name, ActivationScales scales, double alpha) {
    if (method == table.method && scales == first.scales.scales) return;
    if (std::find(known.begin(), known.end(), method) == known.end()) return;
    Recipe recipe = first;
    recipe.name = fmt::format("{} ranges{}", range_method_name(method), channels ? ", " + name : "");
    recipe.method = method;
    recipe.scales.scales = scales;
    recipe.scales.most_alpha = alpha;
    recipes.push_back(std::move(recipe));
  };
  const std::string some = fmt::format("scales per channel from {:g} dB", first.scales.least_gain_db);
  if (channels) {
    add(RangeMethod::kMinMax, "moderate scales per channel", ActivationScales::kChannel, 0.5);
    add(RangeMethod::kOutput, "scales per channel", ActivationScales::kChannel, 1);
    add(RangeMethod::kMinMax, some, ActivationScales::kAuto, 1);
  } else {
    add(RangeMethod::kMinMax, some, ActivationScales::kAuto, 1);
    add(RangeMethod::kOutput, some, ActivationScales::kAuto, 1);
  }
  return recipes;
}

// Some samples to quantize from, with their table, and others that judge.
struct Fold {
  Subset fit, judge;
  CalibrationTable table;
  double share = 1;  // of the rows that layers look at
};

// With `all_rows` each sample gives more of them than it does where all samples are quantized from: layers
// that are refitted to too few are worse than they will be, some recipes' more than others'.
std::vector<Fold> make_folds(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                             size_t most, bool all_rows) {
  const bool halves = data.size() >= kFewestToHalve;
  std::vector<Fold> folds;
  for (size_t f = 0; f < (halves ? most : 1); ++f) {
    std::vector<int64_t> fit, judge;
    for (int64_t i = 0; i < data.size(); ++i) {
      const bool judges = halves ? i % 2 != static_cast<int64_t>(f) : i % kHeldBack == kHeldBack - 1;
      (judges ? judge : fit).push_back(i);
    }
    const double share = all_rows ? 1 : static_cast<double>(fit.size()) / static_cast<double>(data.size());
    folds.push_back({Subset(data, std::move(fit)), Subset(data, std::move(judge)), {}, share});
    // Ranges that have seen the judges' samples would flatter scales without room.
    folds.back().table = setup.calibrate ? setup.calibrate(folds.back().fit) : table;
    if (setup.calibrate && folds.back().table.method != table.method)
      choose_method(folds.back().table, table.method);
  }
  return folds;
}

// Tries recipes and keeps the best.
class Search {
 public:
  Search(const RecipeSetup& setup, std::vector<Fold> folds, double margin)
      : setup_(setup), folds_(std::move(folds)), margin_(margin) {}

  // The most promising but the first `known`, without those that give the scales of one before them: by turns
  // by the rough result, in which poor weights may hide what activations gain, and by activations alone.
  std::vector<Recipe> promising(const std::vector<Recipe>& recipes, size_t known, size_t most) {
    const Fold& fold = folds_[0];
    const ChannelMeans means = means_over(setup_, fold.fit, "looking");
    std::vector<ActivationParams> seen;
    std::vector<size_t> indices;
    std::vector<engine::Engine> engines;  // two for each
    std::vector<std::pair<double, size_t>> orders[2];
    const auto look = [&] {
      const auto sums = measure_outputs(setup_.engine, engines, fold.judge, setup_.runner("looking"));
      for (size_t e = 0; e < engines.size(); ++e)
        orders[e % 2].emplace_back(-output_quality(sums[e]).value_or(kNothingLost), indices[e / 2]);
      engines.clear();
      indices.clear();
    };
    for (size_t i = 0; i < recipes.size(); ++i) {
      RecipeResult rough = follow_roughly(setup_, fold.table, recipes[i], means);
      if (std::find(seen.begin(), seen.end(), rough.scales.params) != seen.end()) continue;
      seen.push_back(std::move(rough.scales.params));
      if (i < known) continue;
      indices.push_back(i);
      engines.emplace_back(build_engine(rough.graph));
      engines.emplace_back(build_engine(round_activations(setup_, fold.table, recipes[i]).graph));
      if (static_cast<int64_t>(engines.size()) * weight_bytes() >= kLookBytes) look();
    }
    if (!engines.empty()) look();
    for (auto& order : orders) std::stable_sort(order.begin(), order.end());
    std::vector<size_t> taken;
    for (size_t place = 0; place < orders[0].size(); ++place)
      for (const auto& order : orders) {
        const size_t i = order[place].second;
        if (taken.size() < most && std::find(taken.begin(), taken.end(), i) == taken.end())
          taken.push_back(i);
      }
    std::vector<Recipe> best;
    best.reserve(taken.size());
    for (const size_t i : taken) best.push_back(recipes[i]);
    return best;
  }

  // Compared with the best on the same halves; with `on_each` it must be better on each.
  void attempt(const Recipe& recipe, const std::string& label, std::optional<double> margin = {},
               bool on_each = false) {
    Attempt made{recipe, {}};
    bool everywhere = true;
    for (size_t f = 0; f < folds_.size(); ++f) {
      if (f > 0 && best_ && made.quality(f) < best_->quality(f) - kHopeless) break;
      const Fold& fold = folds_[f];
      const RecipeResult result = follow(setup_, fold.table, recipe, &fold.fit, label, fold.share);
      const engine::Engine engine(build_engine(result.graph));
      made.folds.push_back(
          measure_outputs(setup_.engine, {&engine, 1}, fold.judge, setup_.runner("judging"))[0]);
      everywhere = everywhere && best_ && made.of(f) > best_->of(f);
      if (on_each && !everywhere) break;
    }
    const double db = made.quality(made.folds.size());
    // What was tried on fewer folds is told as if it had gained as much on all.
    const size_t all = best_ ? best_->folds.size() : 0;
    const double told =
        all > made.folds.size() ? db + best_->quality(all) - best_->quality(made.folds.size()) : db;
    tried_.push_back({recipe.name, db < kNothingLost ? std::optional(told) : std::nullopt});
    if (best_ && db <= best_->quality(made.folds.size()) + margin.value_or(margin_)) return;
    if (on_each && !everywhere) return;
    best_ = std::move(made);
  }

  const Recipe& best() const { return best_->recipe; }
  const Fold& fold() const { return folds_[0]; }

  // The best first, then by what they kept.
  RecipeSearch take() {
    std::stable_sort(tried_.begin(), tried_.end(), [](const TriedRecipe& a, const TriedRecipe& b) {
      return a.sqnr_db.value_or(kNothingLost) > b.sqnr_db.value_or(kNothingLost);
    });
    for (TriedRecipe& t : tried_) t.taken = t.name == best_->recipe.name;
    return {best_->recipe, std::move(tried_)};
  }

 private:
  struct Attempt {
    Recipe recipe;
    std::vector<OutputSums> folds;

    double quality(size_t count) const {
      OutputSums sums;
      for (size_t f = 0; f < std::min(count, folds.size()); ++f) sums += folds[f];
      return output_quality(sums).value_or(kNothingLost);
    }
    double of(size_t fold) const { return output_quality(folds[fold]).value_or(kNothingLost); }
  };

  int64_t weight_bytes() const {  // of an engine with weights in 8 bits
    int64_t bytes = 0;
    const Graph& graph = setup_.model.graph;
    for (ValueId v = 0; v < graph.value_slots(); ++v)
      if (graph.is_constant(v)) bytes += graph.value(v).constant->bytes() / 4;
    return bytes;
  }

  const RecipeSetup& setup_;
  const std::vector<Fold> folds_;
  const double margin_;
  std::optional<Attempt> best_;
  std::vector<TriedRecipe> tried_;
};

}  // namespace

RecipeSearch search_recipes(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                            const Recipe& first) {
  const BestPlan plan = plan_best(setup, data);
  const auto most = static_cast<size_t>(plan.alternatives);
  Search search(setup, make_folds(setup, table, data, 2, false), kMargin);
  const std::vector<Recipe> all = alternatives(setup, search.fold().table, first);
  // Never less than --effort default tries, and what a rough look adds to that.
  std::vector<Recipe> some;
  const auto add = [&](const Recipe& recipe) {
    const auto same = [&](const Recipe& r) { return r.name == recipe.name; };
    if (some.size() < most && std::none_of(some.begin(), some.end(), same) &&
        std::any_of(all.begin() + 1, all.end(), same))
      some.push_back(recipe);
  };
  for (const Recipe& recipe : few_alternatives(setup, search.fold().table, first)) add(recipe);
  for (const Recipe& recipe : search.promising(all, 1, most)) add(recipe);
  const bool blocks = setup.effort.rounding == "auto" && search.fold().fit.size() >= kFewestToLearn &&
                      !setup.effort.skips("gptq") && plan.iterations > 0;
  const bool refits = first.lambda > 0 && plan.refits;
  const size_t steps = 1 + some.size() + (refits ? 2 : 0) + (blocks ? 1 : 0);
  size_t step = 0;
  const auto label = [&] { return fmt::format("trying {}/{}", ++step, steps); };
  search.attempt(all[0], label());
  for (const Recipe& recipe : some) search.attempt(recipe, label());
  const Recipe best = search.best();
  if (refits)
    for (const double lambda : {0.3, 0.0}) {
      Recipe other = best;
      other.lambda = lambda * first.lambda;
      other.name += lambda > 0 ? ", bolder refit" : ", no refit";
      search.attempt(other, label(), kMarginOfRefits);
    }
  if (blocks) {
    Recipe other = search.best();
    other.blocks = true;
    other.iterations = plan.iterations;
    other.name += ", blocks learned";
    search.attempt(other, label(), kMarginOfBlocks, true);
  }
  return search.take();
}

RecipeSearch search_few(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                        const Recipe& first, int trials) {
  Search search(setup, make_folds(setup, table, data, 1, true), kMarginOfFew);
  std::vector<Recipe> some = few_alternatives(setup, search.fold().table, first);
  if (static_cast<int>(some.size()) > trials) some = search.promising(some, 0, static_cast<size_t>(trials));
  size_t step = 0;
  const auto label = [&] { return fmt::format("trying {}/{}", ++step, 1 + some.size()); };
  search.attempt(first, label());
  for (const Recipe& recipe : some) search.attempt(recipe, label());
  return search.take();
}

int trials_of_default(const RecipeSetup& setup, const Dataset& data) {
  const QuantizationArguments& q = setup.quantization;
  const bool open = setup.calibrate && !setup.method_given && q.method == QuantizationArguments().method &&
                    q.activation_scales == "auto" && q.weights == "int8" && !q.weights_per_tensor &&
                    !q.options().weights_only && setup.effort.effort == "default" &&
                    setup.effort.rounding == "auto" && setup.effort.skip.empty() &&
                    setup.effort.bias_correction;
  if (!open || setup.synthetic || data.size() < kFewestToHalve) return 0;
  // Other targets calibrate again behind each change of the graph, and look for tensors that stay in float.
  return affordable_trials(correction_work(setup, data),
                           q.options().target->channel_scales ? 0 : kOtherTargets);
}

}  // namespace octet
