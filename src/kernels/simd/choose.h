// Choice from a kernel list.
#pragma once

#include <span>

#include "base/cpu.h"

namespace octet::kernels {

// The first kernel that `isa` can run; lists are ordered fastest first and end with the reference.
template <class Kernel>
const Kernel& first_for(std::span<const Kernel* const> kernels, Isa isa) {
  for (const Kernel* kernel : kernels)
    if (contains(isa, kernel->isa)) return *kernel;
  return *kernels.back();
}

}  // namespace octet::kernels
