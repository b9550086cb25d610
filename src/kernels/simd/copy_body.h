// Copy of one pixel's bytes, over the vectors `S` of simd/vector_*.h. May read up to 64 bytes past the end,
// writes exactly `count`.
#pragma once

#include <cstdint>

#include "kernels/simd/function_body.h"

namespace octet::kernels {

template <class S>
OCTET_FORCE_INLINE void copy_bytes(const uint8_t* from, uint8_t* to, int64_t count) {
  int64_t c = 0;
  for (; c + S::kBytes <= count; c += S::kBytes) S::store_bytes(to + c, S::load_bytes(from + c));
  if (c < count) S::store_bytes_some(to + c, S::load_bytes(from + c), count - c);
}

}  // namespace octet::kernels
