#include <gtest/gtest.h>

#include <functional>

#include "passes/canonicalize.h"
#include "passes/qdq.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

struct QuantizedNet : Net {
  explicit QuantizedNet(Dims shape = {1, 4, 6, 6}) : Net(std::move(shape)) {}

  ValueId zero(int value, DType dtype) {
    Tensor t(dtype, {});
    *static_cast<int8_t*>(t.raw()) = static_cast<int8_t>(value);
    return g.add_constant("z", std::move(t));
  }
  ValueId quantize(ValueId v, float scale, int z, const std::string& out, DType dtype = DType::kUInt8) {
    return op("QuantizeLinear", {v, scalar(scale), zero(z, dtype)}, out);
  }
  ValueId dequantize(ValueId v, float scale, int z, const std::string& out, DType dtype = DType::kUInt8) {
    return op("DequantizeLinear", {v, scalar(scale), zero(z, dtype)}, out);
  }
  ValueId ints(std::vector<int64_t> values) {
    return g.add_constant(
        "i", Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values)));
  }
};

const Tensor kInput = random_floats({1, 4, 6, 6}, -1, 1, 7);

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  ASSERT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(to_float(a), to_float(b));
}

// Each moving operator on bytes, in both types.
TEST(QuantizeMovedBytes, KeepsWhatTheGraphComputes) {
  for (const DType dtype : {DType::kUInt8, DType::kInt8}) {
    const int z = dtype == DType::kUInt8 ? 100 : -28;
    for (const std::string op : {"Transpose", "Reshape", "Slice", "Pad", "PadWithFill", "Concat", "Gather"}) {
      QuantizedNet net;
      const ValueId q = net.quantize(net.x, 0.01f, z, "q", dtype);
      Attributes a;
      ValueId moved = kNoId;
      if (op == "Transpose") {
        a.set("perm", Ints{0, 2, 3, 1});
        moved = net.op(op, {q}, "m", a);
      } else if (op == "Reshape") {
        moved = net.op(op, {q, net.ints({4, 36})}, "m");
      } else if (op == "Slice") {
        moved = net.op(op, {q, net.ints({1}), net.ints({3}), net.ints({1})}, "m");
      } else if (op == "Pad") {
        moved = net.op("Pad", {q, net.ints({0, 0, 1, 0, 0, 0, 0, 2})}, "m");
      } else if (op == "PadWithFill") {
        moved = net.op("Pad", {q, net.ints({0, 0, 1, 0, 0, 0, 0, 2}), net.zero(z, dtype)}, "m");
      } else if (op == "Concat") {
        moved = net.concat({q, net.quantize(net.x, 0.01f, z, "q2", dtype)}, "m");
      } else {
        a.set("axis", int64_t{1});
        moved = net.op(op, {q, net.ints({2, 0})}, "m", a);
      }
      net.finish(net.dequantize(moved, 0.01f, z, "y", dtype));
      const Tensor before = run(net.g, kInput);
      ASSERT_TRUE(quantize_moved_bytes(net.g)) << op;
      EXPECT_FALSE(quantize_moved_bytes(net.g)) << op;
      infer_shapes(net.g);
      verify(net.g);
      EXPECT_EQ(net.g.value(net.g.node(*net.g.find_node("m_node")).inputs[0]).dtype, DType::kFloat32) << op;
      expect_same(before, run(net.g, kInput));
    }
  }
}

TEST(QuantizeMovedBytes, WalksThroughChains) {
  QuantizedNet net;
  Attributes a;
  a.set("perm", Ints{0, 2, 3, 1});
  const ValueId q = net.quantize(net.x, 0.01f, 100, "q");
  const ValueId m = net.op("Transpose", {net.op("Transpose", {q}, "t1", a)}, "t2", a);
  net.finish(net.dequantize(m, 0.01f, 100, "y"));
  const Tensor before = run(net.g, kInput);
  while (quantize_moved_bytes(net.g)) infer_shapes(net.g);
  verify(net.g);
  for (const char* name : {"t1_node", "t2_node"})
    EXPECT_EQ(net.g.value(net.g.node(*net.g.find_node(name)).outputs[0]).dtype, DType::kFloat32);
  expect_same(before, run(net.g, kInput));
}

TEST(QuantizeMovedBytes, LeavesDifferentScalesAlone) {
  QuantizedNet net;
  const ValueId q = net.quantize(net.x, 0.01f, 100, "q"), r = net.quantize(net.x, 0.02f, 100, "r");
  net.finish(net.concat({q, r}, "y"));
  EXPECT_FALSE(quantize_moved_bytes(net.g));
}

