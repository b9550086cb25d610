// InstanceNormalization behind convolutions against a plain interpretation. OCTET_TEST_SEED repeats a run,
// OCTET_TEST_CASES sets how many.
#include <gtest/gtest.h>

#include "build/test_engines.h"

namespace octet {
namespace {

using testing::count_steps;
using testing::expect_same_everywhere;
using testing::NetworkMaker;
using testing::Random;
using testing::random_floats;
using testing::test_networks;
using testing::test_seed;

TEST(InstanceNorm, BehindConvolutions) {
  Random random(test_seed());
  const int64_t cases = test_networks(60);
  for (int64_t i = 0; i < cases && !HasFatalFailure(); ++i) {
    NetworkMaker m(random);
    const auto x =
        m.input({random.range(1, 2), random.range(1, 8), random.range(2, 20), random.range(2, 20)});
    const auto a = m.conv(x, {.out_c = random.range(1, 70)});
    const Shape channels{a.shape[1]};
    auto y = m.op("InstanceNormalization",
                  {a.id, m.constant(random_floats(random, channels, 0.5f, 1.5f)),
                   m.constant(random_floats(random, channels, -1, 1))},
                  a.shape);
    const auto normalized = y;
    if (random.chance(0.6)) y = m.activation(y);
    const bool read = random.chance(0.6);
    if (read && random.chance(0.3)) m.graph.mark_output(normalized.id);  // floats beside the bytes
    if (read) y = m.conv(y, {.out_c = 5});
    m.graph.mark_output(y.id);
    infer_shapes(m.graph);
    expect_same_everywhere(m, random, i, read);
    const Graph q = testing::quantize(m.graph, {random_floats(random, x.shape, -1, 1)}).graph;
    EXPECT_EQ(count_steps(q, "instance_norm", ""), 1) << i;
    EXPECT_EQ(count_steps(q, "generic", ""), 0) << i;
  }
}

}  // namespace
}  // namespace octet
