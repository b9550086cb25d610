// What --effort default and best have time for beside the first recipe.
#pragma once

#include "pipeline/recipe.h"

namespace octet {

// Work of correcting all layers over the samples: seconds of one core of a common processor, as counted from
// the network's shapes. The same on every machine and in every run, so that what depends on it can be
// reproduced. Infinite where shapes are known only once data are there.
double correction_work(const RecipeSetup& setup, const Dataset& data);

// Recipes that can be tried on halves of the samples, the default one not counted, where so many multiples of
// the work are done before.
int affordable_trials(double work, double before);

// Of the whole quantization with them, as multiples of the work.
double share_of_trials(int trials);

// Work of learning all blocks once (blocks.h), in the same seconds, with this many steps.
double learning_work(const RecipeSetup& setup, const Dataset& data, const BlockOptions& options);

// What --effort best tries, so that three minutes on two cores are enough where that is possible.
struct BestPlan {
  int alternatives = 0;  // in full, beside the first recipe
  bool refits = false;   // other ridges
  int iterations = 0;    // of learned blocks; 0: none are tried
  double seconds = 0;    // of one core, all of it; infinite where nothing is known
};
BestPlan plan_best(const RecipeSetup& setup, const Dataset& data);

}  // namespace octet
