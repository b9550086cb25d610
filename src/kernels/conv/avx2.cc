// vpmaddubsw adds pairs of products in int16 with saturation: it serves the blocks whose weights cannot get
// there and, with clipped weights, the others. Of few pixels these split inputs and weights into even and odd
// bytes, widened to int16, for vpmaddwd.
#include "kernels/conv/avx2_body.h"

namespace octet::kernels {

namespace {

struct Narrow {
  static constexpr int kPixels = 6;
  static constexpr bool kClipped = false;
  template <int P>
  static constexpr int kSets = 1;
  OCTET_FORCE_INLINE __m256i inputs(__m256i x) { return x; }
  OCTET_FORCE_INLINE __m256i weights(__m256i w) { return w; }
  OCTET_FORCE_INLINE void add(__m256i& acc, __m256i x, __m256i w) {
    const __m256i pairs = _mm256_maddubs_epi16(x, w);
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

struct Clipped : Narrow {
  static constexpr bool kClipped = true;
  OCTET_FORCE_INLINE void add_excess(__m256i& acc, __m256i x, __m256i excess) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(255)), excess));
  }
};

struct Wide {
  static constexpr int kPixels = 4;
  static constexpr bool kClipped = false;
  template <int P>
  static constexpr int kSets = 1;
  struct Split {
    __m256i even, odd;
  };
  OCTET_FORCE_INLINE Split inputs(__m256i x) {
    return {_mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16(x, 8)};
  }
  OCTET_FORCE_INLINE Split weights(__m256i w) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
  }
  OCTET_FORCE_INLINE void add(__m256i& acc, Split x, Split w) {
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x.even, w.even));
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x.odd, w.odd));
  }
};

}  // namespace

const ConvKernel conv_avx2 = {
    "avx2", Isa::kAvx2, supports_dense_conv, scratch_bytes<Clipped>, pieces, run<Narrow, Clipped, Wide>,
    pixels};

}  // namespace octet::kernels
