#include "kernels/generic/math.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace octet::kernels::generic {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kRoundMagic = 0x1.8p52;

double power_of_two(int64_t n) {  // -1022 <= n <= 1023
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

struct Reduced {
  double r;  // in [-pi/4, pi/4]
  int quadrant;
};

// Subtracts a multiple of pi/2 given in three parts of 33 bits (Cody and Waite); exact enough for |x| < 2^20
// * pi/2. Larger arguments are reduced with the exact remainder of 2 pi first, as the double nearest to 2 pi.
Reduced reduce(double x) {
  if (std::fabs(x) > 1e6) x = std::fmod(x, 0x1.921fb54442d18p+2);
  const double n = (x * 0x1.45f306dc9c883p-1 + kRoundMagic) - kRoundMagic;
  double r = x - n * 0x1.921fb54400000p+0;
  r -= n * 0x1.0b4611a600000p-34;
  r -= n * 0x1.3198a2e037073p-69;
  return {r, static_cast<int>(static_cast<int64_t>(n) & 3)};
}

double sin_series(double r) {
  const double z = r * r;
  double p = 1.0 / 355687428096000.0;
  for (double c : {-1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0, 1.0 / 362880.0,
                   -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0})
    p = p * z + c;
  return r + r * z * p;
}

double cos_series(double r) {
  const double z = r * r;
  double p = -1.0 / 6402373705728000.0;
  for (double c : {1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
                   1.0 / 40320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5})
    p = p * z + c;
  return 1.0 + z * p;
}

}  // namespace

double exp_exact(double x) noexcept {
  if (!(x == x)) return x;
  if (x > 709.0) return x > 709.8 ? kInfinity : exp_exact(x * 0.5) * exp_exact(x * 0.5);
  if (x < -708.0) return x < -746.0 ? 0.0 : exp_exact(x * 0.5) * exp_exact(x * 0.5);
  const double n = (x * 0x1.71547652b82fep+0 + kRoundMagic) - kRoundMagic;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1.0 / 87178291200.0;  // Taylor, r^14 / 14!
  for (double c : {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
                   1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0})
    p = p * r + c;
  return (1.0 + p * r) * power_of_two(static_cast<int64_t>(n));
}

double log_exact(double x) noexcept {
  if (!(x == x) || x < 0.0) return kNan;
  if (x == 0.0) return -kInfinity;
  if (x == kInfinity) return x;
  int64_t exponent = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    exponent = -54;
  }
  uint64_t bits = std::bit_cast<uint64_t>(x);
  exponent += static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1.0) / (m + 1.0), z = s * s;  // log m = 2 atanh s, |s| <= 0.172
  double p = 1.0 / 21.0;
  for (double c : {1.0 / 19.0, 1.0 / 17.0, 1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0,
                   1.0 / 5.0, 1.0 / 3.0})
    p = p * z + c;
  const double e = static_cast<double>(exponent);
  return e * kLn2High + (e * kLn2Low + 2.0 * (s + s * z * p));
}

double pow_exact(double base, double exponent) noexcept {
  if (exponent == 0.0 || base == 1.0) return 1.0;
  if (!(base == base) || !(exponent == exponent)) return kNan;
  if (exponent == 1.0) return base;
  if (exponent == 2.0) return base * base;
  if (exponent == 0.5 && base >= 0.0) return std::sqrt(base);
  const bool whole = std::fabs(exponent) >= 0x1p53 || exponent == std::floor(exponent);
  const bool odd = whole && std::fabs(exponent) < 0x1p53 && std::fmod(exponent, 2.0) != 0.0;
  const double sign = odd && std::signbit(base) ? -1.0 : 1.0;
  const double magnitude = std::fabs(base);
  if (magnitude == 0.0) return sign * (exponent > 0.0 ? 0.0 : kInfinity);
  if (magnitude == kInfinity) return sign * (exponent > 0.0 ? kInfinity : 0.0);
  if (magnitude == 1.0 && whole) return sign;
  if (std::fabs(exponent) == kInfinity) return (magnitude > 1.0) == (exponent > 0.0) ? kInfinity : 0.0;
  if (base < 0.0 && !whole) return kNan;
  if (whole && std::fabs(exponent) <= 64.0) {
    double result = 1.0, square = magnitude;
    for (auto n = static_cast<uint32_t>(std::fabs(exponent)); n != 0; n >>= 1) {
      if ((n & 1) != 0) result *= square;
      square *= square;
    }
    return sign * (exponent > 0.0 ? result : 1.0 / result);
  }
  return sign * exp_exact(exponent * log_exact(magnitude));
}

double sin_exact(double x) noexcept {
  if (!(std::fabs(x) < kInfinity)) return kNan;
  const auto [r, quadrant] = reduce(x);
  const double v = (quadrant & 1) != 0 ? cos_series(r) : sin_series(r);
  return (quadrant & 2) != 0 ? -v : v;
}

double cos_exact(double x) noexcept {
  if (!(std::fabs(x) < kInfinity)) return kNan;
  const auto [r, quadrant] = reduce(x);
  const double v = (quadrant & 1) != 0 ? sin_series(r) : cos_series(r);
  return quadrant == 1 || quadrant == 2 ? -v : v;
}

}  // namespace octet::kernels::generic
