// Times of whole runs and of steps.
#pragma once

#include <vector>

#include "engine/engine.h"

namespace octet::tools {

// Seconds of each run; at least one. Warms up for that many seconds first.
std::vector<double> time_runs(engine::Context& context, const std::vector<Tensor>& inputs, double warmup,
                              double duration);

// Of sorted times: the smallest that at least `part` of them do not exceed.
double quantile(const std::vector<double>& sorted, double part);

// Sorted seconds of each step, one for each run; at least one.
std::vector<std::vector<double>> time_each_step(engine::Context& context, const std::vector<Tensor>& inputs,
                                                size_t steps, double duration);

// Median seconds of each step: one run that the system interrupted must not count for a step.
std::vector<double> time_steps(engine::Context& context, const std::vector<Tensor>& inputs, size_t steps,
                               double duration);

}  // namespace octet::tools
