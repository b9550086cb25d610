#include "kernels/eltwise/body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {

extern const EltwiseKernel eltwise_avx512vnni;
const EltwiseKernel eltwise_avx512vnni = {"avx512vnni", Isa::kAvx512Vnni, eltwise_pieces, eltwise_run<Avx512>,
                                          eltwise_pixels};

}  // namespace octet::kernels
