// Weights for vpmaddubsw, which adds the products of two u8 inputs and their weights in int16 with
// saturation. Only a pair of weights of one sign whose sum is beyond 128 can get there: 1 to 4 % of the pairs
// of trained networks. They are clipped to a sum of 128; what was cut off their first weights, the excess, is
// multiplied on its own. Both are made anew for each block of pixels, so that nothing has two copies in
// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/checked.h"
#include "kernels/conv/plan.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {

namespace {

// The excess of 8 of a block's 16 output channels: of each group of 4 values of K that has any, the excess of
// values 0 and 2 for each channel, as int16.
struct Excess {
  __m256i* values;
  int32_t* offsets;  // of the group in its run, bytes
  int32_t* ends;     // of each run, in `values`
};

struct ClippedWeights {
  __m256i* weights;  // [K / 4][2], as packed
  Excess excess[2];  // channels 0 to 7 and 8 to 15
};

int64_t clipped_bytes(const ConvPlan& plan) {
  const int64_t steps = plan.runs * (plan.run_bytes / 4);
  return steps * 2 * (2 * 32 + 4) + round_up(plan.runs * 2 * 4, 64);
}

// `memory` is 64-byte aligned.
ClippedWeights place_clipped(const ConvPlan& plan, std::byte* memory) {
  const int64_t steps = plan.runs * (plan.run_bytes / 4);
  auto* vectors = reinterpret_cast<__m256i*>(memory);
  auto* numbers = reinterpret_cast<int32_t*>(vectors + 4 * steps);
  return {vectors,
          {{vectors + 2 * steps, numbers, numbers + 2 * steps},
           {vectors + 3 * steps, numbers + steps, numbers + 2 * steps + plan.runs}}};
}

// Clips `in`, one block of the packed weights. `offset`: of the group's first channel in a run.
void clip_weights(const ConvPlan& plan, int64_t offset, const __m256i* in, const ClippedWeights& out) {
  const __m256i ones = _mm256_set1_epi8(1), high = _mm256_set1_epi16(128), low = _mm256_set1_epi16(-128);
  __m256i* weights = out.weights;
  int32_t counts[2] = {0, 0};
  for (int64_t run = 0; run < plan.runs; ++run) {
    for (int64_t k = 0; k < plan.run_bytes; k += 4)
      for (int h = 0; h < 2; ++h) {
        const __m256i w = _mm256_load_si256(in++);
        const __m256i sum = _mm256_maddubs_epi16(ones, w);
        const __m256i excess = _mm256_sub_epi16(sum, _mm256_min_epi16(_mm256_max_epi16(sum, low), high));
        // Taken from the first weight of a pair, which keeps its sign: the second is at most 127 (-128).
        const __m256i first = _mm256_and_si256(excess, _mm256_set1_epi16(255));
        _mm256_store_si256(weights++, _mm256_sub_epi8(w, first));
        const Excess& e = out.excess[h];
        _mm256_store_si256(e.values + counts[h], excess);
        e.offsets[counts[h]] = static_cast<int32_t>(offset + k);
        counts[h] += _mm256_testz_si256(excess, excess) == 0 ? 1 : 0;
      }
    for (int h = 0; h < 2; ++h) out.excess[h].ends[run] = counts[h];
  }
}

}  // namespace

}  // namespace octet::kernels
