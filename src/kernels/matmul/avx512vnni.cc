// Tiles of up to 6 rows x 4 blocks of 16 columns: each group of four values broadcasts one dword per row.
#include <array>
#include <utility>

#include "kernels/simd/vector_avx512.h"
// body.h uses the vectors' intrinsics.
#include "kernels/matmul/body.h"

namespace octet::kernels {
namespace {

// GCC keeps the accumulators of _mm512_dpbusd_epi32 on the stack.
inline __attribute__((always_inline)) void dot(__m512i& acc, __m512i inputs, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(inputs), "v"(weights));
}

struct TileArgs {
  const uint8_t* const* rows;
  const int32_t* terms;
  const int8_t* packed;
  int64_t k4;
  const int32_t* init;
  int32_t* out;
  int64_t stride;
};

template <int P, int B>
__attribute__((noinline)) void tile(const TileArgs& a) {
  __m512i acc[P][B];
  const uint8_t* x[P];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    x[p] = a.rows[p];
    const __m512i term = _mm512_set1_epi32(a.terms[p]);
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) acc[p][j] = _mm512_add_epi32(_mm512_load_si512(a.init + 16 * j), term);
  }
  const int8_t* w = a.packed;
  const int64_t last = a.k4 * 4;
#pragma GCC unroll 1
  for (int64_t k = 0; k < last; k += 4, w += 64) {
    asm("" : "+r"(k));
    __m512i weights[B];
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) weights[j] = _mm512_load_si512(w + j * a.k4 * 64);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      int32_t dword;
      std::memcpy(&dword, x[p] + k, 4);
      const __m512i inputs = _mm512_set1_epi32(dword);
#pragma GCC unroll 4
      for (int j = 0; j < B; ++j) dot(acc[p][j], inputs, weights[j]);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) _mm512_store_si512(a.out + p * a.stride + 16 * j, acc[p][j]);
}

using TileFunction = void (*)(const TileArgs&);
constexpr int kTileRows = 6;

template <int B, size_t... P>
constexpr std::array<TileFunction, kTileRows + 1> tile_row(std::index_sequence<P...>) {
  return {nullptr, tile<static_cast<int>(P) + 1, B>...};
}
constexpr std::array<TileFunction, kTileRows + 1> kTileTable[4] = {
    tile_row<1>(std::make_index_sequence<kTileRows>()), tile_row<2>(std::make_index_sequence<kTileRows>()),
    tile_row<3>(std::make_index_sequence<kTileRows>()), tile_row<4>(std::make_index_sequence<kTileRows>())};

struct Tiles {
  static constexpr int64_t kRows = kTileRows;

  static void column_sums(const int8_t* packed, int64_t k4, int32_t* sums) {
    __m512i acc = _mm512_setzero_si512();
    for (int64_t g = 0; g < k4; ++g) dot(acc, _mm512_set1_epi8(1), _mm512_load_si512(packed + g * 64));
    _mm512_storeu_si512(sums, acc);
  }

  static void multiply(const uint8_t* const* rows, const int32_t* terms, int64_t count, const PackedRight& p,
                       int32_t* out, int64_t stride) {
    const int64_t tiles = divide_up(p.blocks, 4);
    for (int64_t i = 0, block = 0; i < tiles; ++i) {
      const int64_t n = p.blocks / tiles + (i < p.blocks % tiles ? 1 : 0);
      const TileArgs a{rows,  terms, p.bytes + block * p.k4 * 64, p.k4, p.init + block * 16, out + block * 16,
                       stride};
      kTileTable[n - 1][static_cast<size_t>(count)](a);
      block += n;
    }
  }
};

}  // namespace

extern const MatMulKernel matmul_avx512vnni;
const MatMulKernel matmul_avx512vnni = {
    "avx512vnni",          Isa::kAvx512Vnni,         matmul_scratch<Tiles>,
    matmul<Avx512, Tiles>, attention_scratch<Tiles>, attention<Avx512, Tiles>};

}  // namespace octet::kernels
