// Declares what kernels.inc lists: each line is a ConvKernel octet::kernels::conv_<name>, defined in
// <name>.cc.
#pragma once

#include "kernels/conv/conv.h"

namespace octet::kernels {

#define OCTET_CONV_KERNEL(name) extern const ConvKernel conv_##name;
#include "kernels/conv/kernels.inc"
#undef OCTET_CONV_KERNEL

}  // namespace octet::kernels
