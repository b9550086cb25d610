// Declares what kernels.inc lists.
#pragma once

#include "kernels/conv/conv.h"

namespace octet::kernels {

#define OCTET_DEPTHWISE_KERNEL(name) extern const ConvKernel depthwise_##name;
#include "kernels/depthwise/kernels.inc"
#undef OCTET_DEPTHWISE_KERNEL

}  // namespace octet::kernels
