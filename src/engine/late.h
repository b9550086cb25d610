// Shapes that only the data decide: how many elements are not zero, what Reshape is told by another step.
//
// A run-time symbol (Symbol::at_run) has no value until a step has written the first tensor of that
// dimension. A tensor whose shape, or whose parent's, mentions one is late: it has no place in the arena but
// memory of its own, which grows with the largest shape seen, and every step that touches it is prepared
// during the run, again whenever the shapes differ from the last time.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/model.h"

namespace octet::engine {

class LateShapes {
 public:
  explicit LateShapes(const Model& model);

  bool any() const { return any_; }
  bool late(int32_t tensor) const { return tensor >= 0 && late_[static_cast<size_t>(tensor)]; }
  bool touches(const StepDef& step) const;
  const std::vector<bool>& all() const { return late_; }

  // A run begins: no run-time symbol has a value.
  void begin(const SymbolValues& fixed) { symbols_ = fixed; }
  // Whether every symbol of the tensor's shape has a value.
  bool known(int32_t tensor) const;
  // Gives a late tensor with known symbols, and its parent, its shape and memory.
  void settle(int32_t tensor, std::vector<Shape>& shapes, std::vector<std::byte*>& memory);
  // A step has made the tensor in this shape: gives values to its symbols. Throws Error where the shape
  // contradicts the tensor's expressions.
  void learn(int32_t tensor, const Shape& shape);

  int64_t bytes() const;

 private:
  void settle_one(int32_t tensor, std::vector<Shape>& shapes, std::vector<std::byte*>& memory);

  const Model& model_;
  bool any_ = false;
  std::vector<bool> late_;
  std::vector<std::vector<std::string>> needs_;  // run-time symbols of each tensor's shape
  std::vector<Tensor> own_;                      // memory of late tensors that are no views
  SymbolValues symbols_;
};

// The run-time symbols that each tensor's shape mentions.
std::vector<std::vector<std::string>> run_symbols(const Model& model);

}  // namespace octet::engine
