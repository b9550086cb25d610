// Functions and branches of a model.
#include <gtest/gtest.h>

#include "onnx/branches.h"
#include "onnx/functions.h"
#include "onnx/test_model.h"

namespace octet {
namespace {

using namespace testing;

Tensor floats(std::vector<float> values) {
  return Tensor::of<float>({static_cast<int64_t>(values.size())}, std::span<const float>(values));
}

std::vector<float> result(const Model& model, std::vector<float> x) {
  const Graph graph = model.import();
  verify(graph);
  return to_float(compute(graph, {floats(std::move(x))}));
}

onnx_pb::FunctionProto& add_function(Model& model, const std::string& name, const Names& inputs,
                                     const Names& outputs) {
  auto& function = *model.proto.add_functions();
  function.set_name(name);
  function.set_domain("mine");
  for (const std::string& input : inputs) function.add_input(input);
  for (const std::string& output : outputs) function.add_output(output);
  auto& opset = *function.add_opset_import();
  opset.set_domain("");
  opset.set_version(13);
  return function;
}

void refer(onnx_pb::NodeProto& node, const std::string& name, const std::string& to) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx_pb::AttributeProto::FLOAT);
  attribute.set_ref_attr_name(to);
}

onnx_pb::GraphProto& add_branch(onnx_pb::NodeProto& node, const std::string& name,
                                const std::string& output) {
  auto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx_pb::AttributeProto::GRAPH);
  attribute.mutable_g()->add_output()->set_name(output);
  return *attribute.mutable_g();
}

TEST(Functions, CallsBecomeBodies) {
  Model model;
  auto& leaky = add_function(model, "Leaky", {"a", "unused"}, {"b"});
  leaky.add_attribute("slope");
  refer(add_node(leaky, "LeakyRelu", {"a"}, {"t"}), "alpha", "slope");
  add_node(leaky, "Add", {"t", "t"}, {"b"});
  auto& twice = add_function(model, "Twice", {"a"}, {"b", "same"});
  auto& given = *twice.add_attribute_proto();
  given.set_name("slope");
  given.set_type(onnx_pb::AttributeProto::FLOAT);
  given.set_f(0.5f);
  refer(add_node(twice, "Leaky", {"a"}, {"t"}, "mine"), "slope", "slope");
  refer(add_node(twice, "Leaky", {"t"}, {"b"}, "mine"), "slope", "slope");
  add_node(twice, "Identity", {"a"}, {"same"});
  model.input("x", DType::kFloat32, {2});
  model.node("Twice", {"x"}, {"t", "copy"}, "mine");  // the default: 0.5
  add_attribute(model.node("Twice", {"t"}, {"u"}, "mine"), "slope", 0.25f);
  model.node("Add", {"u", "copy"}, {"y"});
  model.output("y");
  // Twice for positive numbers multiplies by 4, for negative ones by (2 * slope)^2.
  EXPECT_EQ(result(model, {1, -1}), (std::vector<float>{17, -1 * 1 * 0.25f - 1}));
  const Graph graph = model.import();
  for (const std::string& op : ops_of(graph)) EXPECT_NE(op, "Twice");
  EXPECT_TRUE(graph.find_value("Twice_of_t/t"));
}

TEST(Functions, AttributesThatAreNotGivenAreLeftOut) {
  Model model;
  auto& leaky = add_function(model, "Leaky", {"a"}, {"b"});
  refer(add_node(leaky, "LeakyRelu", {"a"}, {"b"}), "alpha", "slope");
  model.input("x", DType::kFloat32, {1});
  model.node("Leaky", {"x"}, {"y"}, "mine");
  model.output("y");
  EXPECT_EQ(result(model, {-1}), (std::vector<float>{-0.01f}));
}

TEST(Functions, AnOutputMayBeAnInput) {
  Model model;
  auto& pass = add_function(model, "Pass", {"a"}, {"a", "b"});
  add_node(pass, "Neg", {"a"}, {"b"});
  model.input("x", DType::kFloat32, {1});
  model.node("Pass", {"x"}, {"s", "t"}, "mine");
  model.node("Sub", {"s", "t"}, {"y"});
  model.output("y");
  EXPECT_EQ(result(model, {3}), (std::vector<float>{6}));
}

