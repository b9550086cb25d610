#include "kernels/norm/norm.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const NormKernel kernel;
#include "kernels/norm/kernels.inc"
#undef OCTET_KERNEL

std::span<const NormKernel* const> norm_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const NormKernel* kKernels[] = {
#include "kernels/norm/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const NormKernel& choose_norm(Isa isa) {
  return first_for(norm_kernels(), isa);
}

}  // namespace octet::kernels
