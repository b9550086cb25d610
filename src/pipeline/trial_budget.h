// What --effort default has time for beside its own recipe.
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

}  // namespace octet
