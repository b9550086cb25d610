// The outputs of many samples: each output as one array, or as one for each sample where their shapes differ.
#pragma once

#include <string>
#include <vector>

#include "common.h"

namespace octet::tools {

// Samples may come in any order and from several threads, each once.
class OutputArrays {
 public:
  OutputArrays(const engine::Model& model, int64_t samples);

  // Copies the context's outputs as those of sample `index`.
  void store(int64_t index, const engine::Context& context);
  // Joins the samples along the outputs' first axis where all have one shape. Then no more store().
  void close(const std::vector<SkippedSample>& skipped);

  // Samples that were stored, in order.
  const std::vector<int64_t>& stored() const { return stored_; }
  // Whether arrays() has the outputs of the first sample, then those of the second and so on.
  bool mixed() const { return mixed_; }
  const std::vector<Tensor>& arrays() const { return arrays_; }
  int64_t rows_per_sample() const { return rows_; }

 private:
  bool same_shapes() const;

  size_t outputs_;
  std::vector<std::vector<Tensor>> samples_;
  std::vector<int64_t> stored_;
  bool mixed_ = false;
  int64_t rows_ = 1;
  std::vector<Tensor> arrays_;
};

// XXH3 over the bytes of all arrays, in order.
uint64_t arrays_hash(const std::vector<Tensor>& arrays);

}  // namespace octet::tools
