// Operators that choose by values or sample between them, against plain definitions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/generic/generic.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using Ints = std::vector<int64_t>;
using Floats = std::vector<float>;

Attributes with(std::initializer_list<std::pair<std::string, Attribute>> values) {
  Attributes a;
  for (const auto& [name, value] : values) a.set(name, value);
  return a;
}

Tensor ints(std::initializer_list<int64_t> values) {
  return Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values);
}

Tensor floats(Shape shape, std::initializer_list<float> values) {
  return Tensor::of<float>(std::move(shape), values);
}

std::vector<Tensor> make(std::string_view op, const Attributes& attributes, const std::vector<Tensor>& inputs,
                         const std::vector<DType>& dtypes) {
  std::vector<Tensor> outputs;
  for (const DType dtype : dtypes) outputs.emplace_back(dtype, Shape{0});
  find_maker(op)(attributes, inputs, outputs);
  return outputs;
}

Tensor run(std::string_view op, const Attributes& attributes, const std::vector<Tensor>& inputs, Shape shape,
           DType dtype = DType::kFloat32) {
  Tensor y(dtype, std::move(shape));
  find_generic(op)(attributes, inputs, std::span(&y, 1));
  return y;
}

Tensor random_tensor(Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tensor t(DType::kFloat32, std::move(shape));
  for (float& v : t.as<float>()) v = normal(random);
  return t;
}

TEST(Choice, TopKIsAStableSort) {
  std::mt19937 random(7);
  for (int n = 1; n < 40; ++n) {
    Tensor x(DType::kInt32, {3, n});
    for (int32_t& v : x.as<int32_t>()) v = static_cast<int32_t>(random() % 8);
    const int64_t k = 1 + static_cast<int64_t>(random()) % n;
    for (const bool largest : {true, false}) {
      const auto out =
          make("TopK", with({{"largest", int64_t{largest}}}), {x, ints({k})}, {DType::kInt32, DType::kInt64});
      ASSERT_EQ(out[0].shape(), (Shape{3, k}));
      for (int64_t r = 0; r < 3; ++r) {
        const int32_t* row = x.as<int32_t>().data() + r * n;
        Ints order(static_cast<size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](int64_t i, int64_t j) { return largest ? row[i] > row[j] : row[i] < row[j]; });
        for (int64_t j = 0; j < k; ++j) {
          ASSERT_EQ(out[1].as<int64_t>()[static_cast<size_t>(r * k + j)], order[static_cast<size_t>(j)]);
          ASSERT_EQ(out[0].as<int32_t>()[static_cast<size_t>(r * k + j)], row[order[static_cast<size_t>(j)]]);
        }
      }
    }
  }
  EXPECT_THROW(make("TopK", {}, {floats({2}, {1, 2}), ints({3})}, {DType::kFloat32, DType::kInt64}), Error);
  EXPECT_THROW(make("TopK", {}, {floats({2}, {1, 2}), ints({-1})}, {DType::kFloat32, DType::kInt64}), Error);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto out =
      make("TopK", {}, {floats({4}, {1, nan, 3, nan}), ints({3})}, {DType::kFloat32, DType::kInt64});
  EXPECT_EQ(to_int64(out[1]), (Ints{1, 3, 2}));
}

TEST(Choice, NonZeroOfAnyType) {
  EXPECT_EQ(to_int64(make("NonZero", {}, {floats({2, 2}, {1, 0, -0.0f, 2})}, {DType::kInt64})[0]),
            (Ints{0, 1, 0, 1}));
  EXPECT_EQ(make("NonZero", {}, {Tensor::scalar(3.0f)}, {DType::kInt64})[0].shape(), (Shape{1, 1}));
  EXPECT_EQ(make("NonZero", {}, {Tensor(DType::kFloat16, {3, 0})}, {DType::kInt64})[0].shape(),
            (Shape{2, 0}));
}

