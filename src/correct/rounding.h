// Rounds the weights of a layer so that its output changes least.
//
// H = E[x^ x^T] over what the layer really sees, x^; D = E[(x - x^) x^T] says what its input lost before.
// Both are [n][n] for the n weights of an output channel.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace octet {

// The grid that a weight is rounded to: integers within [-limit, limit] times step[output channel] /
// divisor[input].
struct WeightGrid {
  std::vector<float> step;     // one, or one per output channel
  std::vector<float> divisor;  // per weight of an output channel, or none
  int32_t limit = 127;
  double step_of(int64_t channel, int64_t input) const {
    return static_cast<double>(step[step.size() == 1 ? 0 : channel]) /
           (divisor.empty() ? 1.0 : static_cast<double>(divisor[input]));
  }
};

// Weights [channels][n] as integers, each to the nearest.
std::vector<int8_t> round_nearest(const std::vector<float>& weights, int64_t channels, int64_t n,
                                  const WeightGrid& grid);

// Sets each step of the grid to the one of 0.40, 0.41 .. 1.00 times (largest weight / limit) that rounding
// to the nearest loses least with, in sums of squares of weights times divisors. Steps of channels without
// weights stay.
void choose_steps(const std::vector<float>& weights, int64_t channels, int64_t n, WeightGrid& grid);

// W' = W + W D (H + lambda mean(diag H) I)^-1, which makes W' x^ nearest to W x. Source: Li et al., "GPTAQ:
// Efficient Finetuning-Free Quantization for Asymmetric Calibration", 2025, in the form of a ridge
// regression. Empty when H is singular.
std::vector<float> refit_weights(const std::vector<float>& weights, int64_t channels, int64_t n,
                                 const std::vector<double>& h, const std::vector<double>& d, double lambda,
                                 ThreadPool& pool);

struct GptqOptions {
  double damping = 0.01;   // of mean(diag H), added to the diagonal
  bool act_order = false;  // weights of the largest inputs first
};

// Rounds one weight of each channel after the other and moves what it lost into those that follow. Source:
// Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022;
// computed from H = A^T A with A lower triangular: the error of the weights before i adds
// sum_j A[i][j] / A[i][i] * error[j] to weight i (the two are equal: Chen et al., "The Geometry of LLM
// Quantization: GPTQ as Babai's Nearest Plane Algorithm", 2025). Empty when H is singular.
std::vector<int8_t> round_gptq(const std::vector<float>& weights, int64_t channels, int64_t n,
                               const std::vector<double>& h, const WeightGrid& grid,
                               const GptqOptions& options, ThreadPool& pool);

// The same, and the step of each output channel: of seven around the grid's, the one whose rounded channel
// has the least error e^T H e. A grid with one step for all channels keeps it.
std::vector<int8_t> round_gptq_and_steps(const std::vector<float>& weights, int64_t channels, int64_t n,
                                         const std::vector<double>& h, WeightGrid& grid,
                                         const GptqOptions& options, ThreadPool& pool);

}  // namespace octet
