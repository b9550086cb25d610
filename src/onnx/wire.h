// Takes big payloads out of a serialized ONNX model, so that they can be used where they lie.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>

namespace octet {

struct LiftedModel {
  std::string message;  // the ModelProto without the payloads
  // raw_data of the initializers that were lifted, by their index among all initializers.
  std::map<size_t, std::span<const std::byte>> payloads;
};

// Payloads smaller than `threshold` bytes stay. nullopt when `bytes` are not well-formed.
std::optional<LiftedModel> lift_payloads(std::span<const std::byte> bytes, size_t threshold = 4096);

}  // namespace octet
