#include "kernels/resize/resize.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const ResizeKernel kernel;
#include "kernels/resize/kernels.inc"
#undef OCTET_KERNEL

std::span<const ResizeKernel* const> resize_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const ResizeKernel* kKernels[] = {
#include "kernels/resize/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const ResizeKernel& choose_resize(Isa isa) {
  return first_for(resize_kernels(), isa);
}

}  // namespace octet::kernels
