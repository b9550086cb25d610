// The outputs of many samples, each output as one array.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "common.h"

namespace octet::tools {

// Arrays grow along the outputs' first axis; samples may come in any order and from several threads.
class OutputArrays {
 public:
  OutputArrays(const engine::Model& model, int64_t samples);

  // Copies the context's outputs to the place of sample `index`. Throws Error when their shapes differ from
  // those of the samples before.
  void store(int64_t index, const engine::Context& context);
  // Closes the gaps of samples that were never stored. Then no more store().
  void close(const std::vector<SkippedSample>& skipped);

  const std::vector<Tensor>& arrays() const { return arrays_; }
  int64_t rows_per_sample() const { return rows_; }

 private:
  void allocate(const engine::Context& context);

  const engine::Model& model_;
  int64_t samples_;
  int64_t rows_ = 1;
  std::once_flag allocated_;
  std::vector<Shape> shapes_;  // of one sample
  std::vector<Tensor> arrays_;
};

// XXH3 over the bytes of all arrays, in order.
uint64_t arrays_hash(const std::vector<Tensor>& arrays);

}  // namespace octet::tools
