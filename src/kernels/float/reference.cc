#include "kernels/float/body.h"

namespace octet::kernels {

const FloatKernels& float_kernels_reference() {
  return kKernels;
}

}  // namespace octet::kernels