TEST(Choice, UniqueSlicesAndElements) {
  const Tensor x = floats({6}, {2, 1, 1, 3, 4, 3});
  const std::vector<DType> four{DType::kFloat32, DType::kInt64, DType::kInt64, DType::kInt64};
  auto out = make("Unique", with({{"sorted", int64_t{0}}}), {x}, four);
  EXPECT_EQ(to_float(out[0]), (Floats{2, 1, 3, 4}));
  EXPECT_EQ(to_int64(out[1]), (Ints{0, 1, 3, 4}));
  EXPECT_EQ(to_int64(out[2]), (Ints{0, 1, 1, 2, 3, 2}));
  EXPECT_EQ(to_int64(out[3]), (Ints{1, 2, 2, 1}));
  out = make("Unique", with({{"axis", int64_t{0}}}), {floats({3, 2}, {1, 0, 1, 0, 0, 9})}, four);
  EXPECT_EQ(out[0].shape(), (Shape{2, 2}));
  EXPECT_EQ(to_float(out[0]), (Floats{0, 9, 1, 0}));
  EXPECT_EQ(to_int64(out[2]), (Ints{1, 1, 0}));
}

TEST(Choice, MakersAgreeWithKnownShapes) {
  const Tensor x = random_tensor({4, 5, 3}, 1);
  const std::pair<const char*, std::vector<Tensor>> cases[] = {
      {"Slice", {x, ints({3, -2}), ints({-5, 9}), ints({0, 1}), ints({-1, 1})}},
      {"Pad", {x, ints({1, 0, -1, 0, 2, 1})}},
      {"Tile", {x, ints({2, 1, 3})}},
      {"Reshape", {x, ints({0, -1})}},
      {"Expand", {x, ints({2, 1, 5, 1})}},
      {"Resize", {x, Tensor(), Tensor(), ints({2, 9, 3})}},
      {"Compress", {x, Tensor::of<bool>({4}, {true, false, true, true})}},
      {"NonZero", {x}},
  };
  for (const auto& [op, inputs] : cases) {
    const DType dtype = std::string_view(op) == "NonZero" ? DType::kInt64 : DType::kFloat32;
    std::vector<Tensor> made = make(op, {}, inputs, {dtype});
    Tensor known(dtype, made[0].shape());
    find_generic(op)({}, inputs, std::span(&known, 1));
    EXPECT_EQ(std::memcmp(known.raw(), made[0].raw(), static_cast<size_t>(known.bytes())), 0) << op;
    Shape wrong = made[0].shape();
    ++wrong.back();
    Tensor other(dtype, wrong);
    EXPECT_THROW(find_generic(op)({}, inputs, std::span(&other, 1)), Error) << op;
  }
  EXPECT_EQ(find_maker("Add"), nullptr);
}

TEST(Choice, IdentityGridsGiveTheImage) {
  const Tensor x = random_tensor({1, 2, 4, 5}, 2);
  Tensor grid(DType::kFloat32, {1, 4, 5, 2});
  for (int64_t i = 0; i < 20; ++i) {
    grid.as<float>()[static_cast<size_t>(2 * i)] = static_cast<float>(i % 5) / 2 - 1;
    grid.as<float>()[static_cast<size_t>(2 * i + 1)] = static_cast<float>(i / 5) / 1.5f - 1;
  }
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    Tensor y(DType::kFloat32, x.shape());
    find_generic("GridSample")(with({{"mode", std::string(mode)}, {"align_corners", int64_t{1}}}),
                               std::vector<Tensor>{x, grid}, std::span(&y, 1));
    for (size_t i = 0; i < 40; ++i) ASSERT_NEAR(y.as<float>()[i], x.as<float>()[i], 1e-5f) << mode;
  }
  for (float& v : grid.as<float>()) v = std::numeric_limits<float>::quiet_NaN();
  for (const char* padding : {"zeros", "border", "reflection"}) {
    Tensor y(DType::kFloat32, x.shape());
    find_generic("GridSample")(with({{"padding_mode", std::string(padding)}}), std::vector<Tensor>{x, grid},
                               std::span(&y, 1));
  }
}

TEST(Choice, HugeRegionsAreRefused) {
  const Tensor x = random_tensor({1, 1, 4, 4}, 3);
  Tensor y(DType::kFloat32, {1, 1, 1, 1});
  EXPECT_THROW(
      find_generic("RoiAlign")({}, std::vector<Tensor>{x, floats({1, 4}, {0, 0, 1e9f, 1e9f}), ints({0})},
                               std::span(&y, 1)),
      Error);
  EXPECT_THROW(find_generic("RoiAlign")({}, std::vector<Tensor>{x, floats({1, 4}, {0, 0, 1, 1}), ints({1})},
                                        std::span(&y, 1)),
               Error);
}

