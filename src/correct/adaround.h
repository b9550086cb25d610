// Rounds the weights of a layer up or down by a learned choice.
//
// Each weight w becomes step * (floor(w / step) + h), h = clamp(1.2 sigmoid(v) - 0.1, 0, 1), and Adam moves v
// so that e^T H e + lambda * sum(1 - |2 h - 1|^beta) falls, e what the weights of an output channel lose;
// beta falls from 20 to 2, so that every h ends at 0 or 1. Source: Nagel et al., "Up or Down? Adaptive
// Rounding for Post-Training Quantization", ICML 2020, equations 21 to 25. There the loss is taken over
// mini-batches of inputs; its expectation over all of them is the form in H = E[x^ x^T] that is used here, in
// units of what rounding to the nearest loses in the channel.
#pragma once

#include "correct/rounding.h"

namespace octet {

struct AdaRoundOptions {
  int iterations = 300;
  double rate = 0.05;    // of Adam
  double lambda = 8;     // per weight
  double warm_up = 0.2;  // share of the iterations without the second term
};

// As round_gptq(), [channels][n]. No weight moves by a whole step. Empty when H is zero or not finite. The
// same for any number of threads.
std::vector<int8_t> round_adaptively(const std::vector<float>& weights, int64_t channels, int64_t n,
                                     const std::vector<double>& h, const WeightGrid& grid,
                                     const AdaRoundOptions& options, ThreadPool& pool);

}  // namespace octet
