#include "calibrate/channel_scales.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "calibrate/image_input.h"
#include "ops/op_def.h"
#include "passes/layer_weights.h"
#include "passes/test_net.h"

namespace octet {
namespace {

using namespace testing;

// A tensor whose channel c has extremes 0 and high[c] in every image.
TableTensor channels_of(const std::vector<double>& high) {
  TableTensor t;
  t.count = 100;
  for (double h : high) {
    t.channels.min.push_back(0);
    t.channels.max.push_back(static_cast<float>(h));
    t.channels.mean.push_back(h / 2);
    t.channels.mean_square.push_back(h * h / 3);
    t.channels.min_mean.push_back(0);
    t.channels.min_deviation.push_back(0);
    t.channels.max_mean.push_back(h);
    t.channels.max_deviation.push_back(0);
    t.range.high = t.max = std::max(t.max, static_cast<float>(h));
  }
  return t;
}

struct Case {
  Net n;
  Graph* g;
  Placement placement;
  CalibrationTable table;

  explicit Case(int64_t group, const std::vector<double>& high) {
    const ValueId r = n.op("Relu", {n.conv(n.x, 4, 4, "c1")}, "r");
    g = &n.finish(n.conv(r, 4, 4, "y", 3, true, group));
    placement = place(*g, {});
    table.samples = 100;
    table.tensors["x"] = channels_of({1, 1, 1, 1});
    table.tensors["r"] = channels_of(high);
  }
  ChosenParams choose(ChannelScaleOptions options = {}, const char* target = "octet") const {
    QuantizeOptions q;
    q.target = &find_target(target);
    return choose_activation_params(*g, placement, q, table, options);
  }
  const QuantParams& of(const ChosenParams& chosen, const char* name) const {
    return chosen.params.at(*g->find_value(name));
  }
};

TEST(ChannelScales, AChannelOfItsOwnSizeGetsAScaleOfItsOwn) {
  const Case s(4, {10, 0.1, 0.2, 0.05});
  const ChosenParams chosen = s.choose({.least_gain_db = 3});
  EXPECT_EQ(chosen.taken, 1);
  const QuantParams& q = s.of(chosen, "r");
  ASSERT_EQ(q.axis, 1);
  ASSERT_EQ(q.scale.size(), 4u);
  // The reader is depthwise: nothing speaks against each channel's own range.
  EXPECT_NEAR(q.scale[0], 10 / 255.0, 1e-6);
  EXPECT_NEAR(q.scale[3], 0.05 / 255, 1e-8);
  for (int32_t z : q.zero_point) EXPECT_EQ(z, 0);
  EXPECT_FALSE(s.of(chosen, "x").per_channel()) << "equal channels gain nothing";
}

TEST(ChannelScales, ThePredictedGainIsTheMeasuredOne) {
  const Case s(4, {8, 0.5, 0.5, 0.5});
  const ChosenParams chosen = s.choose({.least_gain_db = 0.5});
  ASSERT_EQ(chosen.choices.size(), 1u);
  // Noise of a depthwise reader: sum of s_c^2 |W_c|^2.
  const NodeId reader = s.placement.weighted.at(1);
  const auto w = s.g->value(s.g->node(reader).inputs[1]).constant->as<float>();
  double whole = 0, own = 0;
  for (int c = 0; c < 4; ++c) {
    double square = 0;
    for (int t = 0; t < 9; ++t) square += static_cast<double>(w[c * 9 + t]) * w[c * 9 + t];
    whole += square * 64;
    own += square * (c == 0 ? 64 : 0.25);
  }
  EXPECT_NEAR(chosen.choices[0].gain_db, 10 * std::log10(whole / own), 1e-3);
}

TEST(ChannelScales, WhereManyGainHalfTheGainIsEnough) {
  Case s(1, {10, 2, 2, 1});
  s.table.tensors["x"] = channels_of({10, 0.1, 0.1, 0.1});
  const ChosenParams all = s.choose({.scales = ActivationScales::kChannel});
  ASSERT_EQ(all.choices.size(), 2u);
  const double more = all.choices[0].gain_db, less = all.choices[1].gain_db;
  ASSERT_GT(less, 0.6 * more);
  const ChosenParams both = s.choose({.least_gain_db = (more + less) / 2});
  EXPECT_EQ(both.taken, 2);
  EXPECT_EQ(both.choices.size(), 2u);
  EXPECT_EQ(both.params, all.params);
  EXPECT_EQ(s.choose({.least_gain_db = more + 0.01}).taken, 0);
  EXPECT_EQ(s.choose({.least_gain_db = 1.9 * less}).taken, 0) << "none gains that";
}

TEST(ChannelScales, RoomCoversWhatImagesVary) {
  Case s(4, {10, 1, 1, 1});
  TableChannels& c = s.table.tensors["r"].channels;
  c.max_mean[1] = 0.5;
  c.max_deviation[1] = 0.1;
  c.max[1] = 0.7F;
  c.min_mean[2] = -0.5;
  c.max_mean[3] = 0.1;  // of one image in ten
  c.max_deviation[3] = 0.1;
  c.max[3] = 0.8F;
  s.table.tensors["r"].range = {-1, 10};
  const ChosenParams chosen = s.choose({.scales = ActivationScales::kChannel});
  const QuantParams& q = s.of(chosen, "r");
  ASSERT_EQ(q.scale.size(), 4u);
  EXPECT_NEAR(q.scale[1], 0.9 / 255, 1e-6);
  EXPECT_NEAR(q.scale[2], 1.5 / 255, 1e-6);
  EXPECT_NEAR(q.scale[3], 0.8 / 255, 1e-6) << "nothing that was observed is cut off";
  EXPECT_EQ(q.zero_point[2], 85);
}

TEST(ChannelScales, AMethodThatCutsForAllCutsNoChannelOfItsOwn) {
  Case s(4, {10, 0.1, 0.2, 0.05});
  TableTensor& t = s.table.tensors["r"];
  t.range.high = 3;
  const auto scale = [&] { return s.of(s.choose({.least_gain_db = 3}), "r").scale.at(0); };
  EXPECT_NEAR(scale(), 3 / 255.0, 1e-6) << "nothing else is known";
  t.methods[RangeMethod::kMse].range = {0, 9};
  EXPECT_NEAR(scale(), 9 / 255.0, 1e-6) << "as far as least squared error cuts";
  t.methods[RangeMethod::kMse].range = {0, 2};
  EXPECT_NEAR(scale(), 3 / 255.0, 1e-6);
}

TEST(ChannelScales, StaysOffWhereItMust) {
  Case s(4, {10, 0.1, 0.2, 0.05});
  const ChannelScaleOptions low{.least_gain_db = 3};
  EXPECT_EQ(s.choose(low, "tensorrt").taken, 0);
  EXPECT_EQ(s.choose(low, "tensorrt").choices.size(), 1u) << "the tensor is reported";
  EXPECT_NE(s.choose(low, "onnxruntime").off.find("onnxruntime"), std::string::npos);
  EXPECT_EQ(s.choose({.scales = ActivationScales::kTensor, .least_gain_db = 3}).taken, 0);
  s.table.samples = 9;
  EXPECT_EQ(s.choose(low).taken, 0);
  EXPECT_NE(s.choose(low).off.find("9 of the 10 images"), std::string::npos) << s.choose(low).off;
  s.table.samples = 100;
  s.table.tensors["r"].channels = {};
  EXPECT_EQ(s.choose(low).taken, 0) << "a table without channels";
  EXPECT_THROW(parse_activation_scales("both"), Error);
}

// --- images as bytes

TEST(ImageInput, EveryByteIsStoredAsItself) {
  for (const char* text : {"rgb mean=127.5 std=127.5", "bgr mean=104,117,123", "rgb", "rgb mean=127 std=128",
                           "rgb mean=123.675,116.28,103.53 std=58.395,57.12,57.375",
                           "rgb mean=123.675,116.28,103.53 std=58.395,57.12,57.375 nhwc"}) {
    SCOPED_TRACE(text);
    const Preprocess preprocess = Preprocess::parse(text);
    const bool last = preprocess.channels_last();
    const Shape shape = last ? Shape{1, 16, 16, 3} : Shape{1, 3, 16, 16};
    const auto network = [&] {
      Net n(Dims(shape.begin(), shape.end()));
      Attributes first;
      first.set("perm", Ints{0, 3, 1, 2});
      return n.finish(n.conv(last ? n.op("Transpose", {n.x}, "first", first) : n.x, 3, 4, "y", 3, false));
    };
    Graph g = network();
    const Placement placement = place(g, {});
    ActivationParams params = tensor_params(g, placement, {}, [](const std::string&) {
      return Range{-1, 1};
    });
    const auto image = use_image_grid(g, placement, {}, preprocess, params);
    ASSERT_TRUE(image);
    fold_image_offset(g, placement, {}, *image);
    insert_qdq(g, placement, {}, params);
    add_image_offset(g, *image);
    Graph bytes = g;
    take_image_bytes(bytes, *image);
    infer_shapes(g);
    infer_shapes(bytes);
    verify(g);
    verify(bytes);
    Tensor all(DType::kUInt8, shape), x(DType::kFloat32, shape);
    for (int64_t i = 0; i < 768; ++i) {
      const int64_t channel = last ? i % 3 : i / 256, pixel = last ? i / 3 : i % 256;
      all.as<uint8_t>()[i] = static_cast<uint8_t>(pixel);
      x.as<float>()[i] = preprocess.affine()[channel](static_cast<float>(pixel));
    }
    const Tensor back = image_bytes(x, preprocess), again = image_floats(all, preprocess);
    for (int64_t i = 0; i < 768; ++i) {
      ASSERT_EQ(back.as<uint8_t>()[i], all.as<uint8_t>()[i]) << i;
      ASSERT_EQ(again.as<float>()[i], x.as<float>()[i]) << i;
    }
    // The two forms are the same network.
    const Tensor a = run(g, x), b = run(bytes, all);
    for (int64_t i = 0; i < a.count(); ++i) ASSERT_EQ(a.as<float>()[i], b.as<float>()[i]) << i;
    // Inside, where nothing is padded, only the weights were rounded.
    const Tensor expected = run(network(), x);
    double largest = 0, error = 0;
    for (int64_t o = 0; o < 4; ++o)
      for (int64_t r = 1; r < 15; ++r)
        for (int64_t c = 1; c < 15; ++c) {
          const int64_t i = (o * 16 + r) * 16 + c;
          largest = std::max(largest, std::abs(static_cast<double>(expected.as<float>()[i])));
          error = std::max(error, std::abs(static_cast<double>(expected.as<float>()[i]) - a.as<float>()[i]));
        }
    EXPECT_LT(error, 0.02 * largest);
  }
}

TEST(ImageInput, BytesGoThroughWhatTheModelAdds) {
  const Preprocess preprocess = Preprocess::parse("rgb");
  const auto network = [] {
    Net n({1, 3, 16, 16});
    const std::vector<float> mean{-123.675f, -116.28f, -103.53f};
    const ValueId shift =
        n.g.add_constant("mean", Tensor::of<float>({1, 3, 1, 1}, std::span<const float>(mean)));
    return n.finish(n.conv(n.op("Add", {n.x, shift}, "shifted"), 3, 4, "y", 1, false));
  };
  Graph g = network();
  const Placement placement = place(g, {});
  ActivationParams params = tensor_params(g, placement, {}, [](const std::string&) { return Range{-1, 1}; });
  const auto image = use_image_grid(g, placement, {}, preprocess, params);
  ASSERT_TRUE(image);
  EXPECT_EQ(params.at(image->value).zero_point, (std::vector<int32_t>{124, 116, 104}));
  fold_image_offset(g, placement, {}, *image);
  insert_qdq(g, placement, {}, params);
  add_image_offset(g, *image);
  Graph bytes = g;
  take_image_bytes(bytes, *image);
  infer_shapes(g);
  infer_shapes(bytes);
  verify(bytes);
  EXPECT_EQ(ops_of(bytes).front(), "DequantizeLinear");
  Tensor all(DType::kUInt8, {1, 3, 16, 16}), x(DType::kFloat32, {1, 3, 16, 16});
  for (int64_t i = 0; i < 768; ++i) {
    all.as<uint8_t>()[i] = static_cast<uint8_t>(i);
    x.as<float>()[i] = static_cast<float>(i % 256);
  }
  const Tensor a = run(g, x), b = run(bytes, all), expected = run(network(), x);
  for (int64_t i = 0; i < a.count(); ++i) {
    ASSERT_EQ(a.as<float>()[i], b.as<float>()[i]) << i;
    ASSERT_NEAR(a.as<float>()[i], expected.as<float>()[i], 3) << i;
  }
}

TEST(ImageInput, OthersKeepTheirGrid) {
  Net n({1, 4, 6, 6});
  const Graph g = n.finish(n.conv(n.x, 4, 4, "y"));
  const Placement placement = place(g, {});
  ActivationParams params = tensor_params(g, placement, {}, [](const std::string&) { return Range{-1, 1}; });
  const ActivationParams before = params;
  EXPECT_FALSE(use_image_grid(g, placement, {}, Preprocess::parse("rgb"), params)) << "four channels";
  Net image({1, 3, 6, 6});
  const Graph h = image.finish(image.conv(image.x, 3, 4, "y"));
  QuantizeOptions options;
  options.target = &find_target("onnxruntime");
  const Placement p = place(h, options);
  EXPECT_FALSE(use_image_grid(h, p, options, Preprocess::parse("rgb mean=1,2,3"), params));
  EXPECT_FALSE(use_image_grid(h, p, options, Preprocess::parse("rgb mean=-300"), params));
  EXPECT_EQ(params, before);
  EXPECT_TRUE(use_image_grid(h, p, options, Preprocess::parse("rgb mean=7"), params)) << "one scale for all";
}

}  // namespace
}  // namespace octet
