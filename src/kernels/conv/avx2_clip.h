// Weights for vpmaddubsw, which adds the products of two u8 inputs and their weights in int16 with
// saturation. Only a pair of weights of one sign whose sum is beyond 128 can get there: 1 to 4 % of the pairs
// of trained networks. And inputs are seldom near 255: hardly one of these pairs gets there with the largest
// inputs that a block of pixels has. Those that do are clipped to a sum of 128; what was cut off their first
// weights, the excess, is multiplied on its own. All is made anew for each block of pixels, so that nothing
// has two copies in memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/checked.h"
#include "kernels/conv/plan.h"
#include "kernels/simd/function_body.h"
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
  uint8_t* largest;  // [runs, or 1 where they share it][run_bytes]: see find_largest
};

int64_t clipped_bytes(const ConvPlan& plan) {
  const int64_t steps = plan.runs * (plan.run_bytes / 4);
  return steps * 4 * 32 + round_up(2 * (steps + plan.runs) * 4, 64) + round_up(4 * steps + 32, 64);
}

// Whether all taps of a channel have one largest input.
bool shares_largest(const ConvPlan& plan) {
  return !plan.linear && !plan.row_runs;
}

// The largest of the inputs that output pixels [pixel, pixel + count) multiply with each value of K, or
// something larger, into `to.largest`. `pointers`: of the first pixel, as in TileArgs; `offset`: of the
// group's first channel in a run.
void find_largest(const ConvCall& call, const ConvPlan& plan, const uint8_t* const* pointers, int64_t pixel,
                  int64_t count, int64_t offset, const ClippedWeights& to) {
  const int64_t bytes = plan.run_bytes;
  const auto load = [](const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); };
  const auto raise = [&](uint8_t* largest, int64_t pixels, auto at) {  // by the pixels at(0), at(1), ...
    for (int64_t k = 0; k < bytes; k += 32) {
      __m256i a = load(largest + k), b = a;
      for (int64_t p = 0; p + 1 < pixels; p += 2) {
        a = _mm256_max_epu8(a, load(at(p) + k));
        b = _mm256_max_epu8(b, load(at(p + 1) + k));
      }
      b = _mm256_max_epu8(b, load(at(pixels - 1) + k));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(largest + k), _mm256_max_epu8(a, b));
    }
  };
  if (shares_largest(plan)) {  // of all rows that any of the pixels reads, and the pixel beside the image
    const ConvShape& s = call.shape;
    const int64_t first = pixel / s.out_w, last = (pixel + count - 1) / s.out_w;
    const int64_t top = first % s.out_h * s.stride_h - s.pad_top;
    const int64_t bottom = last % s.out_h * s.stride_h - s.pad_top + (s.kernel_h - 1) * s.dilation_h + 1;
    const int64_t from = first / s.out_h * s.in_h + std::clamp<int64_t>(top, 0, s.in_h);
    const int64_t until = last / s.out_h * s.in_h + std::clamp<int64_t>(bottom, 0, s.in_h);
    std::memcpy(to.largest, call.pad_pixel + offset, static_cast<size_t>(plan.run_bytes));
    const uint8_t* input = call.input + from * s.in_w * call.in_pixel_stride + offset;
    if (from < until)
      raise(to.largest, (until - from) * s.in_w, [&](int64_t p) { return input + p * call.in_pixel_stride; });
    return;
  }
  for (int64_t run = 0; run < plan.runs; ++run, pointers += plan.block_pixels) {
    uint8_t* largest = to.largest + run * bytes;
    std::memcpy(largest, pointers[0] + offset, static_cast<size_t>(bytes));
    raise(largest, count, [&](int64_t p) { return pointers[p] + offset; });
  }
}

// Not zero in the lanes whose pair of products with the `largest` inputs leaves int16. Only pairs of one sign
// do, and those grow with their inputs.
OCTET_FORCE_INLINE __m256i saturated(const uint8_t* largest, __m256i w) {
  int32_t dword;
  std::memcpy(&dword, largest, 4);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi32(dword), w);
  return _mm256_or_si256(_mm256_cmpeq_epi16(pairs, _mm256_set1_epi16(INT16_MAX)),
                         _mm256_cmpeq_epi16(pairs, _mm256_set1_epi16(INT16_MIN)));
}

// Whether any pair of products of the block does.
bool may_saturate(const ConvPlan& plan, const uint8_t* largest, const __m256i* weights) {
  const int64_t step = shares_largest(plan) ? 0 : plan.run_bytes;
  __m256i any = _mm256_setzero_si256();
  for (int64_t run = 0; run < plan.runs; ++run, largest += step)
    for (int64_t k = 0; k < plan.run_bytes; k += 4, weights += 2)
      for (int h = 0; h < 2; ++h)
        any = _mm256_or_si256(any, saturated(largest + k, _mm256_load_si256(weights + h)));
  return _mm256_testz_si256(any, any) == 0;
}

// `memory` is 64-byte aligned.
ClippedWeights place_clipped(const ConvPlan& plan, std::byte* memory) {
  const int64_t steps = plan.runs * (plan.run_bytes / 4);
  auto* vectors = reinterpret_cast<__m256i*>(memory);
  auto* numbers = reinterpret_cast<int32_t*>(vectors + 4 * steps);
  return {vectors,
          {{vectors + 2 * steps, numbers, numbers + 2 * steps},
           {vectors + 3 * steps, numbers + steps, numbers + 2 * steps + plan.runs}},
          reinterpret_cast<uint8_t*>(numbers) + round_up(2 * (steps + plan.runs) * 4, 64)};
}

// Clips `in`, one block of the packed weights. `offset`: of the group's first channel in a run.
void clip_weights(const ConvPlan& plan, int64_t offset, const __m256i* in, const ClippedWeights& out) {
  const __m256i ones = _mm256_set1_epi8(1), high = _mm256_set1_epi16(128), low = _mm256_set1_epi16(-128);
  __m256i* weights = out.weights;
  const uint8_t* largest = out.largest;
  const int64_t step = shares_largest(plan) ? 0 : plan.run_bytes;
  int32_t counts[2] = {0, 0};
  for (int64_t run = 0; run < plan.runs; ++run, largest += step) {
    for (int64_t k = 0; k < plan.run_bytes; k += 4)
      for (int h = 0; h < 2; ++h) {
        const __m256i w = _mm256_load_si256(in++);
        const __m256i flags = saturated(largest + k, w);
        if (_mm256_testz_si256(flags, flags) != 0) {
          _mm256_store_si256(weights++, w);
          continue;
        }
        const __m256i sum = _mm256_maddubs_epi16(ones, w);
        const __m256i excess = _mm256_sub_epi16(sum, _mm256_min_epi16(_mm256_max_epi16(sum, low), high));
        // Taken from the first weight of a pair, which keeps its sign: the second is at most 127 (-128).
        const __m256i first = _mm256_and_si256(excess, _mm256_set1_epi16(255));
        _mm256_store_si256(weights++, _mm256_sub_epi8(w, first));
        const Excess& e = out.excess[h];
        _mm256_store_si256(e.values + counts[h], excess);
        e.offsets[counts[h]] = static_cast<int32_t>(offset + k);
        ++counts[h];
      }
    for (int h = 0; h < 2; ++h) out.excess[h].ends[run] = counts[h];
  }
}

}  // namespace

}  // namespace octet::kernels