// A layer backwards is the layer forwards over the reversed sequence.
TEST(Choice, RecurrentDirectionsAgree) {
  for (const auto& [op, gates] : {std::pair("RNN", 1), std::pair("GRU", 3), std::pair("LSTM", 4)}) {
    const int64_t steps = 5, batch = 2, in = 3, hidden = 4;
    const Tensor x = random_tensor({steps, batch, in}, 4), w = random_tensor({2, gates * hidden, in}, 5),
                 r = random_tensor({2, gates * hidden, hidden}, 6);
    const auto half = [](const Tensor& t, int64_t d) {
      Shape shape = t.shape();
      shape[0] = 1;
      const int64_t n = t.count() / 2;
      return Tensor::of<float>(shape,
                               t.as<float>().subspan(static_cast<size_t>(d * n), static_cast<size_t>(n)));
    };
    Tensor flipped(DType::kFloat32, x.shape());
    for (int64_t t = 0; t < steps; ++t)
      std::copy_n(x.as<float>().begin() + t * batch * in, batch * in,
                  flipped.as<float>().begin() + (steps - 1 - t) * batch * in);
    Tensor both(DType::kFloat32, {steps, 2, batch, hidden}),
        forward(DType::kFloat32, {steps, 1, batch, hidden}), backward(forward.clone());
    find_generic(op)(with({{"direction", std::string("bidirectional")}}), std::vector<Tensor>{x, w, r},
                     std::span(&both, 1));
    find_generic(op)({}, std::vector<Tensor>{x, half(w, 0), half(r, 0)}, std::span(&forward, 1));
    find_generic(op)({}, std::vector<Tensor>{flipped, half(w, 1), half(r, 1)}, std::span(&backward, 1));
    const int64_t n = batch * hidden;
    for (int64_t t = 0; t < steps; ++t)
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(both.as<float>()[static_cast<size_t>((2 * t) * n + i)],
                  forward.as<float>()[static_cast<size_t>(t * n + i)])
            << op;
        ASSERT_EQ(both.as<float>()[static_cast<size_t>((2 * t + 1) * n + i)],
                  backward.as<float>()[static_cast<size_t>((steps - 1 - t) * n + i)])
            << op;
      }
  }
}

// Against one element at a time, by the definitions; among few values many are equal.
TEST(Choice, ArgExtremesOfAnyAxis) {
  std::mt19937 random(testing::test_seed());
  for (int round = 0; round < 200; ++round) {
    const int64_t outer = 1 + static_cast<int64_t>(random() % 3),
                  size = 1 + static_cast<int64_t>(random() % 9),
                  inner = random() % 3 == 0 ? 1 : 1 + static_cast<int64_t>(random() % 1300);
    Tensor x(DType::kFloat32, {outer, size, inner});
    for (float& v : x.as<float>()) v = random() % 31 == 0 ? NAN : static_cast<float>(random() % 4);
    for (const bool largest : {false, true})
      for (const int64_t last : {0, 1}) {
        const Attributes attributes = with({{"axis", int64_t{1}}, {"select_last_index", last}});
        const Tensor y =
            run(largest ? "ArgMax" : "ArgMin", attributes, {x}, {outer, 1, inner}, DType::kInt64);
        for (int64_t o = 0; o < outer * inner; ++o) {
          const float* v = x.as<float>().data() + o / inner * size * inner + o % inner;
          int64_t best = 0;
          for (int64_t i = 1; i < size; ++i) {
            const float a = v[i * inner], b = v[best * inner];
            if ((largest ? a > b : a < b) || (last != 0 && a == b)) best = i;
          }
          ASSERT_EQ(y.as<int64_t>()[static_cast<size_t>(o)], best) << "round " << round;
        }
      }
  }
}

// Bilinear, zeros outside, against the four pixels of each point.
TEST(Choice, GridSampleOfManyPoints) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-1.3f, 1.3f);
  Tensor x(DType::kFloat32, {2, 3, 5, 7}), grid(DType::kFloat32, {2, 20, 11, 2});
  for (float& v : x.as<float>()) v = uniform(random);
  for (float& v : grid.as<float>()) v = uniform(random);
  const Tensor y = run("GridSample", {}, {x, grid}, {2, 3, 20, 11});
  for (int64_t i = 0; i < y.count(); ++i) {
    const int64_t n = i / 660, c = i / 220 % 3, p = i % 220;
    const float* at = grid.as<float>().data() + (n * 220 + p) * 2;
    const double column = ((at[0] + 1.0) * 7 - 1) / 2, row = ((at[1] + 1.0) * 5 - 1) / 2;
    double expected = 0;
    for (int64_t h = 0; h < 5; ++h)
      for (int64_t w = 0; w < 7; ++w)
        expected += std::max(0.0, 1 - std::fabs(row - static_cast<double>(h))) *
                    std::max(0.0, 1 - std::fabs(column - static_cast<double>(w))) *
                    x.as<float>()[static_cast<size_t>(((n * 3 + c) * 5 + h) * 7 + w)];
    ASSERT_NEAR(y.as<float>()[static_cast<size_t>(i)], expected, 1e-6) << i;
  }
}

