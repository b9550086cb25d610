// Shared by tests of passes: small graphs built node by node, and what they compute.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "ops/op_def.h"

namespace octet::testing {

using Ints = std::vector<int64_t>;

inline Tensor random_floats(Shape shape, float low, float high, uint32_t seed = 1) {
  std::mt19937 random(seed);
  Tensor t(DType::kFloat32, std::move(shape));
  for (float& v : t.as<float>()) v = std::uniform_real_distribution<float>(low, high)(random);
  return t;
}

// A graph with one input, and short ways to add nodes.
struct Net {
  Graph g;
  ValueId x;

  explicit Net(Dims shape = {1, 4, 6, 6}) : x(g.add_input("x", DType::kFloat32, std::move(shape))) {}

  ValueId floats(Shape shape, float low = -1, float high = 1) {
    return g.add_constant("c", random_floats(std::move(shape), low, high, ++seed_));
  }
  ValueId scalar(float v) { return g.add_constant("s", Tensor::scalar<float>(v)); }
  ValueId op(const std::string& name, std::vector<ValueId> in, const std::string& out, Attributes a = {},
             std::string domain = "") {
    return g.add_op(name, out + "_node", std::move(in), out, std::move(a), std::move(domain));
  }
  ValueId conv(ValueId in, int64_t in_c, int64_t out_c, const std::string& out, int64_t kernel = 3,
               bool bias = true, int64_t group = 1) {
    Attributes a;
    a.set("kernel_shape", Ints{kernel, kernel});
    a.set("pads", Ints(4, kernel / 2));
    a.set("group", group);
    std::vector<ValueId> inputs{in, floats({out_c, in_c / group, kernel, kernel})};
    if (bias) inputs.push_back(floats({out_c}));
    return op("Conv", std::move(inputs), out, std::move(a));
  }
  ValueId pool(const std::string& kind, ValueId in, const std::string& out) {
    Attributes a;
    a.set("kernel_shape", Ints{2, 2});
    a.set("strides", Ints{2, 2});
    return op(kind, {in}, out, std::move(a));
  }
  ValueId concat(std::vector<ValueId> in, const std::string& out) {
    Attributes a;
    a.set("axis", int64_t{1});
    return op("Concat", std::move(in), out, std::move(a));
  }
  Graph& finish(ValueId out) {
    g.mark_output(out);
    infer_shapes(g);
    return g;
  }

 private:
  uint32_t seed_ = 0;
};

inline Tensor run(const Graph& graph, const Tensor& input) {
  std::map<ValueId, Tensor> values{{graph.inputs()[0], input}};
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    std::vector<Tensor> in, out;
    for (ValueId v : node.inputs)
      in.push_back(v == kNoId ? Tensor() : graph.is_constant(v) ? *graph.value(v).constant : values.at(v));
    for (ValueId v : node.outputs) out.emplace_back(*graph.value(v).dtype, evaluate(*graph.value(v).shape));
    find_op(node.op, node.domain)->run(node.attributes, in, out);
    for (size_t i = 0; i < out.size(); ++i) values[node.outputs[i]] = out[i];
  }
  return values.at(graph.outputs()[0]);
}

inline void expect_same_function(const Graph& a, const Graph& b, double tolerance = 1e-5) {
  const Tensor x = random_floats(evaluate(*a.value(a.inputs()[0]).shape), -4, 4, 77);
  const auto p = to_float(run(a, x)), q = to_float(run(b, x));
  ASSERT_EQ(p.size(), q.size());
  for (size_t i = 0; i < p.size(); ++i)
    ASSERT_NEAR(p[i], q[i], tolerance * std::max(1.0f, std::abs(p[i]))) << i;
}

inline std::vector<std::string> ops_of(const Graph& g) {
  std::vector<std::string> names;
  for (NodeId id : g.sorted()) names.push_back(g.node(id).op);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace octet::testing
