// The kernels of fixed_f32.h, one table per instruction set; all give the same bits.
#pragma once

#include "kernels/float/fixed_f32.h"

namespace octet::kernels {

const FixedKernels& fixed_kernels_reference();
const FixedKernels& fixed_kernels_avx2();
const FixedKernels& fixed_kernels_avx512vnni();

}  // namespace octet::kernels
