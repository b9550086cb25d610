#include "calibrate/part.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "base/error.h"

namespace octet {
namespace {

constexpr int kSamples = 17, kChannels = 5;

std::vector<float> values_of(int sample, int tensor) {
  std::mt19937 random(static_cast<unsigned>(sample * 31 + tensor));
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(kChannels) * (20 + random() % 30));
  const float size = std::ldexp(1.0f, static_cast<int>(random() % 12) - 6);
  for (float& v : values) v = tensor == 1 ? std::max(0.0f, normal(random) * size) : normal(random) * size;
  return values;
}

CalibrationPart frame() {
  CalibrationPart part;
  part.octet_version = "1.2.3";
  part.model_name = "model.onnx";
  part.preprocess = "crop=8 rgb";
  part.target = "octet";
  part.model_hash = 12345;
  part.names_hash = 999;
  part.total = kSamples;
  part.isa = "avx2";
  return part;
}

// As a process makes one of these samples.
CalibrationPart part_of(const std::vector<int>& samples) {
  CalibrationPart part = frame();
  TensorStatistics statistics[3] = {TensorStatistics({kChannels}), TensorStatistics(),
                                    TensorStatistics({kChannels})};
  for (const int s : samples) {
    const bool skipped = s == 3;
    part.samples.push_back({s, name_hash(fmt::format("image {}", s)), static_cast<uint64_t>(s) * 77, skipped,
                            skipped ? "image 3" : "", skipped ? "damaged" : ""});
    if (skipped) continue;
    for (int t = 0; t < 2; ++t) statistics[t].observe_sample(s, values_of(s, t));
  }
  std::sort(part.samples.begin(), part.samples.end(),
            [](const PartSample& a, const PartSample& b) { return a.index < b.index; });
  part.tensors["a"] = {statistics[0].data(), false, {1, 2, 3, 4, 5}};
  part.tensors["b"] = {statistics[1].data(), false, {}};
  part.tensors["never made"] = {statistics[2].data(), true, {}};
  return part;
}

std::vector<int> all_samples() {
  std::vector<int> all(kSamples);
  for (int i = 0; i < kSamples; ++i) all[static_cast<size_t>(i)] = i;
  return all;
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "nothing was thrown";
}

TEST(Part, AnySplitGivesTheTableOfOneRun) {
  std::mt19937 random(7);
  for (const RangeMethod method : {RangeMethod::kMse, RangeMethod::kMovingAverage, RangeMethod::kOutput}) {
    CalibrationPart whole = part_of(all_samples());
    whole.method = method;
    const Calibrated expected = table_of_part(whole);
    EXPECT_EQ(expected.table.samples, static_cast<uint64_t>(kSamples - 1));
    ASSERT_EQ(expected.skipped.size(), 1u);
    EXPECT_EQ(expected.table.tensors.count("never made"), 0u);
    for (int round = 0; round < 30; ++round) {
      std::vector<int> shuffled = all_samples();
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      std::vector<std::vector<int>> shares(1 + random() % 6);
      for (const int s : shuffled) shares[random() % shares.size()].push_back(s);
      CalibrationPart sum = part_of(shares[0]);
      sum.method = method;
      for (size_t i = 1; i < shares.size(); ++i) {
        CalibrationPart next = part_of(shares[i]);
        next.method = method;
        // By way of the file, as processes do.
        const std::string bytes = part_bytes(next);
        const CalibrationPart read = parse_part(std::as_bytes(std::span(bytes)), "next");
        EXPECT_EQ(read, next);
        merge_part(sum, read, "sum", "next");
      }
      EXPECT_EQ(table_text(table_of_part(sum).table), table_text(expected.table));
      EXPECT_EQ(part_bytes(sum), part_bytes(whole));
    }
  }
}

TEST(Part, RefusesWhatDoesNotBelongTogether) {
  const CalibrationPart first = part_of({0, 1, 2});
  const auto refused = [&](const std::function<void(CalibrationPart&)>& change) {
    CalibrationPart other = part_of({5, 6});
    change(other);
    CalibrationPart to = first;
    return message_of([&] { merge_part(to, other, "part 'a'", "part 'b'"); });
  };
  EXPECT_EQ(refused([](CalibrationPart&) {}), "nothing was thrown");
  const std::pair<const char*, std::function<void(CalibrationPart&)>> cases[] = {
      {"another model", [](CalibrationPart& p) { p.model_hash = 1; }},
      {"preprocessing", [](CalibrationPart& p) { p.preprocess = "crop=8 bgr"; }},
      {"other data", [](CalibrationPart& p) { p.names_hash = 1; }},
      {"other data", [](CalibrationPart& p) { p.total = 400; }},
      {"target", [](CalibrationPart& p) { p.target = "tensorrt"; }},
      {"method", [](CalibrationPart& p) { p.method = RangeMethod::kEntropy; }},
      {"percentile", [](CalibrationPart& p) { p.options.percentile = 99; }},
      {"octet 0.0.1", [](CalibrationPart& p) { p.octet_version = "0.0.1"; }},
      {"'c'", [](CalibrationPart& p) { p.tensors["c"]; }},
      {"'a'", [](CalibrationPart& p) { p.tensors["a"].energies[1] = 0; }},
      {"sample 2 of 17", [](CalibrationPart& p) { p = part_of({1}); }},
  };
  for (const auto& [says, change] : cases) {
    const std::string message = refused(change);
    EXPECT_NE(message.find(says), std::string::npos) << message;
    EXPECT_NE(message.find("part 'b'"), std::string::npos) << message;
  }
  const std::string missing = message_of([&] { table_of_part(first); });
  EXPECT_NE(missing.find("14 of 17 samples are missing (number 4, 5, 6, 7, 8, ...)"), std::string::npos)
      << missing;
  CalibrationPart elsewhere = part_of({4});
  elsewhere.isa = "avx512vnni";
  CalibrationPart to = first;
  merge_part(to, elsewhere, "a", "b");
  merge_part(to, part_of({5}), "a", "b");
  EXPECT_EQ(to.isa, "avx2, avx512vnni");
}

TEST(Part, AllSamplesBadIsAnErrorOfTheTable) {
  CalibrationPart part = frame();
  part.total = 1;
  part.samples.push_back({0, 1, 2, true, "x.jpg", "damaged"});
  EXPECT_NE(message_of([&] { table_of_part(part); }).find("damaged"), std::string::npos);
}

// Writes the right checksum.
void repair(std::string& bytes) {
  const uint64_t size = bytes.size() - 36, sum = XXH3_64bits(bytes.data() + 36, size);
  std::memcpy(bytes.data() + 20, &size, 8);
  std::memcpy(bytes.data() + 28, &sum, 8);
}

CalibrationPart parse(const std::string& bytes) {
  return parse_part(std::as_bytes(std::span(bytes)), "file");
}

TEST(Part, DamagedFilesAreRefused) {
  const std::string good = part_bytes(part_of({0, 3, 4, 9}));
  ASSERT_EQ(parse(good), part_of({0, 3, 4, 9}));
  for (size_t n = 0; n < good.size(); ++n) {
    EXPECT_THROW(parse(good.substr(0, n)), Error) << n;
    if (n <= 36) continue;
    std::string cut = good.substr(0, n);
    repair(cut);
    EXPECT_THROW(parse(cut), Error) << n;
  }
  std::string longer = good + "x";
  EXPECT_THROW(parse(longer), Error);
  repair(longer);
  EXPECT_THROW(parse(longer), Error);
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    std::string flipped = good;
    flipped[random() % flipped.size()] ^= static_cast<char>(1 << random() % 8);
    EXPECT_THROW(parse(flipped), Error) << i;
  }
}

