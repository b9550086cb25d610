#include "calibrate/tensorrt_cache.h"

#include <gtest/gtest.h>

#include <bit>

#include "base/error.h"

namespace octet {
namespace {

constexpr char kText[] =
    "TRT-8401-EntropyCalibration2\n"
    "input: 3c010a14\n"
    "model/conv1/Relu:0: 3d2b9bf1\n"
    "(Unnamed Layer* 12) [Convolution]_output: 00000001\n"
    "zero: 00000000\n";

TEST(TensorRtCache, RoundTripsBitForBit) {
  const TensorRtCache cache = parse_tensorrt_cache(kText, "x");
  EXPECT_EQ(cache.version, "8401");
  ASSERT_EQ(cache.scales.size(), 4u);
  EXPECT_EQ(cache.scales[1].first, "model/conv1/Relu:0");
  EXPECT_EQ(std::bit_cast<uint32_t>(cache.scales[0].second), 0x3c010a14u);
  EXPECT_EQ(tensorrt_cache_text(cache), kText);
}

TEST(TensorRtCache, EveryScaleSurvivesTheTable) {
  TensorRtCache cache;
  for (uint32_t i = 0; i < 5000; ++i)
    cache.scales.emplace_back(fmt::format("t{:05}", i), std::bit_cast<float>(0x20000000u + i * 104729u));
  const CalibrationTable table = parse_table(table_text(table_of(cache)), "y");
  EXPECT_EQ(cache_of(table).scales, cache.scales);
}

TEST(TensorRtCache, AlgorithmsAreKept) {
  for (const char* name :
       {"EntropyCalibration2", "EntropyCalibration", "MinMaxCalibration", "LegacyCalibration"}) {
    const std::string text = fmt::format("TRT-100800-{}\na: 3f800000\n", name);
    EXPECT_EQ(tensorrt_cache_text(parse_tensorrt_cache(text, "x")), text);
  }
}

TEST(TensorRtCache, RefusesGarbageWithItsLine) {
  const auto refused = [](const std::string& text, const std::string& says) {
    try {
      parse_tensorrt_cache(text, "old.cache");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.message()).find(says), std::string::npos) << e.message();
    }
  };
  const std::string head = "TRT-8401-EntropyCalibration2\n";
  refused("", "line 1");
  refused("TRT-x-EntropyCalibration2\n", "line 1");
  refused("TRT-8401-Magic\n", "line 1");
  refused(head + "a: 3f800000\nno scale here\n", "line 3");
  refused(head + "a: 3f80000g\n", "line 2");
  refused(head + "a: 3f8000000\n", "line 2");
  refused(head + "a: 7fc00000\n", "line 2");
  refused(head + "a: 7f800000\n", "line 2");
  refused(head + "a: bf800000\n", "line 2");
  refused(head + ": 3f800000\n", "line 2");
  refused(head + "a: 3f800000\n\na: 3f800000\n", "line 4");
  refused(head + "a: \n", "line 2");
}

TEST(TensorRtCache, WhatIsNeitherCacheNorTableIsSaidToBeSo) {
  const auto message = [](std::string_view text) {
    try {
      parse_any_table(text, "file");
    } catch (const Error& e) {
      return std::string(e.message());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message(" \n"), "file: it is empty");
  EXPECT_NE(message("conv1: 3c010a14\n").find("TRT-VERSION-ALGORITHM: it begins with 'conv1: 3c010a14'"),
            std::string::npos);
  EXPECT_NE(message(std::string_view("\1\2", 2)).find("it begins with '?"), std::string::npos);
  EXPECT_NE(message(" {").find("JSON"), std::string::npos);
}

}  // namespace
}  // namespace octet