TEST(Functions, MayHoldBranchesAndBeCalledInThem) {
  Model model;
  auto& choose = add_function(model, "Choose", {"a", "c"}, {"b"});
  auto& node = add_node(choose, "If", {"c"}, {"b"});
  add_node(add_branch(node, "then_branch", "r"), "Neg", {"a"}, {"r"});
  add_node(add_branch(node, "else_branch", "r"), "Relu", {"a"}, {"r"});
  model.input("x", DType::kFloat32, {1});
  model.constant<bool>("yes", {}, {true});
  auto& outer = model.node("If", {"yes"}, {"y"});
  add_node(add_branch(outer, "then_branch", "r"), "Choose", {"x", "yes"}, {"r"}, "mine");
  add_node(add_branch(outer, "else_branch", "r"), "Relu", {"x"}, {"r"});
  model.output("y");
  EXPECT_EQ(result(model, {3}), (std::vector<float>{-3}));
}

TEST(Functions, Errors) {
  const auto model_of = [](int calls) {
    Model model;
    auto& f = add_function(model, "F", {"a"}, {"b"});
    add_node(f, "F", {"a"}, {"b"}, "mine");
    auto previous = std::string("Relu");
    for (int i = 0; i < calls; ++i) {
      auto& g = add_function(model, "G" + std::to_string(i), {"a"}, {"b"});
      for (int k = 0; k < 16; ++k)
        add_node(g, previous, {k == 0 ? "a" : "t" + std::to_string(k)},
                 {k == 15 ? "b" : "t" + std::to_string(k + 1)}, i == 0 ? "" : "mine");
      previous = "G" + std::to_string(i);
    }
    model.input("x", DType::kFloat32, {1});
    model.node(calls ? previous : "F", {"x"}, {"y"}, "mine");
    model.output("y");
    return model;
  };
  EXPECT_NE(model_of(0).error().find("its function calls others"), std::string::npos);
  EXPECT_NE(model_of(6).error().find("expand to over"), std::string::npos);
  EXPECT_EQ(model_of(2).error(), "no error");
  Model model;
  add_function(model, "F", {"a"}, {"b"});
  add_function(model, "F", {"a"}, {"b"});
  model.input("x", DType::kFloat32, {1});
  EXPECT_NE(model.error().find("defined twice"), std::string::npos);
  Model arity;
  add_node(add_function(arity, "F", {"a"}, {"b"}), "Relu", {"a"}, {"b"});
  arity.input("x", DType::kFloat32, {1});
  arity.node("F", {"x", "x"}, {"y"}, "mine");
  arity.output("y");
  EXPECT_NE(arity.error().find("node 'F_of_y' (F): 2 inputs and 1 outputs, its function has 1 and 1"),
            std::string::npos);
}

// x * 2 or -x, with a constant of the branch.
void add_if(Model& model, const std::string& condition, const std::string& output) {
  auto& node = model.node("If", {condition}, {output});
  auto& yes = add_branch(node, "then_branch", "r");
  write_tensor(Tensor::scalar(2.0f), "k", *yes.add_initializer());
  add_node(yes, "Mul", {"x", "k"}, {"r"});
  add_node(add_branch(node, "else_branch", "r"), "Neg", {"x"}, {"r"});
}

TEST(Branches, ConstantConditions) {
  for (const bool value : {false, true}) {
    Model model;
    model.input("x", DType::kFloat32, {1});
    model.constant<bool>("c", {1}, {value});
    model.node("Not", {"c"}, {"n"});
    add_if(model, "c", "a");
    add_if(model, "n", "b");
    model.node("Sub", {"a", "b"}, {"y"});
    model.output("y");
    EXPECT_EQ(result(model, {3}), (std::vector<float>{value ? 9.0f : -9.0f}));
  }
}

TEST(Branches, ConditionsOnShapes) {
  for (const int64_t size : {1, 2}) {
    Model model;
    model.input("x", DType::kFloat32, {size});
    model.node("Relu", {"x"}, {"r"});
    model.node("Shape", {"r"}, {"s"});
    model.constant<int64_t>("one", {1}, {1});
    model.node("Equal", {"s", "one"}, {"c"});
    add_if(model, "c", "y");
    model.output("y");
    EXPECT_EQ(result(model, std::vector<float>(size, 3)), std::vector<float>(size, size == 1 ? 6.0f : -3.0f));
  }
}

