// Named parameters of a node or of an engine step.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace octet {

using Attribute = std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>, Tensor>;

// Ordered by name, so that files made from it are reproducible.
class Attributes {
 public:
  bool has(std::string_view name) const;
  const Attribute* find(std::string_view name) const;
  void set(std::string name, Attribute value);
  void erase(std::string_view name);

  // Typed access; a wrong type throws Error, a missing one gives the fallback.
  int64_t get_int(std::string_view name, int64_t fallback) const;
  float get_float(std::string_view name, float fallback) const;
  std::string get_string(std::string_view name, std::string_view fallback) const;
  std::vector<int64_t> get_ints(std::string_view name, const std::vector<int64_t>& fallback = {}) const;
  std::vector<float> get_floats(std::string_view name, const std::vector<float>& fallback = {}) const;

  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }
  bool empty() const { return values_.empty(); }

 private:
  std::map<std::string, Attribute, std::less<>> values_;
};

}  // namespace octet
