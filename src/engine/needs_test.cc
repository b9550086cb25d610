#include "engine/needs.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/steps/convolution.h"

namespace octet::engine {
namespace {

using kernels::ConvShape;
using kernels::PixelRange;

// A step that knows which pixels its pieces write, and read of tensor `input`.
class PixelStep : public Step {
 public:
  std::vector<PixelRange> made, read;
  int32_t input = 0;

  int64_t pieces() const override { return static_cast<int64_t>(made.size()); }
  void run(Memory, int64_t, int64_t, int, std::byte*) override {}
  std::string kernel() const override { return "test"; }
  std::optional<PixelRange> writes(int64_t piece) const override { return made[static_cast<size_t>(piece)]; }
  std::optional<PixelRange> reads(int32_t tensor, int64_t piece) const override {
    if (tensor != input) return std::nullopt;
    return read[static_cast<size_t>(piece)];
  }
};

TensorDef image(int32_t parent = -1) {
  TensorDef t;
  t.dtype = DType::kUInt8;
  t.layout = Layout::kNhwc;
  t.parent = parent;
  return t;
}

StepDef step(std::vector<int32_t> inputs, std::vector<int32_t> outputs) {
  StepDef s;
  s.inputs = std::move(inputs);
  s.outputs = std::move(outputs);
  return s;
}

// x -> a -> b, where 3 and 4 are the halves of 5, on images of 4 x 8 pixels.
struct Chain {
  Chain() {
    model.tensors = {image(), image(), image(), image(5), image(5), image()};
    shapes.assign(6, {1, 4, 4, 8});
    first.made = {{0, 8}, {8, 16}, {16, 24}, {24, 32}};
    second.made = {{0, 16}, {16, 32}};
    second.read = {{0, 20}, {12, 32}};
    second.input = 1;
  }
  std::vector<ThreadPool::Needs> needs(const StepDef& a, const StepDef& b) const {
    return needs_of(model, shapes, a, first, b, second);
  }
  Model model;
  std::vector<Shape> shapes;
  PixelStep first, second;
};

TEST(Needs, PiecesThatMakeWhatIsRead) {
  const Chain c;
  const auto needs = c.needs(step({0}, {1}), step({1}, {2}));
  ASSERT_EQ(needs.size(), 2U);
  EXPECT_EQ(std::pair(needs[0].first, needs[0].last), std::pair(0, 3));
  EXPECT_EQ(std::pair(needs[1].first, needs[1].last), std::pair(1, 4));
}

TEST(Needs, NothingOfAnIndependentStep) {
  const Chain c;
  const auto needs = c.needs(step({0}, {2}), step({1}, {5}));
  ASSERT_EQ(needs.size(), 2U);
  for (const auto& n : needs) EXPECT_GE(n.first, n.last);
}

TEST(Needs, WholeStepsWhereThePixelsAreNotKnown) {
  const Chain c;
  EXPECT_TRUE(c.needs(step({0}, {1, 2}), step({1}, {5})).empty()) << "two outputs";
  EXPECT_TRUE(c.needs(step({0}, {2}), step({2}, {5})).empty()) << "nobody knows what is read of tensor 2";
  EXPECT_TRUE(c.needs(step({2}, {1}), step({1}, {2})).empty()) << "writes what the step before reads";
  EXPECT_TRUE(c.needs(step({0}, {1}), step({1}, {1})).empty()) << "writes what the step before writes";

  Chain channels;  // pieces that differ in channels
  channels.first.made.assign(4, {0, 32});
  EXPECT_TRUE(channels.needs(step({0}, {1}), step({1}, {2})).empty());
  Chain unordered;
  std::swap(unordered.first.made[0], unordered.first.made[1]);
  EXPECT_TRUE(unordered.needs(step({0}, {1}), step({1}, {2})).empty());
  Chain smaller;
  smaller.shapes[1] = {1, 4, 2, 16};
  smaller.model.tensors[1].parent = 5;
  smaller.second.input = 5;
  EXPECT_TRUE(smaller.needs(step({0}, {1}), step({5}, {2})).empty()) << "pixels of another image";
}

// To a product a plain tensor's pixels are its rows, to a change of layout the columns of its planes.
TEST(Needs, WholeStepsWherePixelsOfAPlainTensorDiffer) {
  Chain c;
  c.model.tensors[1].layout = Layout::kPlain;
  const auto needs = [&](const char* kind, const char* next) {
    StepDef a = step({0}, {1}), b = step({1}, {2});
    a.kind = kind, b.kind = next;
    return c.needs(a, b);
  };
  EXPECT_TRUE(needs("layout", "gemm").empty());
  EXPECT_TRUE(needs("gemm", "layout").empty());
  EXPECT_EQ(needs("gemm", "gemm").size(), 2U);
}

TEST(Needs, ViewsOfOneTensor) {
  Chain c;
  c.second.input = 5;
  EXPECT_EQ(c.needs(step({0}, {3}), step({5}, {2})).size(), 2U);
  EXPECT_EQ(c.needs(step({0}, {3}), step({1}, {4})).size(), 2U) << "channels of their own";
  EXPECT_TRUE(c.needs(step({0}, {3}), step({1}, {5})).empty()) << "overwrites what the step before makes";
}

// Every tap inside of the image is among the pixels.
TEST(Needs, PixelsOfAConvolution) {
  std::mt19937 random(7);
  const auto pick = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint32_t>(high - low + 1));
  };
  for (int round = 0; round < 300; ++round) {
    ConvShape s;
    s.batch = pick(1, 3);
    s.kernel_h = pick(1, 4), s.kernel_w = pick(1, 4);
    s.stride_h = pick(1, 3), s.stride_w = pick(1, 3);
    s.dilation_h = pick(1, 2), s.dilation_w = pick(1, 2);
    s.pad_top = pick(0, 3), s.pad_left = pick(0, 3);
    s.out_h = pick(1, 6), s.out_w = pick(1, 6);
    s.in_h = pick(1, 9), s.in_w = pick(1, 9);
    const int64_t pixels = s.batch * s.out_h * s.out_w;
    const int64_t first = pick(0, pixels - 1), last = pick(first + 1, pixels);
    const PixelRange read = pixels_read(s, {first, last});
    EXPECT_GE(read.first, 0);
    EXPECT_LE(read.last, s.batch * s.in_h * s.in_w);
    for (int64_t i = first; i < last; ++i) {
      const int64_t x = i % s.out_w, y = i / s.out_w % s.out_h, image = i / s.out_w / s.out_h;
      for (int64_t ky = 0; ky < s.kernel_h; ++ky)
        for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
          const int64_t iy = y * s.stride_h - s.pad_top + ky * s.dilation_h;
          const int64_t ix = x * s.stride_w - s.pad_left + kx * s.dilation_w;
          if (iy < 0 || iy >= s.in_h || ix < 0 || ix >= s.in_w) continue;
          const int64_t pixel = (image * s.in_h + iy) * s.in_w + ix;
          ASSERT_TRUE(read.first <= pixel && pixel < read.last) << "round " << round;
        }
    }
  }
}

}  // namespace
}  // namespace octet::engine
