// The two vector loops of calibration's hot path, and the one of its per-channel statistics. All variants
// give the same bits.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace octet::scan {

inline constexpr int kBlock = 1024;  // most values of one call
inline constexpr int kBins = 4096;   // bins of one side of a histogram
inline constexpr int kSkip =
    2 * kBins;                        // bins from here on collect what is not binned: zeros, NaN, infinities
inline constexpr int kSkipBins = 16;  // several, so that runs of zeros do not wait for each other

inline constexpr int kIndexSlack = 16;  // index() may write so many behind the last

// What a block holds. Keys are ordered like the numbers they stand for, as signed integers; only finite
// values enter them.
struct Summary {
  int32_t min_key = INT32_MAX;
  int32_t max_key = INT32_MIN;
  int32_t nan = 0;
  int32_t infinite = 0;
  int32_t zero = 0;
};

float from_key(int32_t key);

// Per lane (value index modulo `lanes`): running sums and extremes of one sample.
struct Lanes {
  double* sum;
  double* square;
  float* min;
  float* max;
};

struct Functions {
  void (*summarize)(const float* x, int count, Summary& summary) noexcept;
  // The bin of each value, in their order: trunc(x * positive) for x > 0, kBins + trunc(-x * negative) for
  // x < 0; the others are left out or come as kSkip... Finite x must stay below kBins in their side. `index`
  // has room for kBlock + kIndexSlack. Returns how many were written.
  int (*index)(const float* x, int count, float positive, float negative, uint16_t* index) noexcept;
  // Value i goes to lane first + i (no wrap). Values must be finite.
  void (*accumulate)(const float* x, int64_t count, Lanes lanes) noexcept;
};

const Functions& functions(Isa isa);

}  // namespace octet::scan
