// Declarations of the generic operators (see generic.h for the contract).
#pragma once

#include "kernels/generic/support.h"

namespace octet::kernels::generic {

#define OCTET_GENERIC(name, function, adapt) \
  void function(const Attributes& attributes, Inputs inputs, Outputs outputs);
#include "kernels/generic/ops.inc"
#undef OCTET_GENERIC

}  // namespace octet::kernels::generic
