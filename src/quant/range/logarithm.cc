#include "quant/range/logarithm.h"

#include <bit>
#include <cstdint>

#include "base/cpu.h"

namespace octet {
namespace {

// No branches, so that loops of it are vectorized, and no fused operations, so that all variants agree.
inline __attribute__((always_inline)) double body(double x) {
  constexpr uint64_t kMantissa = (uint64_t{1} << 52) - 1, kOne = uint64_t{1023} << 52;
  constexpr uint64_t kSqrt2Mantissa = 0x6a09e667f3bcdull;
  constexpr uint64_t kTwo52 = uint64_t{1075} << 52;  // 2^52: integers below it are its mantissa
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const uint64_t mantissa = bits & kMantissa;
  const uint64_t halve = (kSqrt2Mantissa - mantissa) >> 63;  // 1 where the mantissa is above sqrt 2
  const double exponent = std::bit_cast<double>(((bits >> 52) + halve) | kTwo52) - (0x1p52 + 1023);
  const double m = std::bit_cast<double>((kOne | mantissa) - (halve << 52));  // sqrt(1/2) .. sqrt(2)
  // log m = 2 atanh((m - 1) / (m + 1)).
  const double s = (m - 1) / (m + 1), z = s * s;
  // Written out: a loop here keeps compilers from vectorizing the loops around it.
  double series = 1.0 / 21;
  series = series * z + 1.0 / 19;
  series = series * z + 1.0 / 17;
  series = series * z + 1.0 / 15;
  series = series * z + 1.0 / 13;
  series = series * z + 1.0 / 11;
  series = series * z + 1.0 / 9;
  series = series * z + 1.0 / 7;
  series = series * z + 1.0 / 5;
  series = series * z + 1.0 / 3;
  series = series * z + 1.0;
  return exponent * 0.693147180559945309417 + 2 * s * series;
}

void plain(double* x, size_t count) {
  for (size_t i = 0; i < count; ++i) x[i] = body(x[i]);
}

__attribute__((target("avx2"))) void avx2(double* x, size_t count) {
  for (size_t i = 0; i < count; ++i) x[i] = body(x[i]);
}

}  // namespace

double logarithm(double x) {
  return body(x);
}

void logarithms(std::span<double> x) {
  // A matter of speed alone: the bits are the same.
  static const bool wide = best_isa() >= Isa::kAvx2;
  (wide ? avx2 : plain)(x.data(), x.size());
}

}  // namespace octet
