#include <gtest/gtest.h>

#include <random>

#include "onnx/test_model.h"

namespace octet {
namespace {

using namespace testing;

constexpr int64_t kImages = 2, kChannels = 3, kHeight = 7, kWidth = 9, kRows = 2, kColumns = 3;
constexpr int64_t kStrides[] = {2, 3}, kDilations[] = {1, 2},
                  kPads[] = {1, 0, 0, 2};  // top, left, bottom, right
// Places of the block: (7 + 1 - 2) / 2 + 1 down, (9 + 2 - 5) / 3 + 1 across.
constexpr int64_t kDown = 4, kAcross = 3;

Graph import_col2im(const std::vector<int64_t>& image, const std::vector<int64_t>& block) {
  Model model(18);
  model.input("x", DType::kFloat32, {kImages, kChannels * kRows * kColumns, kDown * kAcross});
  model.constant<int64_t>("image", {2}, image);
  model.constant<int64_t>("block", {2}, block);
  auto& col2im = model.node("Col2Im", {"x", "image", "block"}, {"y"});
  add_attribute(col2im, "strides", std::vector<int64_t>(kStrides, kStrides + 2));
  add_attribute(col2im, "dilations", std::vector<int64_t>(kDilations, kDilations + 2));
  add_attribute(col2im, "pads", std::vector<int64_t>(kPads, kPads + 4));
  model.output("y");
  return model.import();
}

// Small integers: every order of summation is exact.
TEST(Col2Im, AddsUpWhereBlocksOverlap) {
  std::mt19937 random(3);
  Tensor x(DType::kFloat32, {kImages, kChannels * kRows * kColumns, kDown * kAcross});
  for (float& v : x.as<float>()) v = static_cast<float>(random() % 100);
  std::vector<float> expected(kImages * kChannels * kHeight * kWidth, 0);
  size_t i = 0;
  for (int64_t plane = 0; plane < kImages * kChannels; ++plane)
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < kColumns; ++c)
        for (int64_t down = 0; down < kDown; ++down)
          for (int64_t across = 0; across < kAcross; ++across, ++i) {
            const int64_t row = down * kStrides[0] + r * kDilations[0] - kPads[0];
            const int64_t column = across * kStrides[1] + c * kDilations[1] - kPads[1];
            if (row >= 0 && row < kHeight && column >= 0 && column < kWidth)
              expected[(plane * kHeight + row) * kWidth + column] += x.as<float>()[i];
          }
  const Graph graph = import_col2im({kHeight, kWidth}, {kRows, kColumns});
  verify(graph);
  const Tensor found = compute(graph, {x});
  EXPECT_EQ(found.shape(), (Shape{kImages, kChannels, kHeight, kWidth}));
  EXPECT_EQ(to_float(found), expected);
}

TEST(Col2Im, SizesThatDoNotFit) {
  for (const auto& [image, block] : std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>{
           {{kHeight, kWidth}, {kRows, 4}},             // the channels do not divide
           {{kHeight, 2}, {kRows, kColumns}},           // a block that is wider than the image
           {{kHeight + 9, kWidth}, {kRows, kColumns}},  // more places than the input has
           {{-1, kWidth}, {kRows, kColumns}},
           {{int64_t{1} << 62, kWidth}, {kRows, kColumns}}})
    EXPECT_THROW(import_col2im(image, block), Error) << image[0] << "x" << image[1];
}

}  // namespace
}  // namespace octet
