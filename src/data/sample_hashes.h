// Hashes of samples, set in any order and combined in index order.
#pragma once

#include <xxhash.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace octet {

// XXH3 over pairs of hashes: of a sample's name, then of its content.
inline uint64_t combine_hashes(const std::vector<uint64_t>& pairs) {
  return XXH3_64bits(pairs.data(), pairs.size() * sizeof(uint64_t));
}

// Threads: set() from many at once; every caller sets the same value for an index.
class SampleHashes {
 public:
  explicit SampleHashes(size_t count) : hashes_(count), known_(count) {}

  void set(size_t i, uint64_t hash) {
    hashes_[i].store(hash, std::memory_order_relaxed);
    known_[i].store(true, std::memory_order_release);
  }

  // `compute(i)` must set(i, ...); it is called where that did not happen yet.
  template <typename Name, typename Compute>
  uint64_t combine(const Name& name, const Compute& compute) const {
    std::vector<uint64_t> all;
    all.reserve(2 * hashes_.size());
    for (size_t i = 0; i < hashes_.size(); ++i) {
      if (!known_[i].load(std::memory_order_acquire)) compute(i);
      const std::string& text = name(i);
      all.push_back(XXH3_64bits(text.data(), text.size()));
      all.push_back(hashes_[i].load(std::memory_order_relaxed));
    }
    return combine_hashes(all);
  }

  // Of one sample; `compute` as in combine().
  template <typename Compute>
  uint64_t get(size_t i, const Compute& compute) const {
    if (!known_[i].load(std::memory_order_acquire)) compute(i);
    return hashes_[i].load(std::memory_order_relaxed);
  }

 private:
  std::vector<std::atomic<uint64_t>> hashes_;
  std::vector<std::atomic<bool>> known_;
};

}  // namespace octet
