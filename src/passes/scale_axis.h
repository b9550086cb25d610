// Along which axis an activation may have a scale per channel.
#pragma once

namespace octet {

// Of images (rank 4) axis 1; of rows, which Gemm and MatMul read, the last one (rank 2 and 3).
inline int scale_axis(int rank) {
  return rank == 2 || rank == 3 ? rank - 1 : 1;
}

}  // namespace octet
