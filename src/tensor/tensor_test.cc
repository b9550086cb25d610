#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tensor/attributes.h"
#include "tensor/dim.h"
#include "tensor/half.h"

namespace octet {
namespace {

TEST(DTypes, SizesAndNames) {
  EXPECT_EQ(dtype_bits(DType::kBFloat16), 16);
  EXPECT_EQ(dtype_bytes(DType::kInt4, 3), 2);
  EXPECT_EQ(dtype_bytes(DType::kFloat32, 3), 12);
  EXPECT_EQ(dtype_bytes(DType::kFloat32, -1), 0);
  EXPECT_EQ(dtype_name(DType::kUInt4), "uint4");
  EXPECT_TRUE(is_float(DType::kFloat64));
  EXPECT_FALSE(is_float(DType::kBool));
  EXPECT_THROW(dtype_bits(static_cast<DType>(99)), Error);
}

TEST(Tensors, AlignedZeroAndShared) {
  Tensor t(DType::kFloat32, {2, 3});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t.raw()) % 64, 0u);
  for (float v : t.as<float>()) EXPECT_EQ(v, 0.f);
  Tensor shared = t, copy = t.clone();
  t.as<float>()[0] = 5;
  EXPECT_EQ(shared.as<float>()[0], 5);
  EXPECT_EQ(copy.as<float>()[0], 0);
  EXPECT_EQ(t.reshaped({6}).shape(), Shape{6});
  EXPECT_THROW(t.reshaped({5}), Error);
  EXPECT_THROW(t.as<int8_t>(), Error);
}

TEST(Tensors, Limits) {
  EXPECT_FALSE(Tensor().defined());
  EXPECT_THROW(Tensor().as<float>(), Error);
  EXPECT_TRUE(Tensor(DType::kInt8, {0, 5}).defined());
  EXPECT_THROW(Tensor(DType::kInt8, {2, -1}), Error);
  EXPECT_THROW(Tensor(DType::kFloat32, {int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(Tensor(DType::kFloat32, {int64_t{1} << 60}), Error);
  EXPECT_NO_THROW(Tensor(DType::kFloat32, {int64_t{1} << 62, int64_t{1} << 62, 0}));
  const int64_t limit = memory_limit();
  set_memory_limit(1000);
  EXPECT_NO_THROW(Tensor(DType::kInt8, {1000}));
  EXPECT_THROW(Tensor(DType::kInt8, {1001}), Error);
  {
    const Tensor some(DType::kInt8, {600});
    const Tensor view = some.reshaped({2, 300});
    EXPECT_THROW(Tensor(DType::kInt8, {401}), Error);
    EXPECT_NO_THROW(Tensor(DType::kInt8, {400}));
  }
  EXPECT_NO_THROW(Tensor(DType::kInt8, {1000}));
  set_memory_limit(limit);
}

TEST(Tensors, Text) {
  EXPECT_EQ(to_string(Shape{1, 3, 224}), "1x3x224");
  EXPECT_EQ(to_string(Shape{}), "scalar");
}

TEST(Tensors, Conversion) {
  EXPECT_EQ(to_int64(Tensor::of<float>({3}, {1.9f, -1.9f, 1e30f})),
            (std::vector<int64_t>{1, -1, std::numeric_limits<int64_t>::max()}));
  EXPECT_EQ(to_int64(Tensor::of<uint64_t>({1}, {~uint64_t{0}}))[0], std::numeric_limits<int64_t>::max());
  EXPECT_EQ(to_int64(Tensor::scalar(std::nanf("")))[0], 0);
  EXPECT_EQ(to_float(Tensor::of<bool>({2}, {true, false})), (std::vector<float>{1, 0}));
  Tensor half(DType::kFloat16, {1});
  *static_cast<uint16_t*>(half.raw()) = 0x3c00;
  EXPECT_EQ(to_float(half)[0], 1.f);
  EXPECT_THROW(to_float(Tensor(DType::kInt4, {2})), Error);
}

TEST(Halves, EveryValueSurvives) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float f = half_to_float(half);
    if (std::isnan(f))
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(f))));
    else
      EXPECT_EQ(float_to_half(f), half);
    const float b = bfloat16_to_float(half);
    if (std::isnan(b))
      EXPECT_TRUE(std::isnan(bfloat16_to_float(float_to_bfloat16(b))));
    else
      EXPECT_EQ(float_to_bfloat16(b), half);
  }
}

