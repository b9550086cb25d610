#include "kernels/float/body.h"
#include "kernels/float/dot_rows.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/lanes.h"

namespace octet::kernels {
namespace {

struct Vector {
  using F = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kRows = 8, kVectors = 4;  // of tiles: of one vector, of many
  static F zero() { return _mm512_setzero_ps(); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static float sum(const F (&parts)[1]) {
    const __m256 low = _mm512_castps512_ps256(parts[0]), high = _mm512_extractf32x8_ps(parts[0], 1);
    return sum_of_lanes(_mm256_add_ps(low, high));
  }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
};

constexpr FloatKernels kKernels = kernels_with(dot_rows<Vector>);

}  // namespace

const FloatKernels& float_kernels_avx512vnni() {
  return kKernels;
}

}  // namespace octet::kernels
