#include "kernels/eltwise/eltwise.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const EltwiseKernel kernel;
#include "kernels/eltwise/kernels.inc"
#undef OCTET_KERNEL

std::span<const EltwiseKernel* const> eltwise_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const EltwiseKernel* kKernels[] = {
#include "kernels/eltwise/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const EltwiseKernel& choose_eltwise(Isa isa) {
  return first_for(eltwise_kernels(), isa);
}

}  // namespace octet::kernels