TEST(Branches, NestedAndOneAfterAnother) {
  Model model;
  model.input("x", DType::kFloat32, {1});
  model.constant<bool>("yes", {}, {true});
  model.constant<bool>("no", {}, {false});
  auto& first = model.node("If", {"yes"}, {"c"});  // gives a condition
  add_node(add_branch(first, "then_branch", "r"), "Not", {"no"}, {"r"});
  add_node(add_branch(first, "else_branch", "r"), "Not", {"yes"}, {"r"});
  auto& outer = model.node("If", {"c"}, {"y"});
  auto& then = add_branch(outer, "then_branch", "r");
  add_node(then, "Exp", {"x"}, {"e"});
  auto& inner = add_node(then, "If", {"no"}, {"r"});
  add_branch(inner, "then_branch", "x");
  add_node(add_branch(inner, "else_branch", "s"), "Log", {"e"}, {"s"});
  add_node(add_branch(outer, "else_branch", "r"), "Neg", {"x"}, {"r"});
  model.output("y");
  EXPECT_EQ(model.import().inputs().size(), 1u);
  EXPECT_NEAR(result(model, {3})[0], 3, 1e-5);
}

// What PyTorch's detectors end with: nothing was found, or something is done with what was.
TEST(Branches, OfNothingAtAll) {
  for (const bool empty_result : {true, false}) {
    Model model;
    model.input("x", DType::kFloat32, {5});
    model.node("NonZero", {"x"}, {"places"});
    model.node("Shape", {"places"}, {"sizes"});
    model.node("ReduceProd", {"sizes"}, {"count"});
    model.constant<int64_t>("none", {}, {0});
    model.node("Equal", {"count", "none"}, {"c"});
    auto& node = model.node("If", {"c"}, {"y"});
    auto& nothing = add_branch(node, "then_branch", "r");
    auto& constant = *add_node(nothing, "Constant", {}, {"r"}).add_attribute();
    constant.set_name("value");
    constant.set_type(onnx_pb::AttributeProto::TENSOR);
    write_tensor(Tensor(DType::kInt64, {1, empty_result ? 0 : 1}), "", *constant.mutable_t());
    add_node(add_branch(node, "else_branch", "r"), "Neg", {"places"}, {"r"});
    model.output("y");
    if (empty_result)
      EXPECT_EQ(ops_of(model.import()).back(), "Identity") << "of the else branch";
    else
      EXPECT_NE(model.error().find("is not decided"), std::string::npos);
  }
}

TEST(Branches, Errors) {
  Model data;
  data.input("x", DType::kFloat32, {1});
  data.input("c", DType::kBool, {});
  add_if(data, "c", "y");
  data.output("y");
  EXPECT_NE(
      data.error().find("node 'If_of_y': If (domain 'ai.onnx', opset 13): its condition 'c' is not decided"),
      std::string::npos)
      << data.error();
  Model missing;
  missing.input("x", DType::kFloat32, {1});
  missing.constant<bool>("c", {}, {true});
  add_node(add_branch(missing.node("If", {"c"}, {"y"}), "else_branch", "r"), "Neg", {"x"}, {"r"});
  missing.output("y");
  EXPECT_NE(missing.error().find("node 'If_of_y' (If): attribute 'then_branch' is missing"),
            std::string::npos);
  // An operator that is not known, on the way to one condition of two.
  Model unknown;
  unknown.input("x", DType::kFloat32, {1});
  unknown.constant<bool>("c", {}, {true});
  unknown.node("Strange", {"x"}, {"d"});
  add_if(unknown, "c", "y");
  add_if(unknown, "d", "z");
  unknown.output("y");
  const std::string error = unknown.error();
  EXPECT_NE(error.find("Strange"), std::string::npos);
  EXPECT_EQ(error.find("If_of_y"), std::string::npos) << error;
  // A condition of nothing.
  Model nothing;
  nothing.input("x", DType::kFloat32, {1});
  nothing.node("Cast", {}, {"c"});
  add_if(nothing, "c", "y");
  nothing.output("y");
  EXPECT_NE(nothing.error(), "no error");
  // A condition that depends on its own result.
  Model cycle;
  cycle.input("x", DType::kFloat32, {1});
  add_if(cycle, "c", "y");
  cycle.node("Cast", {"y"}, {"c"});
  cycle.output("y");
  EXPECT_NE(cycle.error().find("If_of_y"), std::string::npos);
}

}  // namespace
}  // namespace octet
