// A sum of numbers whose result does not depend on their order.
#pragma once

#include <array>
#include <cstdint>

namespace octet {

// Two's complement fixed point of 192 bits in units of 2^-80: every number is rounded to a unit when it is
// added, and from there on all is integer arithmetic, so sums merge exactly. Numbers beyond +-2^76 count as
// +-2^76, NaN as 0; 2^35 numbers fit.
struct FixedSum {
  std::array<uint64_t, 3> limbs{};  // least significant first

  void add(double value);
  void add(const FixedSum& other);
  double value() const;

  friend bool operator==(const FixedSum&, const FixedSum&) = default;
};

}  // namespace octet
