#include "kernels/convert/body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {

extern const ConvertKernel convert_avx2;
const ConvertKernel convert_avx2 = {"avx2", Isa::kAvx2, ConvertBody<Avx2>::pieces, ConvertBody<Avx2>::run,
                                    ConvertBody<Avx2>::pixels};

}  // namespace octet::kernels