// What passes the checks although it was changed must be a part like any other.
TEST(Part, ChangesWithTheRightChecksumNeverHarm) {
  const std::string good = part_bytes(part_of({0, 3, 4, 9}));
  std::mt19937 random(5);
  int passed = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string changed = good;
    for (unsigned k = 0; k <= random() % 3; ++k) {
      const size_t at = 36 + random() % (changed.size() - 36);
      switch (random() % 4) {
        case 0:
          changed[at] = static_cast<char>(random());
          break;
        case 1:
          changed[at] = static_cast<char>(0xff);
          break;
        case 2:
          changed.insert(at, 1, static_cast<char>(random()));
          break;
        default:
          changed.erase(at, 1);
      }
    }
    repair(changed);
    try {
      const CalibrationPart part = parse(changed);
      EXPECT_EQ(part_bytes(part), changed);
      ++passed;
      CalibrationPart rest = part_of({7});
      try {
        merge_part(rest, part, "a", "b");
      } catch (const Error&) {
      }
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(passed, 100);  // hashes, sums and counts may be any
}

TEST(Part, CountsAreCheckedBeforeMemoryIsTaken) {
  std::string bytes = part_bytes(frame());
  // The last two numbers are those of samples and of tensors.
  ASSERT_EQ(bytes.substr(bytes.size() - 2), std::string(2, '\0'));
  bytes.replace(bytes.size() - 1, 1, "\xff\xff\x3f");  // a million tensors in no byte
  repair(bytes);
  EXPECT_NE(message_of([&] { parse(bytes); }).find("tensors in 0 bytes"), std::string::npos);
}

}  // namespace
}  // namespace octet
