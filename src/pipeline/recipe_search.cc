#include "pipeline/recipe_search.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "build/build.h"
#include "data/subset.h"
#include "pipeline/text.h"
#include "report/output_quality.h"

namespace octet {
namespace {

constexpr int64_t kHeldBack = 5;  // every fifth sample
constexpr size_t kPromising = 4;  // recipes that are tried in full beside the default
constexpr double kNothingLost = 1e9;

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

// Tries recipes and keeps the best.
class Search {
 public:
  Search(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& fit, const Dataset& judge)
      : setup_(setup), table_(table), fit_(fit), judge_(judge) {}

  // The most promising beside the first, without those that give the scales of one before them: by turns by
  // the rough result, in which poor weights may hide what activations gain, and by activations alone.
  std::vector<Recipe> promising(const std::vector<Recipe>& recipes) {
    const ChannelMeans means = means_over(setup_, fit_, "looking");
    std::vector<std::pair<double, size_t>> orders[2];
    std::vector<ActivationParams> seen;
    for (size_t i = 0; i < recipes.size(); ++i) {
      RecipeResult rough = follow_roughly(setup_, table_, recipes[i], means);
      if (std::find(seen.begin(), seen.end(), rough.scales.params) != seen.end()) continue;
      seen.push_back(std::move(rough.scales.params));
      if (i == 0) continue;
      orders[0].emplace_back(-judged(rough.graph), i);
      orders[1].emplace_back(-judged(round_activations(setup_, table_, recipes[i]).graph), i);
    }
    for (auto& order : orders) std::stable_sort(order.begin(), order.end());
    std::vector<size_t> taken;
    for (size_t place = 0; place < orders[0].size(); ++place)
      for (const auto& order : orders) {
        const size_t i = order[place].second;
        if (taken.size() < kPromising && std::find(taken.begin(), taken.end(), i) == taken.end())
          taken.push_back(i);
      }
    std::vector<Recipe> best;
    for (const size_t i : taken) best.push_back(recipes[i]);
    return best;
  }

  void attempt(const Recipe& recipe, const std::string& label) {
    const RecipeResult result = follow(setup_, table_, recipe, &fit_, label);
    const double db = judged(result.graph);
    found_.tried.push_back({recipe.name, db < kNothingLost ? std::optional(db) : std::nullopt});
    if (found_.tried.size() > 1 && db <= most_) return;
    most_ = db;
    found_.best = recipe;
  }

  const Recipe& best() const { return found_.best; }

  RecipeSearch take() {
    std::stable_sort(found_.tried.begin(), found_.tried.end(),
                     [](const TriedRecipe& a, const TriedRecipe& b) {
                       return a.sqnr_db.value_or(kNothingLost) > b.sqnr_db.value_or(kNothingLost);
                     });
    return std::move(found_);
  }

 private:
  double judged(const Graph& graph) const {
    const engine::Engine engine(build_engine(graph));
    return output_quality(setup_.engine, engine, judge_, setup_.runner("judging")).value_or(kNothingLost);
  }

  const RecipeSetup& setup_;
  const CalibrationTable& table_;
  const Dataset &fit_, &judge_;
  RecipeSearch found_;
  double most_ = 0;
};

}  // namespace

RecipeSearch search_recipes(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                            const Recipe& first) {
  std::vector<int64_t> training, held_back;
  for (int64_t i = 0; i < data.size(); ++i)
    (i % kHeldBack == kHeldBack - 1 ? held_back : training).push_back(i);
  const Subset fit(data, std::move(training)), judge(data, std::move(held_back));
  // Ranges that have seen the judges' samples would flatter scales without room.
  const CalibrationTable fitted = setup.calibrate ? setup.calibrate(fit) : table;
  Search search(setup, fitted, fit, judge);
  const std::vector<Recipe> all = alternatives(setup, fitted, first);
  const std::vector<Recipe> some = search.promising(all);
  const bool blocks =
      setup.effort.rounding == "auto" && fit.size() >= kFewestToLearn && !setup.effort.skips("gptq");
  const size_t steps = 1 + some.size() + (first.lambda > 0 ? 2 : 0) + (blocks ? 1 : 0);
  size_t step = 0;
  const auto label = [&] { return fmt::format("trying {}/{}", ++step, steps); };
  search.attempt(all[0], label());
  for (const Recipe& recipe : some) search.attempt(recipe, label());
  const Recipe best = search.best();
  if (first.lambda > 0)
    for (const double lambda : {0.3, 0.0}) {
      Recipe other = best;
      other.lambda = lambda * first.lambda;
      other.name += lambda > 0 ? ", bolder refit" : ", no refit";
      search.attempt(other, label());
    }
  if (blocks) {
    Recipe other = search.best();
    other.blocks = true;
    other.name += ", blocks learned";
    search.attempt(other, label());
  }
  return search.take();
}

}  // namespace octet
