#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "onnx/test_model.h"

namespace octet {
namespace {

using namespace testing;

constexpr int64_t kSizes[] = {2, 3, 4, 5};  // of a, b, c, d

struct Case {
  std::vector<std::string> terms;
  std::string output;
};

Shape shape_of(const std::string& labels) {
  Shape shape;
  for (const char c : labels) shape.push_back(kSizes[c - 'a']);
  return shape;
}

int64_t offset(const std::string& labels, const std::vector<int64_t>& at) {
  int64_t i = 0;
  for (const char c : labels) i = i * kSizes[c - 'a'] + at[c - 'a'];
  return i;
}

// Over all values of all labels.
std::vector<float> expected(const Case& c, const std::vector<Tensor>& inputs) {
  int64_t count = 1;
  for (const int64_t d : shape_of(c.output)) count *= d;
  std::vector<float> result(count, 0);
  std::string used;
  for (const std::string& t : c.terms) used += t;
  std::vector<int64_t> at(4, 0);
  const std::function<void(size_t)> visit = [&](size_t label) {
    if (label == 4) {
      float product = 1;
      for (size_t i = 0; i < inputs.size(); ++i) product *= inputs[i].as<float>()[offset(c.terms[i], at)];
      result[offset(c.output, at)] += product;
      return;
    }
    const bool present = used.find(static_cast<char>('a' + label)) != std::string::npos;
    for (at[label] = 0; at[label] < (present ? kSizes[label] : 1); ++at[label]) visit(label + 1);
    at[label] = 0;
  };
  visit(0);
  return result;
}

Graph import_einsum(const std::string& equation, const std::vector<Tensor>& inputs,
                    bool constant_first = false) {
  Model model;
  Names names;
  for (size_t i = 0; i < inputs.size(); ++i) {
    names.push_back("x" + std::to_string(i));
    if (i == 0 && constant_first) {
      const auto values = inputs[i].as<float>();
      model.constant<float>(names[i], inputs[i].shape(), {values.begin(), values.end()});
    } else {
      model.input(names[i], DType::kFloat32, inputs[i].shape());
    }
  }
  auto& attribute = *model.node("Einsum", names, {"y"}).add_attribute();
  attribute.set_name("equation");
  attribute.set_type(onnx_pb::AttributeProto::STRING);
  attribute.set_s(equation);
  model.output("y");
  return model.import();
}

// Small integers: every order of summation is exact.
std::vector<Tensor> random_inputs(const Case& c, std::mt19937& random) {
  std::vector<Tensor> inputs;
  for (const std::string& t : c.terms) {
    inputs.emplace_back(DType::kFloat32, shape_of(t));
    for (float& v : inputs.back().as<float>()) v = static_cast<float>(static_cast<int>(random() % 9) - 4);
  }
  return inputs;
}

void check(const Case& c, std::mt19937& random) {
  std::string equation;
  for (size_t i = 0; i < c.terms.size(); ++i) equation += (i == 0 ? "" : ",") + c.terms[i];
  equation += "->" + c.output;
  SCOPED_TRACE(equation);
  const std::vector<Tensor> inputs = random_inputs(c, random);
  for (const bool constant : {false, true}) {
    if (constant && inputs.size() < 2) continue;
    const Graph graph = import_einsum(equation, inputs, constant);
    verify(graph);
    const Tensor found = compute(graph, constant ? std::vector(inputs.begin() + 1, inputs.end()) : inputs);
    EXPECT_EQ(found.shape(), shape_of(c.output));
    EXPECT_EQ(to_float(found), expected(c, inputs));
  }
}

TEST(Einsum, ChosenEquations) {
  std::mt19937 random(1);
  for (const Case& c : std::vector<Case>{{{"ab"}, "ba"},
                                         {{"abc"}, "b"},
                                         {{"ab", "bc"}, "ac"},
                                         {{"ab", "bc"}, "ca"},
                                         {{"abc", "abd"}, "acd"},
                                         {{"abcd", "cda"}, "ab"},
                                         {{"abc", "cd"}, "abd"},
                                         {{"ab", "bcd"}, "acd"},
                                         {{"abc", "bdc"}, "abd"},
                                         {{"a", "b"}, "ab"},
                                         {{"ab", "ab"}, "ab"},
                                         {{"ab", "b"}, "a"},
                                         {{"a", "a"}, ""},
                                         {{"ab", "bc", "cd"}, "ad"}})
    check(c, random);
}

TEST(Einsum, RandomEquations) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto draw = [&](const std::string& from) {
    std::string labels;
    for (const char c : from)
      if (random() % 3 != 0) labels += c;
    std::shuffle(labels.begin(), labels.end(), random);
    return labels;
  };
  for (int i = 0; i < 300; ++i) {
    Case c;
    std::string all;
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      c.terms.push_back(draw("abcd"));
      for (const char label : c.terms.back())
        if (all.find(label) == std::string::npos) all += label;
    }
    c.output = draw(all);
    check(c, random);
  }
}

TEST(Einsum, EllipsisAndImplicitOutput) {
  std::mt19937 random(3);
  const Case batched{{"abc", "acd"}, "abd"};
  const auto inputs = random_inputs(batched, random);
  for (const char* equation : {"...bc,...cd->...bd", "...bc,...cd", " ... b c , ... c d -> ... b d "})
    EXPECT_EQ(to_float(compute(import_einsum(equation, inputs), inputs)), expected(batched, inputs))
        << equation;
  const Case plain{{"bc", "cd"}, "bd"};
  const auto two = random_inputs(plain, random);
  EXPECT_EQ(to_float(compute(import_einsum("bc,cd", two), two)), expected(plain, two));
  EXPECT_EQ(to_float(compute(import_einsum("...c,cd->...d", two), two)), expected(plain, two));
}

TEST(Einsum, BecomesOneProduct) {
  std::mt19937 random(4);
  const Names ops = ops_of(import_einsum("cd,abc->abd", random_inputs({{"cd", "abc"}, "abd"}, random), true));
  EXPECT_EQ(std::ranges::count(ops, "MatMul"), 1);
  EXPECT_EQ(std::ranges::count(ops, "Unsqueeze"), 0) << "a matrix stays one";
}

TEST(Einsum, RefusesWhatItCannot) {
  std::mt19937 random(5);
  const auto inputs = random_inputs({{"aa", "ab"}, ""}, random);
  const auto message = [&](const std::string& equation) -> std::string {
    try {
      import_einsum(equation, inputs);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_NE(message("aa,ab->b").find("repeats 'a'"), std::string::npos);
  EXPECT_NE(message("ab,bc->ad").find("has 'd' behind the arrow alone"), std::string::npos);
  EXPECT_NE(message("ab->a").find("one term for each input"), std::string::npos);
  EXPECT_NE(message("ab,bc,ca->a").find("one term for each input"), std::string::npos);
  EXPECT_NE(message("abc,bc->a").find("rank"), std::string::npos);
  EXPECT_NE(message("a?,bc->a").find("'?'"), std::string::npos);
  EXPECT_NE(message("...abc,bc->a").find("rank"), std::string::npos);
  EXPECT_NE(message("ab,db->ad").find("MatMul"), std::string::npos) << "sizes 2 and 3";
}

}  // namespace
}  // namespace octet
