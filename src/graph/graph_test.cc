#include "graph/graph.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace octet {
namespace {

Tensor one() {
  return Tensor::scalar(1.0f);
}

// x -> Relu a -> Add(a, a) b -> out, with a constant read by a third node c.
struct Small {
  Graph graph;
  ValueId x, a, b, k, c;
  Small() {
    x = graph.add_input("x", DType::kFloat32, {Dim::symbol("N"), 3});
    a = graph.add_op("Relu", "relu", {x}, "a");
    b = graph.add_op("Add", "add", {a, a}, "b");
    k = graph.add_constant("k", one());
    c = graph.add_op("Mul", "mul", {b, k}, "c");
    graph.mark_output(c);
  }
};

TEST(Graph, NamesAreUnique) {
  Graph graph;
  EXPECT_EQ(graph.value(graph.add_value("v")).name, "v");
  EXPECT_EQ(graph.value(graph.add_value("v")).name, "v_1");
  EXPECT_EQ(graph.value(graph.add_value("v_2")).name, "v_2");
  EXPECT_EQ(graph.value(graph.add_value("v")).name, "v_3");
  EXPECT_EQ(graph.value(graph.add_value("")).name, "unnamed_1");
  const NodeId n = graph.add_node("Relu", "", "", {0}, {1});
  EXPECT_EQ(graph.node(n).name, "Relu_0");
}

TEST(Graph, ConsumersAreKept) {
  Small s;
  EXPECT_EQ(s.graph.consumers(s.a), std::vector<NodeId>{1});
  s.graph.set_input(1, 0, s.x);
  EXPECT_EQ(s.graph.consumers(s.a), std::vector<NodeId>{1});
  EXPECT_EQ(s.graph.consumers(s.x), (std::vector<NodeId>{0, 1}));
  s.graph.set_input(1, 1, s.x);
  EXPECT_TRUE(s.graph.consumers(s.a).empty());
  s.graph.append_input(0, s.k);
  EXPECT_EQ(s.graph.consumers(s.k), (std::vector<NodeId>{0, 2}));
}

TEST(Graph, ReplaceUses) {
  Small s;
  const ValueId d = s.graph.add_op("Neg", "neg", {s.a}, "d");
  s.graph.replace_uses(s.a, d, true, *s.graph.find_node("neg"));
  EXPECT_EQ(s.graph.node(1).inputs, (std::vector<ValueId>{d, d}));
  EXPECT_EQ(s.graph.consumers(s.a), std::vector<NodeId>{3});
  s.graph.replace_uses(s.c, s.b);
  EXPECT_TRUE(s.graph.is_output(s.b));
  EXPECT_FALSE(s.graph.is_output(s.c));
  EXPECT_EQ(s.graph.sorted(), (std::vector<NodeId>{0, 3, 1, 2}));
}

TEST(Graph, RemoveThenProduceAgain) {
  Small s;
  s.graph.remove_node(1);
  EXPECT_EQ(s.graph.producer(s.b), nullptr);
  EXPECT_TRUE(s.graph.consumers(s.a).empty());
  s.graph.add_node("Sub", "", "add", {s.a, s.x}, {s.b});
  EXPECT_EQ(s.graph.producer(s.b)->op, "Sub");
  EXPECT_EQ(s.graph.producer(s.b)->name, "add");
}

TEST(Graph, DuplicateOutputIsRefused) {
  Small s;
  EXPECT_THROW(s.graph.add_node("Neg", "", "n", {s.x}, {s.a}), Error);
  EXPECT_THROW(s.graph.add_node("Neg", "", "n", {s.x}, {s.k}), Error);
  EXPECT_THROW(s.graph.add_node("Neg", "", "n", {s.x}, {s.x}), Error);
  const ValueId fresh = s.graph.add_value("fresh");
  EXPECT_THROW(s.graph.add_node("Split", "", "n", {s.x}, {fresh, fresh}), Error);
}

TEST(Graph, CycleNamesItsNodes) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {1});
  const ValueId p = graph.add_value("p"), q = graph.add_value("q");
  graph.add_node("Add", "", "first", {x, q}, {p});
  graph.add_node("Relu", "", "second", {p}, {q});
  graph.add_op("Relu", "behind", {q}, "z");
  try {
    graph.sorted();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("'first'"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("'second'"), std::string::npos);
    EXPECT_EQ(error.message().find("'behind'"), std::string::npos);
  }
}

TEST(Graph, SortedIsStable) {
  Graph graph;
  const ValueId x = graph.add_input("x", DType::kFloat32, {1});
  const ValueId late = graph.add_value("late");
  graph.add_node("Add", "", "a", {x, late}, {graph.add_value("y")});
  graph.add_node("Relu", "", "b", {x}, {graph.add_value("z")});
  graph.add_node("Relu", "", "c", {x}, {late});
  EXPECT_EQ(graph.sorted(), (std::vector<NodeId>{1, 2, 0}));
}

TEST(Graph, Prune) {
  Small s;
  const ValueId unused = s.graph.add_constant("unused", one());
  s.graph.add_op("Neg", "dead", {s.a}, "d");
  s.graph.prune();
  EXPECT_FALSE(s.graph.find_node("dead"));
  EXPECT_FALSE(s.graph.find_value("unused"));
  EXPECT_FALSE(s.graph.is_constant(unused));
  EXPECT_TRUE(s.graph.is_constant(s.k));
  EXPECT_EQ(s.graph.sorted().size(), 3u);
  EXPECT_EQ(s.graph.consumers(s.a), std::vector<NodeId>{1});
}

TEST(Graph, OnlyInput) {
  Graph g;
  EXPECT_EQ(g.only_input(), kNoId);
  const ValueId forgotten = g.add_input("forgotten", DType::kFloat32, Dims{1});
  const ValueId x = g.add_input("x", DType::kFloat32, Dims{1});
  EXPECT_EQ(g.only_input(), kNoId) << "nothing is read";
  g.mark_output(g.add_op("Relu", "r", {x}, "y"));
  EXPECT_EQ(g.only_input(), x);
  g.mark_output(forgotten);
  EXPECT_EQ(g.only_input(), kNoId) << "two are needed";
}

TEST(Graph, CopiesAreIndependent) {
  Small s;
  Graph copy = s.graph;
  copy.remove_node(2);
  copy.rename(s.a, "other");
  EXPECT_NE(s.graph.producer(s.c), nullptr);
  EXPECT_EQ(s.graph.value(s.a).name, "a");
  EXPECT_EQ(copy.find_value("other"), s.a);
  EXPECT_EQ(copy.value(s.k).constant->raw(), s.graph.value(s.k).constant->raw());
}

}  // namespace
}  // namespace octet
