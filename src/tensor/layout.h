// Physical order of a tensor in an engine.
#pragma once

#include <cstdint>

namespace octet {

enum class Layout : uint8_t {
  kPlain = 0,  // row-major in ONNX's logical order
  kNhwc = 1,   // a logical N,C,H,W tensor stored channels-last; the distance of two pixels may exceed C
};

}  // namespace octet
