#include "correct/centering.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "passes/test_net.h"

namespace octet {
namespace {

using testing::Net;
using testing::random_floats;

// Every 8-bit value with the range that it is given here, the others signed.
std::vector<CenteredTensor> center(Graph& graph, const std::map<std::string, Range>& ranges) {
  QuantizeOptions options;
  options.target = &find_target("octet-symmetric");
  const Placement placement = place(graph, options);
  CalibrationTable table;
  for (const auto& members : placement.groups)
    for (const ValueId v : members) {
      const std::string& name = graph.value(v).name;
      const auto found = ranges.find(name);
      const Range seen = found == ranges.end() ? Range{-1, 1} : found->second;
      TableTensor& t = table.tensors[name];
      t.min = seen.low;
      t.max = seen.high;
      const float most = std::max(-seen.low, seen.high);
      t.range = {-most, most};
    }
  std::vector<CenteredTensor> done = center_tensors(graph, placement, table);
  infer_shapes(graph);
  return done;
}

void expect_near(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  double most = 0;
  for (const float v : a.as<float>()) most = std::max(most, std::abs(static_cast<double>(v)));
  for (int64_t i = 0; i < a.count(); ++i) ASSERT_NEAR(a.as<float>()[i], b.as<float>()[i], 1e-4 * most) << i;
}

Attributes no_pads() {
  Attributes a;
  a.set("kernel_shape", testing::Ints{3, 3});
  return a;
}

TEST(Centering, KeepsWhatTheNetworkComputes) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Net n({1, 3, 12, 12});
  // Relu, clip and sigmoid meet in a concatenation; pooled; read without padding, with and without a bias.
  const ValueId a = n.op("Relu", {n.conv(n.x, 3, 4, "a")}, "a_relu");
  const ValueId b = n.op("Clip", {n.conv(n.x, 3, 4, "b", 3, false), n.scalar(0), n.scalar(6)}, "b_clip");
  const ValueId c = n.op("Sigmoid", {n.conv(n.x, 3, 4, "c")}, "c_sigmoid");
  const ValueId pooled = n.pool("MaxPool", n.concat({a, b, c}, "abc"), "pool");
  const ValueId d = n.conv(pooled, 12, 4, "d", 1, false);
  const ValueId e = n.op("Conv", {pooled, n.floats({4, 12, 3, 3}), n.floats({4})}, "e", no_pads());
  n.finish(n.op("Add", {n.op("Conv", {d, n.floats({4, 4, 3, 3})}, "d2", no_pads()), e}, "y"));
  const Tensor x = random_floats({1, 3, 12, 12}, -2, 2, seed);
  const Tensor before = testing::run(n.g, x);
  const auto done = center(n.g, {{"a_relu", {0, 5}}, {"b_clip", {0, 6}}, {"c_sigmoid", {0, 1}}});
  ASSERT_EQ(done.size(), 1u);
  EXPECT_NEAR(done[0].gain_db, 20 * std::log10(2), 1e-6);
  EXPECT_EQ(done[0].folded, 2);
  EXPECT_EQ(done[0].added, 1);
  const Tensor after = testing::run(n.g, x);
  expect_near(before, after);
}

TEST(Centering, ClipsKeepTheirLimits) {
  Net n({1, 2, 6, 6});
  const ValueId r = n.op("Clip", {n.conv(n.x, 2, 4, "a", 1), n.scalar(-1), n.scalar(5)}, "r");
  n.finish(n.conv(r, 4, 4, "y", 1));
  const Tensor x = random_floats({1, 2, 6, 6}, -9, 9, 3);
  const Tensor before = testing::run(n.g, x);
  ASSERT_EQ(center(n.g, {{"r", {-1, 5}}}).size(), 1u);
  const Node& clip = n.g.node(n.g.value(*n.g.find_value("r")).producer);
  EXPECT_EQ(n.g.value(clip.inputs[1]).constant->as<float>()[0], -3);
  EXPECT_EQ(n.g.value(clip.inputs[2]).constant->as<float>()[0], 3);
  expect_near(before, testing::run(n.g, x));
}

TEST(Centering, LeavesAloneWhatWouldNotBeExactOrGainsLittle) {
  struct Case {
    const char* why;
    Range range;
    int64_t kernel;
    bool elsewhere;
  };
  for (const Case& c : {Case{"padding", {0, 4}, 3, false}, Case{"little to gain", {-3, 4}, 1, false},
                        Case{"others read it", {0, 4}, 1, true}, Case{"", {0, 4}, 1, false}}) {
    Net n({1, 4, 6, 6});
    const ValueId r = n.op("Relu", {n.conv(n.x, 4, 4, "a")}, "r");
    ValueId y = n.conv(r, 4, 4, "y", c.kernel);
    if (c.elsewhere) y = n.op("Add", {y, r}, "sum");
    n.finish(n.conv(y, 4, 2, "z", 3));
    EXPECT_EQ(center(n.g, {{"r", c.range}}).size(), *c.why ? 0u : 1u) << c.why;
  }
}

}  // namespace
}  // namespace octet
