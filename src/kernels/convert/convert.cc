#include "kernels/convert/convert.h"

#include "kernels/simd/choose.h"

namespace octet::kernels {

#define OCTET_KERNEL(kernel) extern const ConvertKernel kernel;
#include "kernels/convert/kernels.inc"
#undef OCTET_KERNEL

std::span<const ConvertKernel* const> convert_kernels() {
#define OCTET_KERNEL(kernel) &kernel,
  static constexpr const ConvertKernel* kKernels[] = {
#include "kernels/convert/kernels.inc"
  };
#undef OCTET_KERNEL
  return kKernels;
}

const ConvertKernel& choose_convert(Isa isa) {
  return first_for(convert_kernels(), isa);
}

}  // namespace octet::kernels
