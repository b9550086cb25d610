#include "quant/range/fixed_sum.h"

#include <bit>
#include <cmath>

namespace octet {
namespace {

using Wide = unsigned __int128;

constexpr double kLargest = 0x1p76;
constexpr int kUnitExponent = -80;
constexpr int kMantissaBits = 52;
constexpr int kExponentBias = 1023;

}  // namespace

void FixedSum::add(double value) {
  if (!(value == value)) return;
  if (value > kLargest) value = kLargest;
  if (value < -kLargest) value = -kLargest;
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const int exponent = static_cast<int>(bits >> kMantissaBits & 0x7ff);
  uint64_t mantissa = (bits & ((uint64_t{1} << kMantissaBits) - 1)) | uint64_t{1} << kMantissaBits;
  int shift = exponent - kExponentBias - kMantissaBits - kUnitExponent;
  if (shift <= -(kMantissaBits + 2)) return;  // less than half a unit; zeros and subnormals too
  if (shift < 0) {
    mantissa = (mantissa + (uint64_t{1} << (-shift - 1))) >> -shift;
    shift = 0;
  }
  const Wide part = static_cast<Wide>(mantissa) << (shift & 63);
  FixedSum number;
  const int first = shift >> 6;  // 0 or 1: 53 + 104 bits at most
  number.limbs[static_cast<size_t>(first)] = static_cast<uint64_t>(part);
  number.limbs[static_cast<size_t>(first) + 1] = static_cast<uint64_t>(part >> 64);
  if (value < 0) {
    uint64_t carry = 1;
    for (uint64_t& limb : number.limbs) {
      limb = ~limb + carry;
      carry = carry != 0 && limb == 0;
    }
  }
  add(number);
}

void FixedSum::add(const FixedSum& other) {
  Wide carry = 0;
  for (size_t i = 0; i < limbs.size(); ++i) {
    carry += static_cast<Wide>(limbs[i]) + other.limbs[i];
    limbs[i] = static_cast<uint64_t>(carry);
    carry >>= 64;
  }
}

double FixedSum::value() const {
  std::array<uint64_t, 3> magnitude = limbs;
  const bool negative = limbs[2] >> 63;
  if (negative) {
    uint64_t carry = 1;
    for (uint64_t& limb : magnitude) {
      limb = ~limb + carry;
      carry = carry != 0 && limb == 0;
    }
  }
  double result = 0;
  for (size_t i = magnitude.size(); i-- > 0;) result = result * 0x1p64 + static_cast<double>(magnitude[i]);
  result = std::ldexp(result, kUnitExponent);
  return negative ? -result : result;
}

}  // namespace octet
