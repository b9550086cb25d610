// Quantizes by several recipes from some of the samples, judges each by the outputs for the others, and finds
// the best.
//
// --effort best: first a rough look at every combination of range methods and ways to give channels scales;
// then the whole correction for what --effort default would try, for the most promising and for the default;
// then other ridges of the refit for the best of these; then blocks learned behind it (blocks.h), which must
// win on both halves. Every recipe is followed twice, from either half of the samples, and judged by the
// other half: the difference between two recipes has a standard error of a decibel with 100 photographs for
// judges, and of two with 20. What is a decibel worse on the first half is not followed on the second. How
// many are tried, and with how many steps blocks are learned, is counted from shapes (trial_budget.h).
//
// --effort default: the same for one to three alternatives on one of the halves, where the network is so
// small that there is time for it (trial_budget.h); what wins must win by half a decibel.
//
// Below 40 samples four fifths are quantized from, and one fifth judges.
#pragma once

#include <vector>

#include "pipeline/recipe.h"

namespace octet {

constexpr int64_t kFewestToSearch = 10;  // samples
constexpr int64_t kFewestToHalve = 40;

struct RecipeSearch {
  Recipe best;
  std::vector<TriedRecipe> tried;  // with the whole correction, best first
};

// `first` is what wins where nothing is better. `table` is of all samples.
RecipeSearch search_recipes(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                            const Recipe& first);

// With at most `trials` alternatives, at least one.
RecipeSearch search_few(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                        const Recipe& first, int trials);

// How many --effort default tries: 0 where there is no time or too few samples, the samples are made up, or
// the user chose how to get ranges (or gave them), scales or weights.
int trials_of_default(const RecipeSetup& setup, const Dataset& data);

}  // namespace octet
