#include "kernels/convert/body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {

extern const ConvertKernel convert_avx512vnni;
const ConvertKernel convert_avx512vnni = {"avx512vnni", Isa::kAvx512Vnni, ConvertBody<Avx512>::pieces,
                                          ConvertBody<Avx512>::run, ConvertBody<Avx512>::pixels};

}  // namespace octet::kernels
