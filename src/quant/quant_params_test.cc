#include "quant/quant_params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "quant/round.h"

namespace octet {
namespace {

constexpr DType kTypes[] = {DType::kInt8,   DType::kUInt8, DType::kInt16,
                            DType::kUInt16, DType::kInt4,  DType::kUInt4};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Round, HalfToEven) {
  std::mt19937 random(3);
  for (int i = -100000; i <= 100000; ++i) {
    const float x = static_cast<float>(i) / 8;
    ASSERT_EQ(round_half_even(x), std::nearbyint(x)) << x;
  }
  for (int i = 0; i < 200000; ++i) {
    const float x =
        std::ldexp(static_cast<float>(static_cast<int32_t>(random())), -static_cast<int>(random() % 40));
    ASSERT_EQ(round_half_even(x), std::nearbyint(x)) << x;
  }
  EXPECT_EQ(round_half_even(kInf), kInf);
  EXPECT_TRUE(std::isnan(round_half_even(kNan)));
}

TEST(Round, Saturates) {
  EXPECT_EQ(saturate_round(2.5f, 0, 255), 2);
  EXPECT_EQ(saturate_round(3.5f, 0, 255), 4);
  EXPECT_EQ(saturate_round(-0.5f, -128, 127), 0);
  EXPECT_EQ(saturate_round(254.5f, 0, 255), 254);
  EXPECT_EQ(saturate_round(255.5f, 0, 255), 255);
  EXPECT_EQ(saturate_round(kInf, 0, 255), 255);
  EXPECT_EQ(saturate_round(-kInf, -128, 127), -128);
  EXPECT_EQ(saturate_round(kNan, 7, 9), 7);
  EXPECT_EQ(saturate_round(126.6f, -128, 127), 127);
}

TEST(QuantParams, AffineGridHoldsZeroAndCoversTheRange) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  for (const DType dtype : kTypes) {
    const IntLimits limits = int_limits(dtype);
    for (int i = 0; i < 2000; ++i) {
      const float size = std::ldexp(1.0f, static_cast<int>(random() % 60) - 30);
      float a = normal(random) * size, b = normal(random) * size;
      if (a > b) std::swap(a, b);
      const QuantParams p = affine_params({a, b}, dtype);
      validate(p, "test");
      EXPECT_EQ(quantize_one(0, p.scale[0], p.zero_point[0], limits), p.zero_point[0]);
      for (const float x : {a, b, a / 2, b / 3}) {
        const int32_t q = quantize_one(x, p.scale[0], p.zero_point[0], limits);
        EXPECT_NEAR(static_cast<float>(q - p.zero_point[0]) * p.scale[0], x, p.scale[0] * 0.51f);
      }
    }
  }
}

TEST(QuantParams, AffineSpecialRanges) {
  EXPECT_EQ(affine_params({0, 0}, DType::kUInt8), (QuantParams{DType::kUInt8, -1, {1.0f}, {0}}));
  EXPECT_EQ(affine_params({0, 0}, DType::kInt8), (QuantParams{DType::kInt8, -1, {1.0f}, {0}}));
  EXPECT_EQ(affine_params({510, 510}, DType::kUInt8), (QuantParams{DType::kUInt8, -1, {2.0f}, {0}}));
  EXPECT_EQ(affine_params({-510, -510}, DType::kUInt8), (QuantParams{DType::kUInt8, -1, {2.0f}, {255}}));
  EXPECT_EQ(affine_params({0, 255}, DType::kInt8), (QuantParams{DType::kInt8, -1, {1.0f}, {-128}}));
  EXPECT_NO_THROW(validate(affine_params({-3e38f, 3e38f}, DType::kUInt8), "wide"));
  EXPECT_NO_THROW(validate(affine_params({-1e-45f, 1e-45f}, DType::kUInt16), "narrow"));
  EXPECT_THROW(affine_params({kNan, 1}, DType::kUInt8), Error);
  EXPECT_THROW(affine_params({0, kInf}, DType::kUInt8), Error);
  EXPECT_THROW(affine_params({1, 0}, DType::kUInt8), Error);
  EXPECT_THROW(affine_params({0, 1}, DType::kInt32), Error);
}

TEST(QuantParams, Symmetric) {
  EXPECT_EQ(symmetric_params({-127, 3}, DType::kInt8), (QuantParams{DType::kInt8, -1, {1.0f}, {0}}));
  EXPECT_EQ(symmetric_params({-1, 254}, DType::kUInt8), (QuantParams{DType::kUInt8, -1, {2.0f}, {128}}));
  EXPECT_EQ(symmetric_params({-7, 7}, DType::kInt4), (QuantParams{DType::kInt4, -1, {1.0f}, {0}}));
  EXPECT_EQ(symmetric_params({0, 0}, DType::kInt8), (QuantParams{DType::kInt8, -1, {1.0f}, {0}}));
}

TEST(QuantParams, ValidateNamesTheProblem) {
  const auto message = [](QuantParams p) -> std::string {
    try {
      validate(p, "conv1");
    } catch (const Error& e) {
      return e.message();
    }
    return "";
  };
  EXPECT_EQ(message({DType::kUInt8, -1, {1}, {0}}), "");
  EXPECT_EQ(message({DType::kUInt8, 0, {1, 2}, {0, 255}}), "");
  EXPECT_EQ(message({DType::kUInt8, -1, {0}, {0}}), "conv1: scale 0 is 0, expected a finite positive number");
  EXPECT_EQ(message({DType::kUInt8, -1, {1}, {256}}),
            "conv1: zero-point 0 is 256, expected 0 to 255 for uint8");
  EXPECT_NE(message({DType::kUInt8, -1, {kInf}, {0}}), "");
  EXPECT_NE(message({DType::kUInt8, -1, {kNan}, {0}}), "");
  EXPECT_NE(message({DType::kUInt8, -1, {1, 1}, {0, 0}}), "");
  EXPECT_NE(message({DType::kUInt8, 0, {1, 1}, {0}}), "");
  EXPECT_NE(message({DType::kUInt8, -1, {}, {}}), "");
  EXPECT_NE(message({DType::kFloat32, -1, {1}, {0}}), "");
}

}  // namespace
}  // namespace octet