TEST(CarryScales, BringsBytesToTheReader) {
  for (const DType dtype : {DType::kUInt8, DType::kInt8}) {
    QuantizedNet net;
    const ValueId x = net.dequantize(net.quantize(net.x, 0.01f, 3, "q", dtype), 0.01f, 3, "dq", dtype);
    const ValueId pooled = net.pool("MaxPool", x, "p");
    net.finish(net.op("Sigmoid", {net.concat({pooled, pooled}, "c")}, "y"));
    const Tensor before = run(net.g, kInput);
    ASSERT_TRUE(carry_scales(net.g));
    EXPECT_FALSE(carry_scales(net.g));
    infer_shapes(net.g);
    verify(net.g);
    EXPECT_EQ(ops_of(net.g),
              (Names{"QuantizeLinear", "DequantizeLinear", "MaxPool", "QuantizeLinear", "DequantizeLinear",
                     "Concat", "QuantizeLinear", "DequantizeLinear", "Sigmoid"}));
    expect_same(before, run(net.g, kInput));
  }
}

TEST(CarryScales, LeavesWhatIsNotExactOrNotWanted) {
  const auto unchanged = [](const std::function<ValueId(QuantizedNet&, ValueId)>& make) {
    QuantizedNet net;
    const ValueId x = net.dequantize(net.quantize(net.x, 0.01f, 3, "q"), 0.01f, 3, "dq");
    net.finish(make(net, x));
    return !carry_scales(net.g);
  };
  const auto resize = [](const char* mode) {
    return [mode](QuantizedNet& net, ValueId x) {
      Attributes a;
      a.set("mode", std::string(mode));
      const ValueId scales = net.g.add_constant("scales", Tensor::of<float>({4}, {1, 1, 2, 2}));
      return net.op("Sigmoid", {net.op("Resize", {x, kNoId, scales}, "r", a)}, "y");
    };
  };
  EXPECT_TRUE(unchanged(resize("linear")));
  EXPECT_FALSE(unchanged(resize("nearest")));
  const auto pad = [](float fill) {
    return [fill](QuantizedNet& net, ValueId x) {
      return net.op("Sigmoid",
                    {net.op("Pad", {x, net.ints({0, 0, 1, 0, 0, 0, 0, 2}), net.scalar(fill)}, "p")}, "y");
    };
  };
  EXPECT_TRUE(unchanged(pad(0.5f)));
  EXPECT_FALSE(unchanged(pad(0)));
  // The graph's output, and what is quantized anyway.
  EXPECT_TRUE(unchanged([](QuantizedNet& net, ValueId x) { return net.pool("MaxPool", x, "y"); }));
  EXPECT_TRUE(unchanged(
      [](QuantizedNet& net, ValueId x) { return net.quantize(net.pool("MaxPool", x, "p"), 0.02f, 5, "y"); }));
  EXPECT_TRUE(unchanged([](QuantizedNet& net, ValueId x) {
    return net.op(
        "Sigmoid",
        {net.concat({x, net.dequantize(net.quantize(net.x, 0.02f, 3, "q2"), 0.02f, 3, "dq2")}, "c")}, "y");
  }));
}

// A float Concat under a QuantizeLinear, per tensor and per channel; one input has a reader of its own.
TEST(QuantizeBeforeConcat, KeepsWhatTheGraphComputes) {
  for (const bool channels : {false, true}) {
    QuantizedNet net;
    const ValueId r = net.op("Relu", {net.x}, "r"), n = net.op("Neg", {net.x}, "n");
    const ValueId joined = net.concat({r, n}, "joined");
    QuantParams q{DType::kUInt8, -1, {0.01f}, {100}};
    if (channels) q = {DType::kUInt8, 1, {}, {}};
    for (int c = 0; channels && c < 8; ++c) {
      q.scale.push_back(0.004f * static_cast<float>(c + 1));
      q.zero_point.push_back(10 * c);
    }
    const ValueId y = add_dequantize(net.g, add_quantize(net.g, joined, q), q);
    net.finish(net.op("Add", {y, net.concat({r, r}, "again")}, "y"));
    const Tensor before = run(net.g, kInput);
    ASSERT_TRUE(quantize_before_concat(net.g));
    EXPECT_FALSE(quantize_before_concat(net.g));
    infer_shapes(net.g);
    verify(net.g);
    for (const ValueId input : net.g.producer(joined)->inputs)
      EXPECT_TRUE(net.g.producer(input)->is("DequantizeLinear"));
    expect_same(before, run(net.g, kInput));
  }
}

}  // namespace
}  // namespace octet
