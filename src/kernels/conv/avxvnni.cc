// vpdpbusd is exact, so all blocks are alike.
#include "kernels/conv/avx2_body.h"
#include "kernels/simd/dot_avxvnni.h"

namespace octet::kernels {

namespace {

struct Dot {
  static constexpr int kPixels = 6;
  static constexpr bool kClipped = false;
  template <int P>
  static constexpr int kSets = P == 1   ? 4
                               : P <= 3 ? 2
                                        : 1;
  OCTET_FORCE_INLINE __m256i inputs(__m256i x) { return x; }
  OCTET_FORCE_INLINE __m256i weights(__m256i w) { return w; }
  OCTET_FORCE_INLINE void add(__m256i& acc, __m256i x, __m256i w) { dot(acc, x, w); }
};

}  // namespace

const ConvKernel conv_avxvnni = {
    "avxvnni", Isa::kAvxVnni, supports_dense_conv, scratch_bytes<Dot>, pieces, run<Dot, Dot, Dot>, pixels};

}  // namespace octet::kernels
