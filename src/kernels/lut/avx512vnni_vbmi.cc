#include "kernels/lut/body.h"
#include "kernels/simd/vector_avx512.h"

namespace octet::kernels {
namespace {

struct Table {
  explicit Table(const uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(table + 64 * i);
  }
  __m512i lookup(__m512i x) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], x, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], x, part[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(x), high);
  }
  __m512i part[4];
};

}  // namespace

extern const LutKernel lut_avx512vnni_vbmi;
const LutKernel lut_avx512vnni_vbmi = {"avx512vnni_vbmi", Isa::kAvx512VnniVbmi, lut_pieces,
                                       lut_run<Avx512, Table>};

}  // namespace octet::kernels
