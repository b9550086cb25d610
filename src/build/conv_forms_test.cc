// Convolutions in their cheaper forms against a plain interpretation of their graphs. OCTET_TEST_SEED repeats
// a run, OCTET_TEST_CASES sets how many.
#include "build/conv_forms.h"

#include <gtest/gtest.h>

#include "build/test_engines.h"

namespace octet {
namespace {

using testing::count_steps;
using testing::expect_same_everywhere;
using testing::NetworkMaker;
using testing::quantize;
using testing::Random;
using testing::random_floats;
using testing::test_networks;
using testing::test_seed;

Tensor random_weights(Random& random, const Shape& shape) {
  Tensor w(DType::kInt8, shape);
  for (int8_t& v : w.as<int8_t>()) v = static_cast<int8_t>(random.range(1, 127));
  return w;
}

TEST(ConvForms, PixelsFillTheLanes) {
  EXPECT_EQ(pixels_together(3, 9, 1, 300), 5) << "15 of 16 lanes, 13 taps for 5 pixels";
  EXPECT_EQ(pixels_together(3, 9, 1, 14), 7) << "21 of 32 lanes, 15 taps";
  EXPECT_EQ(pixels_together(1, 3, 1, 64), 16);
  EXPECT_EQ(pixels_together(3, 1, 1, 300), 1) << "single pixels have their input for themselves";
  EXPECT_EQ(pixels_together(16, 9, 1, 300), 1);
  EXPECT_EQ(pixels_together(3, 9, 1, 1), 1);
}

TEST(ConvForms, PhasesAreParts) {
  Random random(5);
  Tensor w = random_weights(random, {64, 2, 3, 3});
  // Two phases of rows times two of columns, of two taps in each direction.
  for (int64_t o = 0; o < 64; ++o)
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t y = 0; y < 3; ++y)
        for (int64_t x = 0; x < 3; ++x) {
          const int64_t row = o / 32, column = o / 16 % 2;
          if (y - row < 0 || y - row > 1 || x - column < 0 || x - column > 1)
            w.as<int8_t>()[((o * 2 + i) * 3 + y) * 3 + x] = 0;
        }
  const auto parts = parts_without_zeros(w, {1, 1, 1, 1});
  ASSERT_EQ(parts.size(), 4u);
  for (size_t p = 0; p < 4; ++p) {
    EXPECT_EQ(parts[p].top, static_cast<int64_t>(p / 2));
    EXPECT_EQ(parts[p].left, static_cast<int64_t>(p % 2));
    EXPECT_EQ(parts[p].height, 2);
    EXPECT_EQ(parts[p].width, 2);
  }
  EXPECT_EQ(parts_without_zeros(w, {0, 0, 0, 0}).size(), 1u) << "no padding to take away";
  EXPECT_EQ(parts_without_zeros(random_weights(random, {64, 2, 3, 3}), {1, 1, 1, 1}).size(), 1u);
  std::ranges::fill(w.as<int8_t>(), int8_t{0});
  const auto none = parts_without_zeros(w, {1, 1, 1, 1});
  ASSERT_EQ(none.size(), 1u);
  EXPECT_EQ(none[0].height * none[0].width, 4);
}

TEST(ConvForms, FewChannels) {
  Random random(test_seed());
  int64_t together = 0;
  const int64_t cases = test_networks(60);
  for (int64_t i = 0; i < cases && !HasFatalFailure(); ++i) {
    NetworkMaker m(random);
    const int64_t kernel = random.range(2, 9);
    const auto x =
        m.input({random.range(1, 2), random.range(1, 40), random.range(4, 20), random.range(kernel, 40)});
    const auto y = m.conv(x, {.out_c = random.range(1, 9),
                              .kernel_h = random.range(1, 4),
                              .kernel_w = kernel,
                              .stride = random.range(1, 2),
                              .pad = random.range(0, 1)});
    m.graph.mark_output((random.chance(0.5) ? m.activation(y) : y).id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, false);
    together +=
        count_steps(quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph, "conv", "pixels");
  }
  EXPECT_GT(together, cases / 4);
}

TEST(ConvForms, WindowsOfFewChannels) {
  Random random(test_seed());
  const int64_t cases = test_networks(60);
  for (int64_t i = 0; i < cases && !HasFatalFailure(); ++i) {
    NetworkMaker m(random);
    const int64_t kernel = random.range(3, 17), channels = random.range(1, 2);
    const auto x = m.input({random.range(1, 2), channels, random.range(4, 20), random.range(kernel, 60)});
    const auto y = m.conv(x, {.out_c = random.range(1, 70),
                              .kernel_h = random.range(1, 4),
                              .kernel_w = kernel,
                              .stride = random.range(1, 3),
                              .pad = random.range(0, 2)});
    m.graph.mark_output(y.id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, false);
    const Graph q = testing::quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph;
    EXPECT_EQ(count_steps(q, "unfold_rows", ""), 1) << i;
  }
}

TEST(ConvForms, OneChannelHasOneLayout) {
  Random random(test_seed());
  for (int64_t i = test_networks(30); i > 0 && !HasFatalFailure(); --i) {
    NetworkMaker m(random);
    const auto x = m.input({random.range(1, 2), 3, 8, 8});
    const auto y = m.conv(x, {.out_c = 1});
    m.graph.mark_output(random.chance(0.5) ? y.id : m.op("Softmax", {y.id}, y.shape).id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, false);
    EXPECT_EQ(
        count_steps(testing::quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph, "layout", ""),
        0);
  }
}

TEST(ConvForms, TransposedConvolutions) {
  Random random(test_seed());
  int64_t parts = 0;
  const int64_t cases = test_networks(60);
  for (int64_t i = 0; i < cases && !HasFatalFailure(); ++i) {
    NetworkMaker m(random);
    const auto x = m.input({random.range(1, 2), random.range(1, 40), random.range(3, 9), random.range(3, 9)});
    const auto y = m.transposed_conv(x, random.range(3, 5), 16 * random.range(1, 4));
    const bool last = random.chance(0.5);
    m.graph.mark_output((last ? y : m.conv(y, {.out_c = 5})).id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, !last);
    parts += count_steps(quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph, "conv", "parts");
  }
  EXPECT_GT(parts, cases / 4);
}

TEST(ConvForms, SeveralOutputsPerChannel) {
  Random random(test_seed());
  const int64_t cases = test_networks(60);
  for (int64_t i = 0; i < cases && !HasFatalFailure(); ++i) {
    NetworkMaker m(random);
    const int64_t channels = random.range(2, 70);
    const auto x = m.input({random.range(1, 2), channels, random.range(3, 12), random.range(3, 12)});
    const auto y =
        m.conv(x, {.out_c = channels * random.range(2, 4), .stride = random.range(1, 2), .group = channels});
    const bool last = random.chance(0.5);
    m.graph.mark_output((last ? y : m.conv(y, {.out_c = 4})).id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, !last);
    EXPECT_EQ(
        count_steps(quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph, "repeat_channels", ""),
        1);
  }
}

TEST(ConvForms, PaddingOnBytes) {
  Random random(test_seed());
  const int64_t cases = test_networks(60);
  for (int64_t i = 0; i < cases && !HasFatalFailure(); ++i) {
    NetworkMaker m(random);
    const auto x = m.input({random.range(1, 2), random.range(1, 40), random.range(3, 9), random.range(3, 9)});
    const auto a = random.chance(0.5) ? m.conv(x, {.out_c = random.range(1, 40)}) : x;
    const auto b = random.chance(0.5) ? m.resize(a, false, 2) : a;
    const auto y = m.conv(m.pad(b), {.out_c = 20});
    m.graph.mark_output(y.id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, a.id != x.id);
    const Graph q = quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph;
    EXPECT_EQ(count_steps(q, "generic", ""), 0) << i;
  }
}

}  // namespace
}  // namespace octet
