#include "calibrate/table.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>

#include "base/error.h"

namespace octet {
namespace {

CalibrationTable example(unsigned seed) {
  std::mt19937 random(seed);
  const auto any_float = [&] {
    float value;
    do value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    while (!std::isfinite(value) || value == 0);
    return value;
  };
  CalibrationTable table;
  table.octet_version = "0.1.0";
  table.model_name = "net \"quoted\".onnx";
  table.model_hash = 0x0123456789abcdef;
  table.data_hash = ~uint64_t{0};
  table.samples = 100;
  table.method = RangeMethod::kPercentile;
  table.options = {DType::kInt8, true, 99.9, 0.1};
  table.preprocess = "short=256 crop=224 rgb";
  table.isa = "avx2";
  for (int i = 0; i < 50; ++i) {
    TableTensor t;
    const float a = any_float(), b = any_float();
    t.range = {std::min(a, b), std::max(a, b)};
    t.min = t.range.low;
    t.max = t.range.high;
    t.count = UINT64_MAX;
    t.nan = random();
    t.infinite = random();
    t.zeros = random();
    if (i % 2 == 0)
      for (int c = 0; c < 7; ++c) {
        const float x = any_float(), y = any_float();
        t.channels.min.push_back(std::min(x, y));
        t.channels.max.push_back(std::max(x, y));
        for (auto* v : {&t.channels.mean, &t.channels.mean_square, &t.channels.min_mean,
                        &t.channels.min_deviation, &t.channels.max_mean, &t.channels.max_deviation})
          v->push_back(std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 100) - 50));
      }
    for (const RangeMethod method : kRangeMethods)
      if (random() % 4 > 0)
        t.methods[method] = {t.range,
                             std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 99) - 80)};
    table.tensors["tensor/\xc3\xa9 " + std::to_string(i)] = t;
  }
  return table;
}

std::string message(const std::string& text) {
  try {
    parse_table(text, "t.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kBadFile);
    return e.message();
  }
  return "";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

CalibrationTable small() {
  CalibrationTable table;
  table.tensors["conv1"] = {
      {-1.5f, 2.25f},
      -2,
      3,
      10,
      1,
      2,
      3,
      {{-2}, {3}, {0}, {1}, {-1}, {0}, {2}, {0}},
      0,
      {{RangeMethod::kMse, {{-1.5f, 2.25f}, 0.5}}, {RangeMethod::kMinMax, {{-2, 3}, 0.75}}}};
  return table;
}

TEST(Table, RoundTripsExactlyAndReproducibly) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    const CalibrationTable table = example(seed);
    const std::string text = table_text(table);
    const CalibrationTable again = parse_table(text, "test");
    EXPECT_EQ(again, table);
    EXPECT_EQ(table_text(again), text);
  }
}

TEST(Table, SavesAndLoads) {
  const auto path = std::filesystem::path(testing::TempDir()) / "octet_table_test.json";
  save_table(small(), path);
  EXPECT_EQ(load_table(path), small());
  std::filesystem::remove(path);
  EXPECT_THROW(load_table(path), Error);
  EXPECT_THROW(save_table(small(), "/nonexistent/folder/t.json"), Error);
}

