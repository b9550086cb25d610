#include <gtest/gtest.h>

#include "calibrate/calibrate.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

std::span<float> weights_of(Graph& g, const char* layer) {
  return g.value(g.node(*g.find_node(std::string(layer) + "_node")).inputs[1]).constant->as<float>();
}

void expect_proportional(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  const double largest = *std::max_element(expected.begin(), expected.end());
  for (size_t c = 0; c < found.size(); ++c) EXPECT_NEAR(found[c], expected[c] / largest, 1e-9) << c;
}

// What each row of a matrix [outputs, inputs, taps] brings, times the energy of its output.
std::vector<double> through(std::span<const float> w, const std::vector<double>& outputs, size_t inputs) {
  std::vector<double> sums(inputs, 0);
  const size_t taps = w.size() / outputs.size() / inputs;
  for (size_t i = 0; i < w.size(); ++i)
    sums[i / taps % inputs] += outputs[i / taps / inputs] * w[i] * static_cast<double>(w[i]);
  return sums;
}

TEST(ReaderEnergies, ErrorsGoThroughAllLayersBehind) {
  Net n;
  const ValueId a = n.op("Relu", {n.conv(n.x, 4, 6, "a")}, "ra");
  const ValueId b = n.conv(a, 6, 6, "b", 3, true, 6);
  Graph& g = n.finish(n.conv(n.op("Relu", {b}, "rb"), 6, 5, "y", 1));
  const Energies found = reader_energies(g);
  const auto b_energies = through(weights_of(g, "y"), std::vector<double>(5, 1), 6);
  std::vector<double> a_energies;
  for (size_t c = 0; c < 6; ++c)
    a_energies.push_back(through(weights_of(g, "b").subspan(c * 9, 9), {b_energies[c]}, 1)[0]);
  expect_proportional(found.at("y"), std::vector<double>(5, 1));
  for (const char* name : {"rb", "b"}) expect_proportional(found.at(name), b_energies);
  for (const char* name : {"ra", "a"}) expect_proportional(found.at(name), a_energies);
  expect_proportional(found.at("x"), through(weights_of(g, "a"), a_energies, 4));
}

// A network keeps its function when channels between its layers change their unit: so must what errors cost.
TEST(ReaderEnergies, AChannelsUnitIsNoMatter) {
  const float unit[] = {4, 0.25f, 1, 2, 0.5f, 8};
  const auto make = [&](bool scaled) {
    Net n;
    const ValueId a = n.op("Relu", {n.conv(n.x, 4, 6, "a", 3, false)}, "ra");
    const ValueId b = n.op("Relu", {n.conv(a, 6, 6, "b", 3, false, 6)}, "rb");
    Graph g = n.finish(n.conv(b, 6, 5, "y", 1));
    for (const char* layer : {"a", "b", "y"}) {
      const auto node = *g.find_node(std::string(layer) + "_node");
      g.value(g.node(node).inputs[1]).constant = g.value(g.node(node).inputs[1]).constant->clone();
    }
    for (size_t c = 0; c < 6 && scaled; ++c) {
      for (float& w : weights_of(g, "a").subspan(c * 36, 36)) w *= unit[c];
      // Of b its own unit is the inverse.
      for (float& w : weights_of(g, "b").subspan(c * 9, 9)) w /= unit[c] * unit[c];
      for (size_t o = 0; o < 5; ++o) weights_of(g, "y")[o * 6 + c] *= unit[c];
    }
    return g;
  };
  const Graph plain = make(false), scaled = make(true);
  expect_same_function(plain, scaled);
  const Energies p = reader_energies(plain), s = reader_energies(scaled);
  expect_proportional(s.at("x"), p.at("x"));
  std::vector<double> a = p.at("ra"), b = p.at("rb");
  for (size_t c = 0; c < 6; ++c) {
    a[c] /= unit[c] * unit[c];
    b[c] *= unit[c] * unit[c];
  }
  expect_proportional(s.at("ra"), a);
  expect_proportional(s.at("rb"), b);
}

TEST(ReaderEnergies, FollowChannelsThatAreMovedAddedAndMultiplied) {
  Net n;
  const ValueId first = n.op("Relu", {n.x}, "first");
  const ValueId second = n.op("Sigmoid", {n.x}, "second");
  const ValueId joined = n.pool("MaxPool", n.concat({first, second}, "joined"), "pooled");
  const ValueId factors = n.floats({8, 1, 1});
  const ValueId scaled = n.op("Mul", {joined, factors}, "scaled");
  const ValueId flat = n.op("Flatten", {n.op("GlobalAveragePool", {scaled}, "mean")}, "flat");
  const ValueId w = n.floats({8, 3});
  Graph& g = n.finish(n.op("Gemm", {flat, w}, "y"));
  const Energies found = reader_energies(g);
  std::vector<double> rows(8, 0);
  for (size_t i = 0; i < 24; ++i) rows[i / 3] += std::pow(g.value(w).constant->as<float>()[i], 2);
  for (const char* name : {"flat", "mean", "scaled"}) expect_proportional(found.at(name), rows);
  for (size_t c = 0; c < 8; ++c) rows[c] *= std::pow(g.value(factors).constant->as<float>()[c], 2);
  for (const char* name : {"joined", "pooled"}) expect_proportional(found.at(name), rows);
  expect_proportional(found.at("first"), {rows.begin(), rows.begin() + 4});
  expect_proportional(found.at("second"), {rows.begin() + 4, rows.end()});
  std::vector<double> both;
  for (size_t c = 0; c < 4; ++c) both.push_back(rows[c] + rows[c + 4]);
  expect_proportional(found.at("x"), both);
}

TEST(ReaderEnergies, ManyLayersStayFinite) {
  Net n;
  ValueId v = n.x;
  for (int i = 0; i < 400; ++i) {
    v = n.conv(v, 4, 4, "c" + std::to_string(i), 1, false);
    for (float& w : n.g.value(n.g.node(n.g.value(v).producer).inputs[1]).constant->as<float>()) w *= 100;
  }
  const Energies found = reader_energies(n.finish(v));
  ASSERT_EQ(found.at("x").size(), 4u);
  for (const double e : found.at("x")) EXPECT_TRUE(e > 0 && e <= 1) << e;
}

}  // namespace
}  // namespace octet
