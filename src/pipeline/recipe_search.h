// What --effort best does: quantizes by several recipes from four fifths of the samples and judges each by
// the outputs for the others.
//
// First a rough look at every combination of range methods and ways to give channels scales; then the whole
// correction for the most promising and for the default; then other ridges of the refit for the best of
// these; then blocks learned behind it (blocks.h).
#pragma once

#include <vector>

#include "pipeline/recipe.h"

namespace octet {

constexpr int64_t kFewestToSearch = 10;  // samples

struct RecipeSearch {
  Recipe best;
  std::vector<TriedRecipe> tried;  // with the whole correction, best first
};

// `first` is what wins where nothing is better.
RecipeSearch search_recipes(const RecipeSetup& setup, const CalibrationTable& table, const Dataset& data,
                            const Recipe& first);

}  // namespace octet