// Long sequences, cut into blocks of steps, against the definition of the operators, and in parts.
TEST(Choice, RecurrentLayersFollowTheirDefinition) {
  const int64_t steps = 70, batch = 2, in = 19, n = 21;
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  for (const auto& [op, gates] : {std::pair("RNN", 1), std::pair("GRU", 3), std::pair("LSTM", 4)})
    for (const int64_t late : {0, 1}) {
      const Tensor x = random_tensor({steps, batch, in}, 14), b = random_tensor({2, 2 * gates * n}, 17);
      Tensor w = random_tensor({2, gates * n, in}, 15), r = random_tensor({2, gates * n, n}, 16);
      for (Tensor* t : {&w, &r})
        for (float& v : t->as<float>()) v *= 0.3f;
      Tensor y(DType::kFloat32, {steps, 2, batch, n});
      const Attributes attributes =
          with({{"direction", std::string("bidirectional")}, {"linear_before_reset", late}});
      const std::vector<Tensor> inputs{x, w, r, b};
      find_generic(op)(attributes, inputs, std::span(&y, 1));
      for (int64_t d = 0; d < 2; ++d)
        for (int64_t k = 0; k < batch; ++k) {
          std::vector<double> h(n), c(n);
          for (int64_t step = 0; step < steps; ++step) {
            const int64_t t = d == 0 ? step : steps - 1 - step;
            const auto given = [&](int64_t row) {
              double sum = b.as<float>()[d * 2 * gates * n + row];
              for (int64_t i = 0; i < in; ++i)
                sum += static_cast<double>(w.as<float>()[(d * gates * n + row) * in + i]) *
                       x.as<float>()[(t * batch + k) * in + i];
              return sum;
            };
            const auto kept = [&](int64_t row, const std::vector<double>& state) {
              double sum = b.as<float>()[d * 2 * gates * n + gates * n + row];
              for (int64_t i = 0; i < n; ++i) sum += r.as<float>()[(d * gates * n + row) * n + i] * state[i];
              return sum;
            };
            std::vector<double> next(n), reset(n);
            for (int64_t i = 0; gates == 3 && i < n; ++i)
              reset[i] = sigmoid(given(n + i) + kept(n + i, h)) * h[i];
            for (int64_t i = 0; i < n; ++i) {
              if (gates == 1) next[i] = std::tanh(given(i) + kept(i, h));
              if (gates == 3) {
                const double update = sigmoid(given(i) + kept(i, h));
                const double state = late != 0 ? sigmoid(given(n + i) + kept(n + i, h)) * kept(2 * n + i, h)
                                               : kept(2 * n + i, reset);
                next[i] = (1 - update) * std::tanh(given(2 * n + i) + state) + update * h[i];
              }
              if (gates == 4) {
                c[i] = sigmoid(given(2 * n + i) + kept(2 * n + i, h)) * c[i] +
                       sigmoid(given(i) + kept(i, h)) * std::tanh(given(3 * n + i) + kept(3 * n + i, h));
                next[i] = sigmoid(given(n + i) + kept(n + i, h)) * std::tanh(c[i]);
              }
            }
            h = next;
            for (int64_t i = 0; i < n; ++i)
              ASSERT_NEAR(y.as<float>()[((t * 2 + d) * batch + k) * n + i], h[i], 1e-4) << op << " " << t;
          }
        }
      const GenericParts* parts = find_generic_parts(op, inputs, std::span(&y, 1));
      ASSERT_NE(parts, nullptr);
      Tensor again(DType::kFloat32, y.shape());
      const int64_t count = parts->count(attributes, inputs, std::span(&again, 1));
      EXPECT_EQ(count, 2 * batch);
      for (int64_t p = count; p-- > 0;) parts->run(attributes, inputs, std::span(&again, 1), p, p + 1);
      EXPECT_TRUE(std::ranges::equal(y.as<float>(), again.as<float>())) << op;
    }
}

}  // namespace
}  // namespace octet::kernels
