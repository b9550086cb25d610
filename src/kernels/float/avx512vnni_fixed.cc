#include "kernels/float/fixed_body.h"
#include "kernels/float/fixed_tables.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {

const FixedKernels& fixed_kernels_avx512vnni() {
  static constexpr FixedKernels kKernels{fixed_product<Avx512, 12>, fixed_multiply_add<Avx512>};
  return kKernels;
}

}  // namespace octet::kernels
