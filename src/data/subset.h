// Samples of another data set by their indices.
#pragma once

#include <utility>
#include <vector>

#include "data/dataset.h"

namespace octet {

class Subset final : public Dataset {
 public:
  // `all` must outlive this.
  Subset(const Dataset& all, std::vector<int64_t> indices) : all_(all), indices_(std::move(indices)) {}
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  const std::string& name(int64_t i) const override { return all_.name(index(i)); }
  bool images() const override { return all_.images(); }
  Sample load(int64_t i) const override { return all_.load(index(i)); }
  uint64_t content_hash() const override { return all_.content_hash(); }
  uint64_t sample_hash(int64_t i) const override { return all_.sample_hash(index(i)); }

  int64_t index(int64_t i) const { return indices_[static_cast<size_t>(i)]; }  // in the other set

 private:
  const Dataset& all_;
  std::vector<int64_t> indices_;
};

}  // namespace octet
