#include <gtest/gtest.h>

#include "onnx/test_model.h"

namespace octet {
namespace {

using namespace testing;

// Empty lists of a window stand for the defaults, beside auto_pad too.
TEST(Window, EmptyAttributes) {
  constexpr const char* kLists[] = {"strides", "dilations", "pads"};
  Model model(13);
  model.input("x", DType::kFloat32, {1, 1, 2, 2});
  auto& pool = model.node("MaxPool", {"x"}, {"y"});
  add_attribute(pool, "kernel_shape", std::vector<int64_t>{2, 2});
  for (const char* name : kLists) add_attribute(pool, name, std::vector<int64_t>{});
  onnx_pb::AttributeProto& mode = *pool.add_attribute();
  mode.set_name("auto_pad");
  mode.set_type(onnx_pb::AttributeProto::STRING);
  mode.set_s("SAME_UPPER");
  model.output("y");
  const Graph graph = model.import();
  for (const char* name : kLists) EXPECT_FALSE(graph.node(graph.sorted().at(0)).attributes.has(name)) << name;
  EXPECT_EQ(to_float(compute(graph, {Tensor::of<float>({1, 1, 2, 2}, {1, 2, 4, 3})})),
            (std::vector<float>{4, 3, 4, 3}));
}

}  // namespace
}  // namespace octet
