// An engine with attention, products of two variables, normalizations and a layer with a scale of the run.
#include "build/build.h"
#include "build/test_graphs.h"
#include "engines.h"

namespace octet::testing {

namespace {

// A product behind the output whose scale is chosen at run time.
void add_dynamic_layer(Graph& g, Random& random) {
  const std::vector<ValueId> made{g.add_value("yq"), g.add_value("ys"), g.add_value("yz")};
  g.add_node("DynamicQuantizeLinear", "", "dynamic", {g.outputs()[0]}, made);
  Tensor weights(DType::kInt8, {12, 7});
  for (int8_t& w : weights.as<int8_t>()) w = static_cast<int8_t>(random.range(-127, 127));
  const ValueId real = g.add_op("DequantizeLinear", "dynamic_real", made, "yr");
  const ValueId w =
      g.add_op("DequantizeLinear", "weights",
               {g.add_constant("w", std::move(weights)), g.add_constant("ws", Tensor::scalar(0.01f))}, "wr");
  g.mark_output(g.add_op("MatMul", "dynamic_product", {real, w}, "z"));
  infer_shapes(g);
}

}  // namespace

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
  Graph quantized = quantize(g, {input}).graph;
  add_dynamic_layer(quantized, random);
  return build_engine(quantized);
}

}  // namespace octet::testing
