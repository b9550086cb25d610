#include "kernels/pool/pool.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const PoolKernel kernel;
#include "kernels/pool/kernels.inc"
#undef OCTET_KERNEL

std::span<const PoolKernel* const> pool_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const PoolKernel* kKernels[] = {
#include "kernels/pool/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const PoolKernel& choose_pool(Isa isa) {
  return first_for(pool_kernels(), isa);
}

}  // namespace octet::kernels
