#include "kernels/norm/body.h"
#include "kernels/norm/pixels_body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {

extern const NormKernel norm_avx512vnni;
const NormKernel norm_avx512vnni = {"avx512vnni", Isa::kAvx512Vnni, norm_run<Avx512>, norm_add_lanes<Avx512>,
                                    norm_pixels<Avx512>};

}  // namespace octet::kernels
