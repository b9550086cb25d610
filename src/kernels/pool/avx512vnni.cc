#include "kernels/pool/body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {

extern const PoolKernel pool_avx512vnni;
const PoolKernel pool_avx512vnni = {"avx512vnni", Isa::kAvx512Vnni, PoolBody<Avx512>::scratch_bytes,
                                    PoolBody<Avx512>::pieces, PoolBody<Avx512>::run};

}  // namespace octet::kernels
