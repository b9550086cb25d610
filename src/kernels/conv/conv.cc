#include "kernels/conv/conv.h"

#include "kernels/conv/kernels.h"
#include "kernels/depthwise/depthwise.h"

namespace octet::kernels {

namespace {

#define OCTET_CONV_KERNEL(name) &conv_##name,
constexpr const ConvKernel* kKernels[] = {
#include "kernels/conv/kernels.inc"
};
#undef OCTET_CONV_KERNEL

const ConvKernel* find(std::span<const ConvKernel* const> kernels, const ConvShape& shape, Isa isa) {
  for (const ConvKernel* kernel : kernels)
    if (contains(isa, kernel->isa) && kernel->supports(shape)) return kernel;
  return nullptr;
}

}  // namespace

std::span<const ConvKernel* const> conv_kernels() {
  return kKernels;
}

const ConvKernel& choose_conv(const ConvShape& shape, Isa isa) {
  if (shape.depthwise())
    if (const ConvKernel* kernel = find(depthwise_kernels(), shape, isa)) return *kernel;
  const ConvKernel* kernel = find(kKernels, shape, isa);
  return kernel != nullptr ? *kernel : conv_reference;
}

}  // namespace octet::kernels
