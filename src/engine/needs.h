// Which pieces of a step a piece of the next step waits for.
#pragma once

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "engine/model.h"
#include "engine/steps/step.h"

namespace octet::engine {

// One entry for each piece of `next`, the step behind `step` (as `defs` are), or none: where it has to wait
// for the whole of `step`, because it is not known which pixels their pieces write and read, or because it
// would overwrite what `step` still reads.
std::vector<ThreadPool::Needs> needs_of(const Model& model, std::span<const Shape> shapes, const StepDef& def,
                                        const Step& step, const StepDef& next_def, const Step& next);

}  // namespace octet::engine
