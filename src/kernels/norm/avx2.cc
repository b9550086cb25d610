#include "kernels/norm/body.h"
#include "kernels/norm/pixels_body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {

extern const NormKernel norm_avx2;
const NormKernel norm_avx2 = {"avx2", Isa::kAvx2, norm_run<Avx2>, norm_add_lanes<Avx2>, norm_pixels<Avx2>};

}  // namespace octet::kernels
