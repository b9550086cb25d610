// Tiles of up to 4 rows x 8 columns. vpmaddubsw saturates, so both operands are split into even and odd
// bytes, widened to int16, for vpmaddwd.
#include "kernels/simd/vector_avx2.h"
// body.h uses the vectors' intrinsics.
#include "kernels/matmul/body.h"

namespace octet::kernels {
namespace {

template <int P>
__attribute__((noinline)) void tile(const uint8_t* const* rows, const int32_t* terms, const int8_t* packed,
                                    int64_t k4, const int32_t* init, int32_t* out, int64_t stride) {
  const __m256i bytes = _mm256_set1_epi16(255);
  __m256i acc[P];
  for (int p = 0; p < P; ++p)
    acc[p] = _mm256_add_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(init)),
                              _mm256_set1_epi32(terms[p]));
  for (int64_t g = 0; g < k4; ++g) {
    const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(packed + g * 64));
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), odd = _mm256_srai_epi16(w, 8);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      int32_t dword;
      std::memcpy(&dword, rows[p] + 4 * g, 4);
      const __m256i x = _mm256_set1_epi32(dword);
      acc[p] = _mm256_add_epi32(acc[p], _mm256_madd_epi16(_mm256_and_si256(x, bytes), even));
      acc[p] = _mm256_add_epi32(acc[p], _mm256_madd_epi16(_mm256_srli_epi16(x, 8), odd));
    }
  }
  for (int p = 0; p < P; ++p) _mm256_store_si256(reinterpret_cast<__m256i*>(out + p * stride), acc[p]);
}

struct Tiles {
  static constexpr int64_t kRows = 4;

  static void column_sums(const int8_t* packed, int64_t k4, int32_t* sums) {
    __m256i acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    const __m256i bytes = _mm256_set1_epi8(1), words = _mm256_set1_epi16(1);
    for (int64_t g = 0; g < k4; ++g)
      for (int i = 0; i < 2; ++i) {
        const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(packed + g * 64 + i * 32));
        acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_maddubs_epi16(bytes, w), words));
      }
    for (int i = 0; i < 2; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + 8 * i), acc[i]);
  }

  static void multiply(const uint8_t* const* rows, const int32_t* terms, int64_t count, const PackedRight& p,
                       int32_t* out, int64_t stride) {
    for (int64_t half = 0; half < 2 * p.blocks; ++half) {
      const int8_t* packed = p.bytes + half / 2 * p.k4 * 64 + half % 2 * 32;
      const int32_t* init = p.init + half * 8;
      if (count == 4)
        tile<4>(rows, terms, packed, p.k4, init, out + half * 8, stride);
      else
        for (int64_t i = 0; i < count; ++i)
          tile<1>(rows + i, terms + i, packed, p.k4, init, out + i * stride + half * 8, stride);
    }
  }
};

}  // namespace

extern const MatMulKernel matmul_avx2;
const MatMulKernel matmul_avx2 = {"avx2",
                                  Isa::kAvx2,
                                  matmul_scratch<Tiles>,
                                  matmul<Avx2, Tiles>,
                                  attention_scratch<Tiles>,
                                  attention<Avx2, Tiles>};

}  // namespace octet::kernels
