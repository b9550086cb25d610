#include "kernels/lut/body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {
namespace {

// Without byte permutes: the table as 128 words is looked up with x >> 1 for the even and for the odd bytes;
// the lowest bit of x then chooses a byte of each word.
struct Table {
  explicit Table(const uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + 64 * i);
  }
  // Words that contain the entries for the bytes in the low halves of x's words; bits above are ignored.
  __m512i words(__m512i x, __mmask32 upper) const {
    const __m512i index = _mm512_srli_epi16(x, 1);
    const __m512i low = _mm512_permutex2var_epi16(part[0], index, part[1]);
    const __m512i high = _mm512_permutex2var_epi16(part[2], index, part[3]);
    return _mm512_mask_mov_epi16(low, upper, high);
  }
  __m512i lookup(__m512i x) const {
    const __m512i odd = _mm512_srli_epi16(x, 8);
    __m512i e = words(x, _mm512_test_epi16_mask(x, _mm512_set1_epi16(0x80)));
    __m512i o = words(odd, _mm512_movepi16_mask(x));
    // Even results belong in the low byte, odd ones in the high byte.
    e = _mm512_mask_srli_epi16(e, _mm512_test_epi16_mask(x, _mm512_set1_epi16(1)), e, 8);
    o = _mm512_mask_slli_epi16(o, _mm512_testn_epi16_mask(odd, _mm512_set1_epi16(1)), o, 8);
    return _mm512_mask_mov_epi8(e, 0xaaaaaaaaaaaaaaaaull, o);
  }
  __m512i part[4];
};

}  // namespace

extern const LutKernel lut_avx512vnni;
const LutKernel lut_avx512vnni = {"avx512vnni", Isa::kAvx512Vnni, lut_pieces, lut_run<Avx512, Table>};

}  // namespace octet::kernels
