#include "kernels/float/fixed_body.h"
#include "kernels/float/fixed_tables.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {

const FixedKernels& fixed_kernels_avx2() {
  static constexpr FixedKernels kKernels{fixed_product<Avx2, 4>, fixed_multiply_add<Avx2>};
  return kKernels;
}

}  // namespace octet::kernels
