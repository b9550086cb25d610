#include "kernels/resize/body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {

extern const ResizeKernel resize_avx512vnni;
const ResizeKernel resize_avx512vnni = {"avx512vnni", Isa::kAvx512Vnni, resize_pieces,
                                        ResizeBody<Avx512>::run};

}  // namespace octet::kernels
