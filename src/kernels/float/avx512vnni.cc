#include "kernels/float/body.h"

namespace octet::kernels {

const FloatKernels& float_kernels_avx512vnni() {
  return kKernels;
}

}  // namespace octet::kernels