TEST(Table, ErrorsNameTensorAndField) {
  const std::string good = table_text(small());
  EXPECT_EQ(message(good), "");
  EXPECT_EQ(message(""), "t.json: not a calibration table: no valid JSON at byte 1");
  EXPECT_NE(message("[1]").find("expected an object"), std::string::npos);
  EXPECT_NE(message("{}").find("not a calibration table"), std::string::npos);
  EXPECT_EQ(message(replaced(good, "\"low\": -1.5", "\"low\": \"x\"")),
            "t.json: tensor 'conv1': field 'low': expected a number, found \"x\"");
  EXPECT_EQ(message(replaced(good, "\"low\": -1.5", "\"low\": 1e300")),
            "t.json: tensor 'conv1': field 'low': expected a finite number, found 1e+300");
  EXPECT_NE(message(replaced(good, "\"low\": -1.5", "\"low\": 1e999")).find("out of range"),
            std::string::npos);
  EXPECT_EQ(message(replaced(good, "\"low\": -1.5", "\"low\": 9")),
            "t.json: tensor 'conv1': low 9 is above high 2.25");
  EXPECT_EQ(message(replaced(good, "\"low\": -1.5, ", "")), "t.json: tensor 'conv1': field 'low' is missing");
  EXPECT_EQ(message(replaced(good, "\"low\"", "\"extra\": 1, \"low\"")),
            "t.json: tensor 'conv1': unknown field 'extra'");
  EXPECT_EQ(message(replaced(good, "\"low\"", "\"high\": 1, \"low\"")), "t.json: field 'high' appears twice");
  EXPECT_NE(message(replaced(good, "\"count\": 10", "\"count\": -10")).find("'count'"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"count\": 10", "\"count\": 5")).find("exceed"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"mean\": [0]", "\"mean\": [0, 1]")).find("2 channels, but 1"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "\"mse\"", "\"best\"")).find("unknown calibration method"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "\"minmax\": [", "\"best\": [")).find("unknown calibration method"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "[-2, 3, 0.75]", "[-2, 3]")).find("mean squared error"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "[-2, 3, 0.75]", "[4, 3, 0.75]")).find("methods.minmax"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "[-2, 3, 0.75]", "[-1e39, 3, 0.75]")).find("mean squared error"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "\"percentile\": 99.99", "\"percentile\": 7")).find("percentile"),
            std::string::npos);
  EXPECT_NE(message(replaced(good, "\"uint8\"", "\"float32\"")).find("float32"), std::string::npos);
  EXPECT_NE(message(replaced(good, "\"version\": 2", "\"version\": 1")).find("version 1"), std::string::npos);
  EXPECT_NE(message(replaced(good, "0000000000000000", "xyz")).find("hexadecimal"), std::string::npos);
  EXPECT_NE(message(std::string(100000, '[')).find("not a calibration table"), std::string::npos);
}

TEST(Table, EveryTruncationAndManyChangesAreRefusedOrRead) {
  const std::string good = table_text(small());
  for (size_t n = 0; n + 1 < good.size(); ++n) EXPECT_THROW(parse_table(good.substr(0, n), "t"), Error) << n;
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    std::string text = good;
    text[random() % text.size()] = static_cast<char>(random());
    try {
      parse_table(text, "t");
    } catch (const Error&) {
    }
  }
}

TEST(Table, RefusesToWriteNonsense) {
  CalibrationTable table = small();
  table.tensors["conv1"].range.low = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(table_text(table), Error);
  table = small();
  table.tensors["\xff"] = {};
  EXPECT_THROW(table_text(table), Error);
}

TEST(Table, BelongsToOneModel) {
  CalibrationTable table = small();
  table.model_name = "a.onnx";
  table.model_hash = 0xabc;
  EXPECT_NO_THROW(check_belongs(table, 0xabc));
  try {
    check_belongs(table, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.message(),
              "the calibration table was made for the model 'a.onnx' (hash 0000000000000abc), not for this "
              "one (hash "
              "0000000000000001): calibrate this model with 'octet calibrate', or give the model that the "
              "table was "
              "made for");
  }
}

TEST(Table, HoldsEveryMethodsChoice) {
  CalibrationTable table = small();
  choose_method(table, RangeMethod::kMinMax);
  EXPECT_EQ(table.method, RangeMethod::kMinMax);
  EXPECT_EQ(table.tensors["conv1"].range, (Range{-2, 3}));
  EXPECT_THROW(choose_method(table, RangeMethod::kAciq), Error);
}

TEST(Table, FromStatistics) {
  TensorStatistics statistics({2, true});
  statistics.observe_sample(0, std::vector<float>{1, -2, 3, 0});
  statistics.observe_sample(1, std::vector<float>{5, -4, std::numeric_limits<float>::quiet_NaN(), 0});
  const TableTensor t = table_tensor(statistics, {-4, 4.5f});
  EXPECT_EQ(t.range, (Range{-4, 4.5f}));
  EXPECT_EQ(t.min, -4);
  EXPECT_EQ(t.max, 5);
  EXPECT_EQ(t.count, 8u);
  EXPECT_EQ(t.nan, 1u);
  EXPECT_EQ(t.zeros, 2u);
  EXPECT_EQ(t.channels.mean, (std::vector<double>{3, -1.5}));
  EXPECT_EQ(t.channels.mean_square, (std::vector<double>{35.0 / 3, 5}));
  EXPECT_EQ(t.channels.max_mean, (std::vector<double>{4, 0}));
  EXPECT_EQ(t.channels.min_deviation, (std::vector<double>{2, 1}));
}

}  // namespace
}  // namespace octet
