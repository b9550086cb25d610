// Transformer blocks: engines against a plain interpretation of their graphs.
#include <gtest/gtest.h>

#include <cstring>

#include "build/build.h"
#include "build/test_graphs.h"

namespace octet {
namespace {

using namespace testing;
using engine::Context;
using engine::ContextOptions;
using engine::Engine;
using Ints = std::vector<int64_t>;

struct Block {
  static constexpr int64_t kLeastWidth = 8;
  int64_t batch, length, heads, head, hidden;
  int64_t past = 0;  // keys and values that come from inputs
  bool symbolic, masked, guarded, scale_before, pre_norm, flat_heads;

  explicit Block(Random& random)
      : batch(random.range(1, 3)),
        length(random.range(2, 20)),
        heads(random.range(1, 3)),
        head(random.range(2, 20)),
        hidden(random.range(4, 40)),
        symbolic(random.chance(0.3)),
        masked(random.chance(0.5)),
        guarded(masked && random.chance(0.4)),
        scale_before(random.chance(0.3)),
        pre_norm(random.chance(0.5)),
        flat_heads(random.chance(0.2)) {
    if (flat_heads) heads = 1;
    if (!flat_heads && random.chance(0.2)) past = random.range(1, 20);
    // A row of two or three numbers that is normalized is little more than their order: no noise is small to
    // it.
    if (width() < kLeastWidth) head = kLeastWidth;
  }
  int64_t width() const { return heads * head; }
  int64_t keys() const { return past + length; }
};

class BlockMaker {
 public:
  BlockMaker(Random& random, const Block& block) : random_(random), b_(block) {}

  Graph make() {
    const Dim n = b_.symbolic ? Dim::symbol("N") : Dim(b_.batch);
    ValueId x = graph_.add_input("x", DType::kFloat32, {n, b_.length, b_.width()});
    x = op("Mul", {x, floats({b_.width()}, 0.5f, 2)});
    if (b_.pre_norm) {
      x = op("Add", {x, attention(norm(x))});
      x = op("Add", {x, feed_forward(norm(x))});
      x = norm(x);
    } else {
      x = norm(op("Add", {attention(x), x}));
      x = norm(op("Add", {x, feed_forward(x)}));
    }
    graph_.mark_output(x);
    infer_shapes(graph_);
    verify(graph_);
    return graph_;
  }

 private:
  ValueId op(const std::string& name, const std::vector<ValueId>& in, Attributes a = {}) {
    return graph_.add_op(name, name, in, name + "_out", std::move(a));
  }
  ValueId floats(Shape shape, float low, float high) {
    return graph_.add_constant("c", random_floats(random_, std::move(shape), low, high));
  }
  ValueId linear(ValueId x, int64_t from, int64_t to) {
    const float range = 1.7f / std::sqrt(static_cast<float>(from));
    const ValueId y = op("MatMul", {x, floats({from, to}, -range, range)});
    return random_.chance(0.8) ? op("Add", {y, floats({to}, -0.3f, 0.3f)}) : y;
  }
  ValueId norm(ValueId x) {
    return op("LayerNormalization", {x, floats({b_.width()}, 0.5f, 1.5f), floats({b_.width()}, -0.2f, 0.2f)});
  }
  ValueId transpose(ValueId x, Ints perm) {
    Attributes a;
    a.set("perm", std::move(perm));
    return op("Transpose", {x}, std::move(a));
  }
  ValueId split(ValueId x, bool keys) {
    if (b_.flat_heads) return keys ? transpose(x, {0, 2, 1}) : x;
    const ValueId shape = graph_.add_constant("shape", ints({0, 0, b_.heads, b_.head}));
    const ValueId y = op("Reshape", {x, shape});
    if (!keys) return transpose(y, {0, 2, 1, 3});
    if (b_.past > 0) return transpose(with_past("keys", transpose(y, {0, 2, 1, 3})), {0, 1, 3, 2});
    return random_.chance(0.5) ? transpose(y, {0, 2, 3, 1})
                               : transpose(transpose(y, {0, 2, 1, 3}), {0, 1, 3, 2});
  }
  ValueId with_past(const std::string& name, ValueId x) {
    if (b_.past == 0) return x;
    Attributes a;
    a.set("axis", int64_t{2});
    const Dim n = (*graph_.value(graph_.inputs()[0]).shape)[0];
    return op("Concat", {graph_.add_input(name, DType::kFloat32, {n, b_.heads, b_.past, b_.head}), x}, a);
  }
  ValueId attention(ValueId x) {
    ValueId q = split(linear(x, b_.width(), b_.width()), false);
    const ValueId k = split(linear(x, b_.width(), b_.width()), true),
                  v = with_past("values", split(linear(x, b_.width(), b_.width()), false));
    const ValueId factor =
        graph_.add_constant("f", Tensor::scalar(1 / std::sqrt(static_cast<float>(b_.head))));
    if (b_.scale_before) q = op("Mul", {q, factor});
    ValueId s = op("MatMul", {q, k});
    if (!b_.scale_before) s = op("Mul", {factor, s});
    if (b_.masked) {
      Tensor mask =
          random_floats(random_, {b_.guarded || random_.chance(0.5) ? b_.length : 1, b_.keys()}, -3, 0);
      if (b_.guarded) std::fill_n(mask.as<float>().begin(), b_.keys(), -INFINITY);
      s = op("Add", {s, graph_.add_constant("mask", std::move(mask))});
    }
    Attributes last;
    last.set("axis", int64_t{-1});
    ValueId p = op("Softmax", {s}, last);
    if (b_.guarded) p = op("Where", {op("IsNaN", {p}), graph_.add_constant("none", Tensor::scalar(0.0f)), p});
    ValueId y = op("MatMul", {p, v});
    if (!b_.flat_heads) {
      const ValueId shape = graph_.add_constant("shape", ints({0, 0, b_.width()}));
      y = op("Reshape", {transpose(y, {0, 2, 1, 3}), shape});
    }
    return linear(y, b_.width(), b_.width());
  }
  ValueId feed_forward(ValueId x) {
    return linear(op("Gelu", {linear(x, b_.width(), b_.hidden)}), b_.hidden, b_.width());
  }

