// Changes an ONNX file as a file, so that a fuzzer gets past the parser: random bytes are seldom a model.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octet::fuzz {

// The contract of LLVMFuzzerCustomMutator: changes `data` in place, returns its new size, at most `max_size`;
// the same seed gives the same change. Three of four calls change a part of the model (a dimension, a type,
// an attribute, a constant, an input's name, an operator, a node); the others, and bytes that are no model,
// get libFuzzer's own mutation.
size_t mutate_model(uint8_t* data, size_t size, size_t max_size, unsigned seed);

}  // namespace octet::fuzz