TEST(Halves, RoundToEven) {
  for (uint16_t low = 0; low < 0x7bff; ++low) {  // the middle of two neighbours goes to the even one
    const float middle = (half_to_float(low) + half_to_float(static_cast<uint16_t>(low + 1))) / 2;
    EXPECT_EQ(float_to_half(middle), low + (low & 1));
    EXPECT_EQ(float_to_half(std::nextafter(middle, 1e9f)), low + 1);
    EXPECT_EQ(float_to_half(std::nextafter(middle, 0.f)), low);
  }
  EXPECT_EQ(float_to_half(65519.f), 0x7bff);
  EXPECT_EQ(float_to_half(65520.f), 0x7c00);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
}

TEST(AttributeMap, TypedAccess) {
  Attributes a;
  a.set("axis", int64_t{2});
  a.set("pads", std::vector<int64_t>{1, 2});
  EXPECT_EQ(a.get_int("axis", 0), 2);
  EXPECT_EQ(a.get_int("missing", 7), 7);
  EXPECT_EQ(a.get_ints("pads").size(), 2u);
  EXPECT_THROW(a.get_float("axis", 0), Error);
  EXPECT_TRUE(a.has("axis"));
  a.erase("axis");
  EXPECT_FALSE(a.has("axis"));
  EXPECT_EQ(a.begin()->first, "pads");
}

TEST(Dims, Parse) {
  const std::set<std::string, std::less<>> symbols = {"a", "b_1", "floor"};
  const Dim a = Dim::symbol("a"), b = Dim::symbol("b_1");
  const auto parse = [&](std::string_view text) { return parse_dim(text, symbols); };
  EXPECT_EQ(parse("a + b_1"), a + b);
  EXPECT_EQ(parse("2*(a + 3)"), Dim(2) * (a + 3));
  EXPECT_EQ(parse("8*((a//8))"), floor_div(a, 8) * 8);
  for (const Dim& dim : {a, floor_div(a + 1, 2) + b, floor_div(a * 4 + 3, 8) * b, (a + b) * 3})
    EXPECT_EQ(parse(dim.text()), dim) << dim.text();
  for (const char* text : {"", "a b_1", "a +", "c", "7", "a - b_1", "a // 0", "(a", "a)", "a / 2", "-a",
                           "a.b", "2a", "a * 9999999999999999999", "floor(a)"})
    EXPECT_EQ(parse(text), std::nullopt) << text;
  EXPECT_EQ(parse(std::string(100, '(') + "a" + std::string(100, ')')), a);
  EXPECT_EQ(parse(std::string(300, '(')), std::nullopt);
}

TEST(Dims, Simplify) {
  const Dim n = Dim::symbol("N"), h = Dim::symbol("H");
  EXPECT_EQ(Dim(2) + 3, Dim(5));
  EXPECT_EQ(n + 0, n);
  EXPECT_EQ(n * 1, n);
  EXPECT_EQ(n * 0, Dim(0));
  EXPECT_EQ(floor_div(n, 1), n);
  EXPECT_EQ(Dim(2) + (n + 3), n + 5);
  EXPECT_EQ(n + 2 - 3 + 1, n);
  EXPECT_EQ(floor_div(n * 4, 4), n);
  EXPECT_EQ(floor_div(n * 4 + 3, 2), n * 2 + 1);
  EXPECT_EQ(floor_div(floor_div(n, 2), 2), floor_div(n, 4));
  EXPECT_EQ(n - n, Dim(0));
  EXPECT_EQ(n + n, n * 2);
  EXPECT_EQ(n * 2 + n * 3, n * 5);
  EXPECT_EQ((n - h) + h, n);
  EXPECT_EQ((n + h) - h, n);
  EXPECT_EQ(min(n, n), n);
  EXPECT_FALSE(n == h);
  EXPECT_EQ((floor_div(h + 1, 2)).text(), "floor((H+1)/2)");
  // A stack of convolutions with stride 2.
  Dim side = h;
  for (int i = 0; i < 5; ++i) side = floor_div(side + 2 - 3, 2) + 1;
  EXPECT_EQ(side.text(), "floor((H+31)/32)");
  EXPECT_EQ(floor_div(h + 7, 4) - floor_div(h - 1, 4), Dim(2));
  EXPECT_EQ(max(min(n, 512), 0), min(n, 512));
  EXPECT_EQ(replace(min(n + h * 2, h) + 1, h * 2, n), min(n * 2, h) + 1);
  EXPECT_TRUE(nonnegative(floor_div(n * h + 3, 2)));
  EXPECT_FALSE(nonnegative(n - 1));
  EXPECT_EQ((h - 3).text(), "H-3");
  EXPECT_EQ((h * (n + 1)).text(), "H*(N+1)");
}

