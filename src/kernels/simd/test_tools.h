// Shared by the tests of the kernel families: seeds, numbers of cases, buffers with guard bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/pixels.h"

namespace octet::kernels::testing {

// A fresh seed, or OCTET_TEST_SEED; printed.
inline uint32_t test_seed() {
  const char* text = std::getenv("OCTET_TEST_SEED");
  const uint32_t seed =
      text ? static_cast<uint32_t>(std::strtoul(text, nullptr, 10)) : std::random_device{}();
  std::printf("OCTET_TEST_SEED=%u\n", seed);
  return seed;
}

// Number of random cases: OCTET_TEST_CASES, or `quick`.
inline int64_t test_cases(int64_t quick) {
  const char* text = std::getenv("OCTET_TEST_CASES");
  return text ? std::max<int64_t>(std::atoll(text), 1) : quick;
}

// Whether two states of an output differ in no byte outside of `pixels`, each of `stride` bytes, the first of
// which begins at byte `start`.
inline bool same_outside(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b, int64_t start,
                         const PixelRange& pixels, int64_t stride) {
  const auto size = static_cast<int64_t>(a.size());
  const int64_t first = std::clamp<int64_t>(start + pixels.first * stride, 0, size),
                last = std::clamp<int64_t>(start + pixels.last * stride, first, size);
  return a.size() == b.size() && std::equal(a.begin(), a.begin() + first, b.begin()) &&
         std::equal(a.begin() + last, a.end(), b.begin() + last);
}

// All uses share one engine, so that one seed repeats a whole test.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int64_t range(int64_t low, int64_t high) {  // both included
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  float real(float low, float high) { return std::uniform_real_distribution<float>(low, high)(engine_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(engine_); }
  uint32_t bits() { return static_cast<uint32_t>(engine_()); }

  std::vector<uint8_t> bytes(int64_t count) {
    std::vector<uint8_t> v(static_cast<size_t>(count));
    for (auto& b : v) b = static_cast<uint8_t>(engine_());
    return v;
  }
  std::vector<float> reals(int64_t count, float low, float high) {
    std::vector<float> v(static_cast<size_t>(count));
    for (auto& x : v) x = real(low, high);
    return v;
  }
  // One float per channel, padded to 64; all equal unless per_channel.
  std::vector<float> channel_array(int64_t channels, float low, float high, bool per_channel) {
    std::vector<float> v = reals((channels + 63) / 64 * 64, low, high);
    if (!per_channel) std::fill(v.begin(), v.end(), v[0]);
    return v;
  }

 private:
  std::mt19937 engine_;
};

// Runs all pieces of a call in random order and random groups.
template <class Run>
void run_pieces(Random& random, int64_t pieces, Run run) {
  std::vector<std::pair<int64_t, int64_t>> groups;
  for (int64_t i = 0; i < pieces;) {
    const int64_t n = std::min(pieces - i, random.range(1, 4));
    groups.emplace_back(i, i + n);
    i += n;
  }
  for (size_t i = groups.size(); i > 1; --i)
    std::swap(groups[i - 1], groups[static_cast<size_t>(random.range(0, static_cast<int64_t>(i) - 1))]);
  for (auto [begin, end] : groups) run(begin, end);
}

}  // namespace octet::kernels::testing
