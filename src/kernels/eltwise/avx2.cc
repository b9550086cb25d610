#include "kernels/eltwise/body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {

extern const EltwiseKernel eltwise_avx2;
const EltwiseKernel eltwise_avx2 = {"avx2", Isa::kAvx2, eltwise_pieces, eltwise_run<Avx2>, eltwise_pixels};

}  // namespace octet::kernels