TEST(Dims, Evaluate) {
  const Dim h = Dim::symbol("H");
  const Dim out = floor_div(h + 2 - 3, 2) + 1;
  EXPECT_EQ(out.evaluate({{"H", 224}}), 112);
  EXPECT_EQ(floor_div(h, 4).evaluate({{"H", -5}}), -2);
  EXPECT_EQ(max(h, Dim(3)).evaluate({{"H", 1}}), 3);
  EXPECT_EQ(max(h, min(h, 512)), h);
  EXPECT_EQ(max(h, max(min(512, h), 0)), h) << "sizes are not negative";
  EXPECT_EQ(max(max(h, 3), h), max(h, 3));
  EXPECT_EQ(max(h - 3, 0).evaluate({{"H", 1}}), 0);
  EXPECT_THROW(out.evaluate({}), Error);
  EXPECT_THROW(h.value(), Error);
  EXPECT_THROW(floor_div(h, 0), Error);
  EXPECT_THROW(floor_div(Dim(5), h).evaluate({{"H", 0}}), Error);
  EXPECT_THROW((h * h).evaluate({{"H", int64_t{1} << 40}}), Error);
  EXPECT_EQ(evaluate(Dims{1, h}, {{"H", 9}}), (std::vector<int64_t>{1, 9}));
  EXPECT_EQ(to_string(Dims{1, h + 1}), "1xH+1");
  EXPECT_FALSE(all_known({1, h}));
}

TEST(Dims, Bounded) {
  Dim deep = Dim::symbol("A"), wide = deep;
  EXPECT_THROW(
      {
        for (int i = 0; i < 1000; ++i) deep = max(deep * 2, Dim(i)) + 1;
      },
      Error);
  EXPECT_THROW(
      {
        for (int i = 0; i < 60; ++i) wide = wide * wide;
      },
      Error);
}

TEST(Dims, RandomIdentitiesKeepTheValue) {
  // Simplified expressions against plain arithmetic.
  uint32_t seed = 12345;
  const auto next = [&](uint32_t n) {
    return (seed = seed * 1664525u + 1013904223u) >> 8 << 8 ? (seed >> 8) % n : 0;
  };
  const SymbolValues symbols{{"A", 37}, {"B", 5}};
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::pair<Dim, int64_t>> pool{{Dim::symbol("A"), 37}, {Dim::symbol("B"), 5}};
    for (int i = 0; i < 6; ++i) {
      const auto pick = [&]() -> std::pair<Dim, int64_t> {
        const auto c = static_cast<int64_t>(next(9)) - 4;
        return next(3) == 0 ? std::pair<Dim, int64_t>{c, c} : pool[next(static_cast<uint32_t>(pool.size()))];
      };
      const auto [a, av] = pick();
      const auto [b, bv] = pick();
      switch (next(6)) {
        case 0:
          pool.emplace_back(a + b, av + bv);
          break;
        case 1:
          pool.emplace_back(a - b, av - bv);
          break;
        case 2:
          if (std::abs(av) < 1000 && std::abs(bv) < 1000) pool.emplace_back(a * b, av * bv);
          break;
        case 3:
          if (bv > 0) pool.emplace_back(floor_div(a, b), (av >= 0 ? av : av - bv + 1) / bv);
          break;
        case 4:
          pool.emplace_back(min(a, b), std::min(av, bv));
          break;
        default:
          pool.emplace_back(max(a, b), std::max(av, bv));
      }
      ASSERT_EQ(pool.back().first.evaluate(symbols), pool.back().second)
          << "round " << round << ": " << pool.back().first.text();
    }
  }
}

}  // namespace
}  // namespace octet
