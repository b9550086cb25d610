#include "kernels/lut/lut.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const LutKernel kernel;
#include "kernels/lut/kernels.inc"
#undef OCTET_KERNEL

std::span<const LutKernel* const> lut_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const LutKernel* kKernels[] = {
#include "kernels/lut/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const LutKernel& choose_lut(Isa isa) {
  return first_for(lut_kernels(), isa);
}

}  // namespace octet::kernels
