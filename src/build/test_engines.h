// Engines of quantized networks, for tests.
#pragma once

#include <cstring>

#include "build/build.h"
#include "build/test_graphs.h"

namespace octet::testing {

// All sets of instructions and numbers of threads give the same bits; the interpreter's are as near as one
// layer's are, or `several` whose 8-bit results may be at ties.
inline void expect_same_everywhere(const NetworkMaker& m, Random& random, int64_t number, bool several) {
  const Tensor input = random_floats(random, evaluate(*m.graph.value(m.graph.inputs()[0]).shape), -1, 1);
  const auto q = quantize(m.graph, {input}, {}, {}, random.chance(0.5) ? &random : nullptr);
  const Tensor expected = interpret(q.graph, {input}).at(q.graph.outputs()[0]);
  const engine::Engine engine(build_engine(q.graph));
  std::optional<Tensor> first;
  for (Isa isa : possible_isas())
    for (int threads = 1; threads <= 3; ++threads) {
      ThreadPool pool(threads);
      engine::ContextOptions options;
      options.isa = isa;
      options.pool = &pool;
      engine::Context context(engine, options);
      context.run(std::vector<Tensor>{input});
      const Tensor found = context.output(0).clone();
      if (!first) {
        first = found;
        const auto a = to_float(expected), b = to_float(found);
        ASSERT_EQ(a.size(), b.size());
        for (size_t i = 0; i < a.size(); ++i)
          ASSERT_NEAR(a[i], b[i], (several ? 1e-2 : 1e-4) * (1 + std::abs(a[i])))
              << "case " << number << " element " << i;
      }
      ASSERT_EQ(std::memcmp(first->raw(), found.raw(), static_cast<size_t>(found.bytes())), 0)
          << "case " << number << " " << isa_name(isa) << ", threads " << threads;
    }
}

inline int64_t count_steps(const Graph& graph, const char* kind, const char* attribute) {
  int64_t count = 0;
  for (const engine::StepDef& s : build_engine(graph).steps)
    count += s.kind == kind && (*attribute == 0 || s.attributes.has(attribute));
  return count;
}

}  // namespace octet::testing
