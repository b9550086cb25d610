#include "kernels/matmul/matmul.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const MatMulKernel kernel;
#include "kernels/matmul/kernels.inc"
#undef OCTET_KERNEL

std::span<const MatMulKernel* const> matmul_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const MatMulKernel* kKernels[] = {
#include "kernels/matmul/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const MatMulKernel& choose_matmul(Isa isa) {
  return first_for(matmul_kernels(), isa);
}

}  // namespace octet::kernels
