// A part of a tensor's pixels, which form one line: images x rows x columns; of a plain matrix its rows.
#pragma once

#include <cstdint>

namespace octet::kernels {

struct PixelRange {
  int64_t first = 0, last = 0;  // [first, last)
};

}  // namespace octet::kernels
