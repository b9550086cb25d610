#include "kernels/float/body.h"

namespace octet::kernels {

const FloatKernels& float_kernels_avx2() {
  return kKernels;
}

}  // namespace octet::kernels
