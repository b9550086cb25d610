#include "report/metrics.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace octet {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Metrics, EqualInfinitiesAreNoDifference) {
  const std::array<float, 4> mask = {0, -kInf, kInf, 3};
  const PairSums sums = compare_values(mask, mask);
  EXPECT_EQ(sums.count, 2);
  EXPECT_EQ(sums.not_finite, 0);
  EXPECT_FALSE(sums.sqnr_db());
}

TEST(Metrics, OtherValuesThatAreNotFiniteAreCounted) {
  const PairSums sums = compare_values(std::array<float, 5>{kInf, kInf, 1, kNan, 2},
                                       std::array<float, 5>{-kInf, 1, -kInf, kNan, 2});
  EXPECT_EQ(sums.count, 1);
  EXPECT_EQ(sums.not_finite, 4);
  EXPECT_EQ(sums.sqnr_db(), -300);
}

}  // namespace
}  // namespace octet
