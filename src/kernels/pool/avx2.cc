#include "kernels/pool/body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {

extern const PoolKernel pool_avx2;
const PoolKernel pool_avx2 = {"avx2", Isa::kAvx2, PoolBody<Avx2>::scratch_bytes, PoolBody<Avx2>::pieces,
                              PoolBody<Avx2>::run};

}  // namespace octet::kernels
