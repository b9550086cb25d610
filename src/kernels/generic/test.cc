#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/generic/generic.h"
#include "kernels/generic/math.h"

namespace octet::kernels {
namespace {

using Ints = std::vector<int64_t>;
using Floats = std::vector<float>;

Tensor ints(std::initializer_list<int64_t> values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

Tensor floats(Shape shape, std::initializer_list<float> values) {
  return Tensor::of<float>(std::move(shape), values);
}

Attributes with(std::initializer_list<std::pair<std::string, Attribute>> values) {
  Attributes a;
  for (const auto& [name, value] : values) a.set(name, value);
  return a;
}

Tensor run(std::string_view op, const Attributes& attributes, std::vector<Tensor> inputs, Shape shape,
           DType dtype = DType::kFloat32) {
  Tensor y(dtype, std::move(shape));
  find_generic(op)(attributes, inputs, std::span(&y, 1));
  return y;
}

TEST(Generic, TableIsComplete) {
  for (std::string_view name : generic_names()) EXPECT_NE(find_generic(name), nullptr) << name;
  EXPECT_EQ(find_generic("NoSuchOperator"), nullptr);
  EXPECT_EQ(find_generic(""), nullptr);
}

TEST(Generic, BroadcastArithmetic) {
  const Tensor a = floats({2, 3}, {1, 2, 3, 4, 5, 6}), row = floats({3}, {10, 20, 30}),
               column = floats({2, 1}, {2, 3});
  EXPECT_EQ(to_float(run("Add", {}, {a, row}, {2, 3})), (Floats{11, 22, 33, 14, 25, 36}));
  EXPECT_EQ(to_float(run("Mul", {}, {column, a}, {2, 3})), (Floats{2, 4, 6, 12, 15, 18}));
  EXPECT_EQ(to_float(run("Max", {}, {a, column, Tensor::scalar(2.5f)}, {2, 3})),
            (Floats{2.5f, 2.5f, 3, 4, 5, 6}));
  EXPECT_EQ(to_float(run("PRelu", {}, {floats({2, 2}, {-1, 1, -2, 2}), floats({2}, {0.5f, 0.25f})}, {2, 2})),
            (Floats{-0.5f, 1, -1, 2}));
  EXPECT_THROW(run("Add", {}, {a, floats({2}, {1, 2})}, {2, 3}), Error);
  EXPECT_THROW(run("Add", {}, {a, row}, {2, 4}), Error);
  EXPECT_THROW(run("Div", {}, {ints({1}), ints({0})}, {1}, DType::kInt64), Error);
  EXPECT_EQ(to_int64(run("Div", {}, {ints({-7, INT64_MIN}), ints({2, -1})}, {2}, DType::kInt64)),
            (Ints{-3, INT64_MIN}));
  EXPECT_EQ(to_int64(run("Mod", {}, {ints({-7, 7}), ints({3, -3})}, {2}, DType::kInt64)), (Ints{2, -2}));
}

TEST(Generic, Functions) {
  const Floats values{-20, -3.5f, -1, -1e-3f, 0, 1e-3f, 0.7f, 2, 5, 30};
  const Tensor x = Tensor::of<float>({10}, values);
  const std::pair<const char*, double (*)(double)> cases[] = {
      {"Exp", [](double v) { return std::exp(v); }},
      {"Sigmoid", [](double v) { return 1 / (1 + std::exp(-v)); }},
      {"Tanh", [](double v) { return std::tanh(v); }},
      {"Erf", [](double v) { return std::erf(v); }},
      {"Elu", [](double v) { return v < 0 ? std::expm1(v) : v; }},
      {"Softplus", [](double v) { return std::log1p(std::exp(v)); }},
      {"Sin", [](double v) { return std::sin(v); }},
      {"Cos", [](double v) { return std::cos(v); }},
      {"Silu", [](double v) { return v / (1 + std::exp(-v)); }},
      {"Round", [](double v) { return std::nearbyint(v); }},
  };
  for (const auto& [op, function] : cases) {
    const Floats y = to_float(run(op, {}, {x}, {10}));
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_NEAR(y[i], function(values[i]), 1e-6 * (1 + std::fabs(function(values[i])))) << op;
  }
}

TEST(Generic, MathAgainstTheStandardLibrary) {
  using namespace generic;
  for (double x = -700; x < 700; x += 0.37) {
    EXPECT_NEAR(exp_exact(x) / std::exp(x), 1, 1e-14);
    EXPECT_NEAR(sin_exact(x * 10), std::sin(x * 10), 1e-13);
    EXPECT_NEAR(cos_exact(x * 10), std::cos(x * 10), 1e-13);
    const double p = std::exp(x);
    EXPECT_NEAR(log_exact(p), std::log(p), 1e-13 * (1 + std::fabs(x)));
    EXPECT_NEAR(pow_exact(std::fabs(x) + 0.1, 1.3) / std::pow(std::fabs(x) + 0.1, 1.3), 1, 1e-13);
  }
  EXPECT_EQ(pow_exact(-2, 3), -8);
  EXPECT_TRUE(std::isnan(pow_exact(-2, 0.5)));
  EXPECT_EQ(pow_exact(0, -1), std::numeric_limits<double>::infinity());
}

TEST(Generic, Movement) {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(to_float(run("Transpose", {}, {x}, {3, 2})), (Floats{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(to_float(run("Concat", with({{"axis", int64_t{1}}}), {x, floats({2, 1}, {7, 8})}, {2, 4})),
            (Floats{1, 2, 3, 7, 4, 5, 6, 8}));
  EXPECT_EQ(to_float(run("Slice", {}, {x, ints({-1}), ints({INT64_MIN}), ints({1}), ints({-2})}, {2, 2})),
            (Floats{3, 1, 6, 4}));
  EXPECT_EQ(to_float(run("Tile", {}, {floats({1, 2}, {1, 2}), ints({2, 2})}, {2, 4})),
            (Floats{1, 2, 1, 2, 1, 2, 1, 2}));
  EXPECT_EQ(to_float(run("Expand", {}, {floats({2, 1}, {1, 2}), ints({2, 3})}, {2, 3})),
            (Floats{1, 1, 1, 2, 2, 2}));
  EXPECT_EQ(to_float(run("Pad", {}, {x, ints({0, 1, 1, -1}), Tensor::scalar(9.0f)}, {3, 3})),
            (Floats{9, 1, 2, 9, 4, 5, 9, 9, 9}));
  EXPECT_EQ(to_float(run("Pad", {}, {x, ints({1, 0, 1, 0}), Tensor::scalar(9.0f)}, {4, 3})),
            (Floats{9, 9, 9, 1, 2, 3, 4, 5, 6, 9, 9, 9}));
  EXPECT_EQ(to_float(run("Pad", with({{"mode", std::string("edge")}}), {x, ints({-1, 0, 1, 0})}, {2, 3})),
            (Floats{4, 5, 6, 4, 5, 6}));
  EXPECT_EQ(to_float(run("Pad", with({{"mode", std::string("reflect")}}),
                         {floats({3}, {1, 2, 3}), ints({2, 1})}, {6})),
            (Floats{3, 2, 1, 2, 3, 2}));
  EXPECT_EQ(
      to_float(run("Where", {}, {Tensor::of<bool>({2, 1}, {true, false}), x, Tensor::scalar(0.0f)}, {2, 3})),
      (Floats{1, 2, 3, 0, 0, 0}));
  EXPECT_THROW(run("Pad", {}, {x, ints({0, 1, 1})}, {3, 3}), Error);
  EXPECT_THROW(run("Slice", {}, {x, ints({0}), ints({1}), ints({0}), ints({0})}, {1, 3}), Error);
}

TEST(Generic, MovementOfFourBits) {
  Tensor x(DType::kInt4, {3, 3});  // 1 .. 9 as nibbles
  const uint8_t bytes[] = {0x21, 0x43, 0x65, 0x87, 0x09};
  std::copy_n(bytes, 5, static_cast<uint8_t*>(x.raw()));
  const Tensor y = run("Transpose", {}, {x}, {3, 3}, DType::kInt4);
  const uint8_t expected[] = {0x41, 0x27, 0x85, 0x63, 0x09};
  EXPECT_TRUE(std::equal(expected, expected + 5, static_cast<const uint8_t*>(y.raw())));
}

TEST(Generic, GatherChecksItsIndices) {
  const Tensor x = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(to_float(run("Gather", {}, {x, ints({-1, 0})}, {2, 2})), (Floats{5, 6, 1, 2}));
  EXPECT_THROW(run("Gather", {}, {x, ints({3, 0})}, {2, 2}), Error);
  EXPECT_THROW(run("Gather", {}, {x, ints({-4, 0})}, {2, 2}), Error);
  EXPECT_EQ(to_float(run("GatherElements", with({{"axis", int64_t{1}}}),
                         {x, Tensor::of<int64_t>({2, 1}, {1, 0})}, {2, 1})),
            (Floats{2, 3}));
}

TEST(Generic, ConvAndPool) {
  const Tensor x = floats({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), w = floats({1, 1, 2, 2}, {1, 0, 0, 1});
  const Tensor b = floats({1}, {0.5f});
  EXPECT_EQ(to_float(run("Conv", {}, {x, w, b}, {1, 1, 2, 2})), (Floats{6.5f, 8.5f, 12.5f, 14.5f}));
  EXPECT_EQ(to_float(run("Conv", with({{"auto_pad", std::string("SAME_UPPER")}, {"strides", Ints{2, 2}}}),
                         {x, w}, {1, 1, 2, 2})),
            (Floats{6, 3, 7, 9}));
  EXPECT_EQ(to_float(run("ConvTranspose", with({{"strides", Ints{2, 2}}}), {floats({1, 1, 1, 2}, {1, 2}), w},
                         {1, 1, 2, 4})),
            (Floats{1, 0, 2, 0, 0, 1, 0, 2}));
  const Attributes pool =
      with({{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}, {"ceil_mode", int64_t{1}}});
  EXPECT_EQ(to_float(run("MaxPool", pool, {x}, {1, 1, 2, 2})), (Floats{5, 6, 8, 9}));
  EXPECT_EQ(to_float(run("AveragePool", pool, {x}, {1, 1, 2, 2})), (Floats{3, 4.5f, 7.5f, 9}));
  EXPECT_THROW(run("Conv", {}, {x, floats({1, 2, 1, 2}, {1, 0, 0, 1})}, {1, 1, 3, 2}), Error);
}

TEST(Generic, MatricesAndReductions) {
  const Tensor a = floats({2, 2}, {1, 2, 3, 4}), b = floats({2, 2}, {5, 6, 7, 8});
  EXPECT_EQ(to_float(run("MatMul", {}, {a, b}, {2, 2})), (Floats{19, 22, 43, 50}));
  EXPECT_EQ(to_float(run("Gemm", with({{"transB", int64_t{1}}, {"alpha", 2.0f}}),
                         {a, b, floats({2}, {1, -1})}, {2, 2})),
            (Floats{35, 45, 79, 105}));
  EXPECT_EQ(to_float(run("ReduceMean", with({{"keepdims", int64_t{0}}}), {a, ints({0})}, {2})),
            (Floats{2, 3}));
  EXPECT_EQ(to_float(run("ReduceSum", {}, {a}, {1, 1})), (Floats{10}));
  EXPECT_EQ(to_int64(run("ArgMax", with({{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}), {a}, {2},
                         DType::kInt64)),
            (Ints{1, 1}));
  const Floats s = to_float(run("Softmax", with({{"axis", int64_t{0}}}), {a}, {2, 2}));
  EXPECT_NEAR(s[0], 1 / (1 + std::exp(2.0)), 1e-6);
  EXPECT_NEAR(s[0] + s[2], 1, 1e-6);
}

// In no time, whatever the other dimensions are.
TEST(Generic, NothingOfManyRows) {
  const Shape many{int64_t{1} << 50, 0};
  run("LpNormalization", {}, {Tensor(DType::kFloat32, many)}, many);
  const Shape most{4, INT64_MAX, 0};
  const Tensor nothing(DType::kFloat32, most);
  run("Transpose", with({{"perm", Ints{2, 1, 0}}}), {nothing}, {0, INT64_MAX, 4});
  run("Tile", {}, {nothing, ints({1, 1, 2})}, most);
}

// Results that no integer holds saturate, and NaN becomes 0, as Cast has it.
TEST(Generic, LogarithmsAndRootsInIntegers) {
  const Tensor nothing(DType::kInt64, {1, 0});
  EXPECT_EQ(to_int64(run("ReduceLogSumExp", {}, {nothing}, {1, 1}, DType::kInt64)), (Ints{INT64_MIN}));
  EXPECT_EQ(to_int64(run("ReduceLogSum", {}, {ints({0, 0})}, {1}, DType::kInt64)), (Ints{INT64_MIN}));
  EXPECT_EQ(to_int64(run("ReduceL2", {}, {ints({3, 4})}, {1}, DType::kInt64)), (Ints{5}));
  // The sum of squares wraps around to a negative one.
  EXPECT_EQ(to_int64(run("ReduceL2", {}, {ints({int64_t{3} << 30})}, {1}, DType::kInt64)), (Ints{0}));
}

TEST(Generic, MagnitudeOfTheLowestInteger) {
  EXPECT_EQ(to_int64(run("Abs", {}, {ints({INT64_MIN, -2})}, {2}, DType::kInt64)), (Ints{INT64_MIN, 2}));
  EXPECT_EQ(to_int64(run("ReduceL1", {}, {ints({INT64_MIN, -2})}, {1}, DType::kInt64)),
            (Ints{INT64_MIN + 2}));
}

// Along the first axis the same bits as along the last one of the transposed matrix.
TEST(Generic, SoftmaxOfColumnsIsThatOfRows) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 4);
  for (const int64_t n : {1, 2, 16, 17, 50})
    for (const int64_t width : {2, 63, 64, 65, 200}) {
      Tensor columns(DType::kFloat32, {n, width}), rows(DType::kFloat32, {width, n});
      for (int64_t i = 0; i < n; ++i)
        for (int64_t c = 0; c < width; ++c)
          columns.as<float>()[static_cast<size_t>(i * width + c)] =
              rows.as<float>()[static_cast<size_t>(c * n + i)] = normal(random);
      for (const char* op : {"Softmax", "LogSoftmax"}) {
        const Floats a = to_float(run(op, with({{"axis", int64_t{0}}}), {columns}, {n, width}));
        const Floats b = to_float(run(op, with({{"axis", int64_t{1}}}), {rows}, {width, n}));
        for (int64_t i = 0; i < n; ++i)
          for (int64_t c = 0; c < width; ++c)
            ASSERT_EQ(a[static_cast<size_t>(i * width + c)], b[static_cast<size_t>(c * n + i)])
                << op << " " << n;
      }
    }
}

// Every part by itself, the last first, gives what the operator gives at once.
TEST(Generic, PartsMakeTheWhole) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  const auto filled = [&](const Shape& shape) {
    Tensor t(DType::kFloat32, shape);
    for (int64_t i = 0; i < t.count(); ++i) t.as<float>()[static_cast<size_t>(i)] = normal(random);
    return t;
  };
  struct Case {
    const char* op;
    int64_t axis;
    std::vector<Shape> in, out;
    DType dtype = DType::kFloat32;  // of the outputs
  };
  const std::vector<Case> cases = {
      {"Concat", 2, {{1, 144, 700}, {1, 144, 3}, {1, 144, 101}}, {{1, 144, 804}}},
      {"Concat", 1, {{1, 3, 40001}, {1, 5, 40001}}, {{1, 8, 40001}}},
      {"Concat", 1, {{3, 30001}, {3, 7}}, {{3, 30008}}},
      {"Split", 1, {{1, 9, 30000}}, {{1, 4, 30000}, {1, 5, 30000}}},
      {"Split", 2, {{70, 3, 500}}, {{70, 3, 1}, {70, 3, 499}}},
      {"Softmax", 1, {{1, 16, 4, 1100}}, {{1, 16, 4, 1100}}},
      {"Softmax", 1, {{3, 50, 999}}, {{3, 50, 999}}},
      {"Softmax", 1, {{40001, 2}}, {{40001, 2}}},
      {"Softmax", -1, {{77, 1001}}, {{77, 1001}}},
      {"Cast", 0, {{3, 20001}}, {{3, 20001}}, DType::kFloat16},
      {"ArgMax", 1, {{2, 19, 1500}}, {{2, 1, 1500}}, DType::kInt64},
      {"ArgMin", -1, {{1900, 21}}, {{1900, 1}}, DType::kInt64},
      {"GridSample", 0, {{2, 33, 9, 7}, {2, 70, 13, 2}}, {{2, 33, 70, 13}}},
      {"GridSample", 0, {{1, 40, 3, 4, 5}, {1, 6, 7, 31, 3}}, {{1, 40, 6, 7, 31}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.op) + " " + to_string(c.in[0]));
    const Attributes attributes = with({{"axis", c.axis}});
    std::vector<Tensor> in, whole, parts;
    for (const Shape& shape : c.in) in.push_back(filled(shape));
    for (const Shape& shape : c.out) {
      whole.emplace_back(c.dtype, shape);
      parts.emplace_back(c.dtype, shape);
    }
    find_generic(c.op)(attributes, in, whole);
    const GenericParts* cut = find_generic_parts(c.op, in, parts);
    ASSERT_NE(cut, nullptr);
    const int64_t count = cut->count(attributes, in, parts);
    ASSERT_GT(count, 1);
    for (int64_t i = count; i-- > 0;) cut->run(attributes, in, parts, i, i + 1);
    for (size_t i = 0; i < whole.size(); ++i)
      ASSERT_EQ(std::memcmp(whole[i].raw(), parts[i].raw(), static_cast<size_t>(whole[i].bytes())), 0);
  }
}

TEST(Generic, Quantization) {
  const Tensor x = floats({2, 2}, {-1, 0.25f, 0.75f, 300}), scale = floats({2}, {0.5f, 1});
  const Tensor zero = Tensor::of<uint8_t>({2}, {128, 3});
  const Tensor q =
      run("QuantizeLinear", with({{"axis", int64_t{1}}}), {x, scale, zero}, {2, 2}, DType::kUInt8);
  EXPECT_EQ(to_int64(q), (Ints{126, 3, 130, 255}));
  EXPECT_EQ(to_float(run("DequantizeLinear", with({{"axis", int64_t{1}}}), {q, scale, zero}, {2, 2})),
            (Floats{-1, 0, 1, 252}));
  const Tensor four =
      run("QuantizeLinear", {}, {floats({1, 4}, {1, 2, 3, 99}), Tensor::scalar(1.0f)}, {1, 4}, DType::kUInt4);
  const Attributes blocks = with({{"axis", int64_t{1}}, {"block_size", int64_t{2}}});
  EXPECT_EQ(to_float(run("DequantizeLinear", blocks, {four, floats({1, 2}, {2, 10})}, {1, 4})),
            (Floats{2, 4, 30, 150}));
}

TEST(Generic, Resize) {
  const Tensor x = floats({1, 1, 1, 2}, {0, 4});
  const Tensor none(DType::kFloat32, {0}), scales = floats({4}, {1, 1, 1, 2});
  EXPECT_EQ(to_float(run("Resize", with({{"mode", std::string("linear")}}), {x, none, scales}, {1, 1, 1, 4})),
            (Floats{0, 1, 3, 4}));
  EXPECT_EQ(to_float(run("Resize",
                         with({{"coordinate_transformation_mode", std::string("asymmetric")},
                               {"nearest_mode", std::string("floor")}}),
                         {x, none, scales}, {1, 1, 1, 4})),
            (Floats{0, 0, 4, 4}));
}

// Linear in both directions: of rows that grow the last is computed first, and planes are parts.
TEST(Generic, ResizeOfPlanesIsCutIntoParts) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (const Shape& out : {Shape{1, 9, 120, 90}, Shape{1, 9, 11, 700}, Shape{1, 9, 300, 13}})
    for (const char* mode : {"linear", "nearest", "cubic"}) {
      SCOPED_TRACE(to_string(out) + mode);
      Tensor x(DType::kFloat32, {1, 9, 15, 18});
      for (float& v : x.as<float>()) v = normal(random);
      const auto sizes = Tensor::of<int64_t>({4}, {out[0], out[1], out[2], out[3]});
      const std::vector<Tensor> inputs{x, Tensor(), Tensor(), sizes};
      const Attributes attributes = with({{"mode", std::string(mode)}});
      Tensor whole(DType::kFloat32, out), parts(DType::kFloat32, out);
      find_generic("Resize")(attributes, inputs, std::span(&whole, 1));
      const GenericParts* cut = find_generic_parts("Resize", inputs, std::span(&parts, 1));
      ASSERT_NE(cut, nullptr);
      const int64_t count = cut->count(attributes, inputs, std::span(&parts, 1));
      ASSERT_GT(count, 1);
      for (int64_t i = count; i-- > 0;) cut->run(attributes, inputs, std::span(&parts, 1), i, i + 1);
      EXPECT_EQ(to_float(whole), to_float(parts));
      if (std::string_view(mode) != "linear") continue;
      for (int64_t i = 0; i < whole.count(); ++i) {
        const auto at = [&](int64_t o, int64_t in, int64_t size) {
          return std::clamp(
              (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(size) - 0.5, 0.0,
              static_cast<double>(in - 1));
        };
        const int64_t c = i / (out[2] * out[3]), r = i / out[3] % out[2], k = i % out[3];
        const double y = at(r, 15, out[2]), z = at(k, 18, out[3]);
        const auto value = [&](double row, double column) {
          return x.as<float>()[static_cast<size_t>((c * 15 + static_cast<int64_t>(row)) * 18 +
                                                   static_cast<int64_t>(column))];
        };
        const double y0 = std::floor(y), z0 = std::floor(z), y1 = std::min(y0 + 1, 14.0),
                     z1 = std::min(z0 + 1, 17.0), u = y - y0, v = z - z0;
        const double expected = (1 - u) * ((1 - v) * value(y0, z0) + v * value(y0, z1)) +
                                u * ((1 - v) * value(y1, z0) + v * value(y1, z1));
        ASSERT_NEAR(whole.as<float>()[static_cast<size_t>(i)], expected, 1e-5) << i;
      }
    }
}

TEST(Generic, HalfPrecisionIsComputedInFloat) {
  Tensor x(DType::kFloat16, {2});
  const uint16_t bits[] = {0x3c00, 0xc000};  // 1, -2
  std::copy_n(bits, 2, static_cast<uint16_t*>(x.raw()));
  EXPECT_EQ(to_float(run("Mul", {}, {x, x}, {2}, DType::kFloat16)), (Floats{1, 4}));
  EXPECT_EQ(to_int64(run("Cast", {}, {x}, {2}, DType::kInt8)), (Ints{1, -2}));
}

}  // namespace
}  // namespace octet::kernels
