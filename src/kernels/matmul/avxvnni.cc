// Tiles of up to 6 rows x 16 columns: each group of four values broadcasts one dword per row.
#include <array>
#include <utility>

#include "kernels/simd/dot_avxvnni.h"
#include "kernels/simd/vector_avx2.h"
// body.h uses the vectors' intrinsics.
#include "kernels/matmul/body.h"

namespace octet::kernels {
namespace {

const __m256i* vectors(const void* p) {
  return static_cast<const __m256i*>(p);
}

// The 16 columns of `packed` and `init`.
template <int P>
__attribute__((noinline)) void tile(const uint8_t* const* rows, const int32_t* terms, const int8_t* packed,
                                    int64_t k4, const int32_t* init, int32_t* out, int64_t stride) {
  __m256i acc[P][2];
  const uint8_t* x[P];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    x[p] = rows[p];
    const __m256i term = _mm256_set1_epi32(terms[p]);
    acc[p][0] = _mm256_add_epi32(_mm256_load_si256(vectors(init)), term);
    acc[p][1] = _mm256_add_epi32(_mm256_load_si256(vectors(init + 8)), term);
  }
#pragma GCC unroll 1
  for (int64_t k = 0; k < k4 * 4; k += 4, packed += 64) {
    const __m256i w0 = _mm256_load_si256(vectors(packed)), w1 = _mm256_load_si256(vectors(packed + 32));
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      int32_t dword;
      std::memcpy(&dword, x[p] + k, 4);
      const __m256i inputs = _mm256_set1_epi32(dword);
      dot(acc[p][0], inputs, w0);
      dot(acc[p][1], inputs, w1);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    auto* to = reinterpret_cast<__m256i*>(out + p * stride);
    _mm256_store_si256(to, acc[p][0]);
    _mm256_store_si256(to + 1, acc[p][1]);
  }
}

constexpr int kTileRows = 6;

template <size_t... P>
constexpr auto tile_row(std::index_sequence<P...>) {
  return std::array{tile<static_cast<int>(P) + 1>...};
}
constexpr auto kTileTable = tile_row(std::make_index_sequence<kTileRows>());

struct Tiles {
  static constexpr int64_t kRows = kTileRows;

  static void column_sums(const int8_t* packed, int64_t k4, int32_t* sums) {
    __m256i acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int64_t g = 0; g < k4; ++g)
      for (int i = 0; i < 2; ++i)
        dot(acc[i], _mm256_set1_epi8(1), _mm256_load_si256(vectors(packed + g * 64 + i * 32)));
    for (int i = 0; i < 2; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + 8 * i), acc[i]);
  }

  static void multiply(const uint8_t* const* rows, const int32_t* terms, int64_t count, const PackedRight& p,
                       int32_t* out, int64_t stride) {
    for (int64_t block = 0; block < p.blocks; ++block)
      kTileTable[static_cast<size_t>(count - 1)](rows, terms, p.bytes + block * p.k4 * 64, p.k4,
                                                 p.init + block * 16, out + block * 16, stride);
  }
};

}  // namespace

extern const MatMulKernel matmul_avxvnni;
const MatMulKernel matmul_avxvnni = {"avxvnni",
                                     Isa::kAvxVnni,
                                     matmul_scratch<Tiles>,
                                     matmul<Avx2, Tiles>,
                                     attention_scratch<Tiles>,
                                     attention<Avx2, Tiles>};

}  // namespace octet::kernels
