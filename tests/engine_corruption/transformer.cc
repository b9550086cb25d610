// An engine with attention, a product of two variables, normalizations and an embedding.
#include "build/build.h"
#include "build/test_graphs.h"
#include "engines.h"

namespace octet::testing {

engine::Model transformer_engine() {
  Random random(11);
  Graph g;
  const ValueId x = g.add_input("x", DType::kFloat32, {2, 5, 12});
  const auto op = [&](const std::string& name, const std::vector<ValueId>& in, Attributes a = {}) {
    return g.add_op(name, name, in, name + "_out", std::move(a));
  };
  const auto floats = [&](Shape shape) {
    return g.add_constant("c", random_floats(random, std::move(shape), -0.5f, 0.5f));
  };
  const auto transpose = [&](ValueId v, std::vector<int64_t> perm) {
    Attributes a;
    a.set("perm", std::move(perm));
    return op("Transpose", {v}, a);
  };
  const auto head = [&](ValueId v, std::vector<int64_t> perm) {
    const ValueId y = op("Add", {op("MatMul", {v, floats({12, 12})}), floats({12})});
    return transpose(op("Reshape", {y, g.add_constant("shape", ints({0, 0, 3, 4}))}), std::move(perm));
  };
  Attributes last;
  last.set("axis", int64_t{-1});
  ValueId s = op("MatMul", {head(x, {0, 2, 1, 3}), head(x, {0, 2, 3, 1})});
  s = op("Add", {op("Mul", {s, g.add_constant("f", Tensor::scalar(0.5f))}), floats({1, 5})});
  ValueId y = op("MatMul", {op("Softmax", {s}, last), head(x, {0, 2, 1, 3})});
  y = op("Reshape", {transpose(y, {0, 2, 1, 3}), g.add_constant("shape", ints({0, 0, 12}))});
  y = op("Add", {x, op("MatMul", {y, floats({12, 12})})});
  const ValueId n = op("LayerNormalization", {y, floats({12}), floats({12})});
  const ValueId z =
      op("MatMul", {op("MatMul", {n, floats({12, 12})}), transpose(op("Relu", {n}), {0, 2, 1})});
  g.mark_output(op("Add", {op("MatMul", {z, n}), y}));
  infer_shapes(g);
  const Tensor input = random_floats(random, {2, 5, 12}, -1, 1);
  return build_engine(quantize(g, {input}).graph);
}

}  // namespace octet::testing