  Random& random_;
  const Block& b_;
  Graph graph_;
};

double noise_db(const Tensor& expected, const Tensor& found) {
  const auto a = to_float(expected), b = to_float(found);
  double signal = 1e-12, noise = 1e-12;
  for (size_t i = 0; i < a.size(); ++i) {
    signal += static_cast<double>(a[i]) * a[i];
    noise += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  return 10 * std::log10(signal / noise);
}

TEST(Transformer, RandomBlocksEqualTheirGraphs) {
  Random random(test_seed());
  for (int64_t i = test_networks(40); i > 0; --i) {
    const Block block(random);
    const Graph graph = BlockMaker(random, block).make();
    const SymbolValues symbols{{"N", block.batch}};
    std::vector<Tensor> inputs{random_floats(random, {block.batch, block.length, block.width()}, -2, 2)};
    while (inputs.size() < graph.inputs().size())
      inputs.push_back(random_floats(random, {block.batch, block.heads, block.past, block.head}, -2, 2));
    const ValueId y = graph.outputs()[0];
    const Tensor real = interpret(graph, inputs, {}, symbols).at(y);
    SCOPED_TRACE(fmt::format("case {}: batch {}{} length {} behind {} heads {} of {} hidden {}{}{}{}{}{}", i,
                             block.batch, block.symbolic ? " symbolic" : "", block.length, block.past,
                             block.heads, block.head, block.hidden, block.masked ? " masked" : "",
                             block.guarded ? " guarded" : "", block.scale_before ? " scaled" : "",
                             block.pre_norm ? " pre-norm" : "", block.flat_heads ? " flat" : ""));
    ContextOptions options;
    options.isa = best_isa();
    if (block.symbolic) options.shapes["N"] = block.batch;
    Context floats(Engine(build_engine(graph)), options);
    floats.run(inputs);
    ASSERT_GT(noise_db(real, floats.output(0)), 90);

    // The attention step has no NaN beside a zero-point other than 0.
    const bool symmetric = i % 3 == 0 && !block.guarded;
    QuantizeOptions quantization;
    quantization.target = &find_target(symmetric ? "octet-symmetric" : i % 3 == 1 ? "octet" : "onnxruntime");
    const QuantizedNetwork q = quantize(graph, inputs, quantization, symbols);
    const Tensor expected = interpret(q.graph, inputs, {}, symbols).at(q.graph.outputs()[0]);
    const Engine engine(build_engine(q.graph));
    std::map<std::string, int> kinds;
    for (const engine::StepDef& s : engine.model().steps) ++kinds[s.kind];
    EXPECT_EQ(kinds["attention"], block.past > 0 ? 0 : 1);
    EXPECT_EQ(kinds["matmul_f32"], block.past > 0 ? 2 : 0) << "a cache stays in float";
    EXPECT_EQ(kinds["gemm"], 6);
    EXPECT_EQ(kinds["norm"], block.pre_norm ? 3 : 2);
    EXPECT_EQ(kinds["gemm_f32"] + kinds["matmul"], 0);
    int transposed = 0;
    for (const engine::StepDef& s : engine.model().steps)
      transposed += s.kind == "layout" || s.attributes.get_string("op", "") == "Transpose" ? 1 : 0;
    EXPECT_EQ(transposed, block.past > 0 ? 3 : 0) << "what joins the cache, and the 8-bit result";
    if (block.past == 0) {
      EXPECT_EQ(kinds["generic"], 1) << "the first Mul";
    }

    Context through_onednn(engine, options);
    through_onednn.run(inputs);
    ASSERT_GT(noise_db(expected, through_onednn.output(0)), 25);

    // A value that another rounding takes to the neighbouring byte is a few units in the last place apart.
    std::vector<std::byte> bytes;
    for (Isa isa : possible_isas())
      for (int threads = 1; threads <= 3; threads += 2) {
        ThreadPool pool(threads);
        options.isa = isa;
        options.pool = &pool;
        Context context(engine.deterministic(), options);
        context.run(inputs);
        const Tensor& found = context.output(0);
        ASSERT_GT(noise_db(expected, found), 25) << "against real values " << noise_db(real, found);
        const auto* data = static_cast<const std::byte*>(found.raw());
        const std::vector<std::byte> same(data, data + found.bytes());
        if (bytes.empty()) bytes = same;
        ASSERT_EQ(bytes, same) << isa_name(isa) << ", threads " << threads;
      }
    ASSERT_GT(noise_db(real, expected), 12) << "quantization itself";
  }
}

}  // namespace
}  // namespace octet
