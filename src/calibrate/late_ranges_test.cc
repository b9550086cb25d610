#include "calibrate/late_ranges.h"

#include <gtest/gtest.h>

#include <cmath>

#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

TableTensor entry(float low, float high) {
  TableTensor t;
  t.range = {low, high};
  t.methods[RangeMethod::kMinMax].range = {low, 2 * high};
  t.channels.min = {low, 0};
  t.channels.max = {high, high / 100};
  return t;
}

// Twenty layers, of which five are looked at: x, c1 .. c5 are at depths 0, 1/5 .. 1.
struct Chain {
  Net n;
  CalibrationTable table;
  Graph* g = nullptr;

  explicit Chain(int layers = 20) {
    ValueId v = n.x;
    for (int i = 1; i <= 5; ++i) {
      const std::string name = std::to_string(i);
      for (int more = 1; more < layers / 5; ++more) v = n.conv(v, 4, 4, "c" + name + std::to_string(more), 1);
      v = n.conv(v, 4, 4, "c" + name);
      if (i == 3) v = n.op("Clip", {v, n.scalar(0), n.scalar(6)}, "clipped");
      if (i == 3) v = n.op("MaxPool", {v}, "moved", window());
      if (i == 4) v = n.op("Relu", {v}, "r4");
    }
    g = &n.finish(v);
    for (const char* name : {"x", "c1", "c2", "c3", "clipped", "moved", "c4", "r4", "c5", "elsewhere"})
      table.tensors[name] = entry(-1, 5);
    widen_late_ranges(*g, table);
  }
  static Attributes window() {
    Attributes a;
    a.set("kernel_shape", Ints{1, 1});
    return a;
  }
  const TableTensor& of(const char* name) const { return table.tensors.at(name); }
};

TEST(LateRanges, GrowTowardsTheEnd) {
  const Chain c;
  for (const char* name : {"x", "c1", "c2", "elsewhere"}) {
    EXPECT_EQ(c.of(name).range.low, -1) << name;
    EXPECT_EQ(c.of(name).range.high, 5) << name;
  }
  // 1.5^((depth - 0.4) / 0.6)
  EXPECT_NEAR(c.of("c3").range.high, 5 * std::pow(1.5, 1.0 / 3), 1e-5);
  EXPECT_NEAR(c.of("c4").range.low, -std::pow(1.5, 2.0 / 3), 1e-5);
  EXPECT_NEAR(c.of("c5").range.high, 7.5, 1e-5);
  EXPECT_NEAR(c.of("c5").range.low, -1.5, 1e-5);
  EXPECT_NEAR(Chain(5).of("c5").range.high, 5 * std::pow(1.5, 5.0 / 16), 1e-5);
  EXPECT_NEAR(c.of("c5").methods.at(RangeMethod::kMinMax).range.high, 15, 1e-5);
}

TEST(LateRanges, StayWithinWhatAnOperatorGives) {
  const Chain c;
  for (const char* name : {"clipped", "moved"}) {
    EXPECT_NEAR(c.of(name).range.high, 5 * std::pow(1.5, 1.0 / 3), 1e-5) << name;
    // What was there already stays.
    EXPECT_EQ(c.of(name).methods.at(RangeMethod::kMinMax).range.high, 10) << name;
    EXPECT_EQ(c.of(name).range.low, -1) << name;
  }
  EXPECT_EQ(c.of("r4").range.low, -1);
  EXPECT_NEAR(c.of("r4").range.high, 5 * std::pow(1.5, 2.0 / 3), 1e-5);
  Chain near;
  near.table.tensors["clipped"] = near.table.tensors["moved"] = entry(0, 5.9f);
  widen_late_ranges(*near.g, near.table);
  EXPECT_EQ(near.of("clipped").range.high, 6);
  EXPECT_EQ(near.of("moved").range.high, 6);
}

TEST(LateRanges, GiveSilentChannelsAShareOfTheirTensors) {
  const Chain c;
  EXPECT_EQ(c.of("x").channels.max[1], 0.05f);
  EXPECT_NEAR(c.of("c2").channels.max[1], 0.5 * 0.4 * 5, 1e-5);
  EXPECT_EQ(c.of("c2").channels.max[0], 5);
  EXPECT_NEAR(c.of("c5").channels.max[1], 0.5 * 7.5, 1e-5);
  EXPECT_NEAR(c.of("c5").channels.min[1], -0.5 * 1.5, 1e-5);
  EXPECT_NEAR(c.of("c5").channels.max[0], 7.5, 1e-5);
  EXPECT_EQ(c.of("r4").channels.min[1], 0);
}

}  // namespace
}  // namespace octet
