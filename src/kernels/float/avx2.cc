#include "kernels/float/body.h"
#include "kernels/float/dot_rows.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/lanes.h"

namespace octet::kernels {
namespace {

struct Vector {
  using F = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kRows = 4, kVectors = 2;  // of tiles: of one vector, of many
  static F zero() { return _mm256_setzero_ps(); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static float sum(const F (&parts)[2]) { return sum_of_lanes(_mm256_add_ps(parts[0], parts[1])); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
};

constexpr FloatKernels kKernels = kernels_with(dot_rows<Vector>);

}  // namespace

const FloatKernels& float_kernels_avx2() {
  return kKernels;
}

}  // namespace octet::kernels
