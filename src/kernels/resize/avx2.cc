#include "kernels/resize/body.h"
#include "kernels/simd/vector_avx2.h"

namespace octet::kernels {

extern const ResizeKernel resize_avx2;
const ResizeKernel resize_avx2 = {"avx2", Isa::kAvx2, resize_pieces, ResizeBody<Avx2>::run};

}  // namespace octet::kernels
