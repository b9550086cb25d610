// Engine files are not trusted: damage is found, and what is changed with skill is refused or runs inside of
// its own memory (which AddressSanitizer checks: build with -DOCTET_SANITIZE=address,undefined).
// OCTET_TEST_SEED repeats a run, OCTET_TEST_CASES sets the number of changes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engines.h"
#include "mutate.h"
#include "onnx/onnx.h"
#include "tensor/tensor.h"

namespace octet::testing {
namespace {

using engine::Engine;
using engine::Model;
using kernels::testing::Random;
using kernels::testing::test_cases;
using kernels::testing::test_seed;
using Bytes = std::vector<char>;

constexpr size_t kPrefix = 40, kHashed = 32;  // see engine/file.cc

// An engine file that can be changed in place.
class EngineFile {
 public:
  explicit EngineFile(const Model& model)
      : path_(std::filesystem::temp_directory_path() /
              ("octet_corruption_" + std::to_string(getpid()) + ".octet")) {
    engine::save(model, path_);
    std::ifstream in(path_, std::ios::binary);
    bytes = Bytes(std::istreambuf_iterator<char>(in), {});
    descriptor_ = open(path_.c_str(), O_RDWR);
    on_disk_ = bytes;
  }
  ~EngineFile() {
    close(descriptor_);
    std::filesystem::remove(path_);
  }
  EngineFile(const EngineFile&) = delete;
  EngineFile& operator=(const EngineFile&) = delete;

  // No engine of an earlier load may be alive: the file is changed in place, only where it differs.
  Engine load(const Bytes& content) const {
    if (content.size() != on_disk_.size()) {
      EXPECT_EQ(ftruncate(descriptor_, static_cast<off_t>(content.size())), 0);
      on_disk_.resize(content.size());
    }
    size_t first = 0, last = content.size();
    while (first < last && content[first] == on_disk_[first]) ++first;
    while (last > first && content[last - 1] == on_disk_[last - 1]) --last;
    const auto changed = static_cast<ssize_t>(last - first);
    EXPECT_EQ(pwrite(descriptor_, content.data() + first, last - first, static_cast<off_t>(first)), changed);
    on_disk_ = content;
    return Engine::load(path_);
  }
  bool refused(const Bytes& content) const {
    try {
      load(content);
      return false;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kBadFile) << e.message();
      EXPECT_EQ(e.message().find('\n'), std::string::npos) << e.message();
      return true;
    }
  }

  static void repair(Bytes& b) {
    const uint64_t hash =
        XXH3_64bits_withSeed(b.data() + kPrefix, b.size() - kPrefix, XXH3_64bits(b.data(), kHashed));
    std::memcpy(b.data() + kHashed, &hash, sizeof hash);
  }
  size_t header_size() const {
    uint64_t size;
    std::memcpy(&size, bytes.data() + 24, sizeof size);
    return size;
  }

  Bytes bytes;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  mutable Bytes on_disk_;
};

Model tiny_engine() {
  Model m;
  engine::TensorDef x{
      .name = "x", .shape = {2, 3}, .storage = engine::Storage::kInput, .quant = {}, .constant = {}};
  engine::TensorDef y{
      .name = "y", .shape = {2, 3}, .storage = engine::Storage::kOutput, .quant = {}, .constant = {}};
  engine::TensorDef c{.name = "c",
                      .shape = {3},
                      .storage = engine::Storage::kConstant,
                      .quant = {},
                      .constant = Tensor::of<float>({3}, {1, 2, 3})};
  m.tensors = {x, y, c};
  engine::StepDef s;
  s.kind = "generic";
  s.name = "add";
  s.attributes.set("op", std::string("Add"));
  s.inputs = {0, 2};
  s.outputs = {1};
  m.steps = {s};
  m.inputs = {0};
  m.outputs = {1};
  m.producer = "test";
  return m;
}

// Counts outcomes; remembers the slowest case.
class Tally {
 public:
  void run(const std::string& what, const std::function<Engine()>& make, Random& random) {
    const auto start = std::chrono::steady_clock::now();
    const Outcome outcome = try_engine(make, random, nullptr);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++counts_[static_cast<size_t>(outcome)];
    if (seconds > slowest_) {
      slowest_ = seconds;
      slowest_what_ = what;
    }
  }
  ~Tally() {
    std::printf("refused %lld, refused while running %lld, ran %lld; slowest %.2f s (%s)\n", counts_[0],
                counts_[1], counts_[2], slowest_, slowest_what_.c_str());
    EXPECT_LT(slowest_, 20.0) << slowest_what_;
  }

 private:
  long long counts_[3] = {0, 0, 0};
  double slowest_ = 0;
  std::string slowest_what_;
};

TEST(Corruption, ValidEnginesRun) {
  const uint32_t seed = test_seed();
  Random random(seed);
  std::string message;
  for (const Model& m :
       {tiny_engine(), small_int8_engine(), transformer_engine(), generic_engine(), demo_engine()})
    EXPECT_EQ(try_engine([&] { return Engine(m); }, random, &message), Outcome::kRan) << message;
  const EngineFile file(small_int8_engine());
  EXPECT_EQ(try_engine([&] { return file.load(file.bytes); }, random, &message), Outcome::kRan) << message;
}

TEST(Corruption, EveryTruncationAndExtensionIsRefused) {
  for (const bool demo : {false, true}) {
    const EngineFile file(demo ? demo_engine() : tiny_engine());
    const size_t step = demo ? file.bytes.size() / 500 + 1 : 1;
    for (size_t n = 0; n < file.bytes.size(); n += step)
      EXPECT_TRUE(file.refused(Bytes(file.bytes.begin(), file.bytes.begin() + static_cast<int64_t>(n)))) << n;
    Bytes longer = file.bytes;
    for (int i = 0; i < 130; i += 13) {
      longer.resize(file.bytes.size() + static_cast<size_t>(i) + 1);
      EXPECT_TRUE(file.refused(longer)) << i;
    }
  }
}

TEST(Corruption, EveryFlippedBitOfASmallEngineIsRefused) {
  const EngineFile file(tiny_engine());
  Bytes b = file.bytes;
  for (size_t i = 0; i < b.size() * 8; ++i) {
    b[i / 8] = static_cast<char>(b[i / 8] ^ (1 << i % 8));
    EXPECT_TRUE(file.refused(b)) << "bit " << i;
    b[i / 8] = static_cast<char>(b[i / 8] ^ (1 << i % 8));
  }
}

TEST(Corruption, FlippedBitsOfTheDemoEngineAreRefused) {
  Random random(test_seed());
  const EngineFile file(demo_engine());
  Bytes b = file.bytes;
  for (int64_t n = test_cases(10'000); n > 0; --n) {
    const uint64_t i = random.bits() % (b.size() * 8);
    b[i / 8] = static_cast<char>(b[i / 8] ^ (1 << i % 8));
    EXPECT_TRUE(file.refused(b)) << "bit " << i;
    b[i / 8] = static_cast<char>(b[i / 8] ^ (1 << i % 8));
  }
}

// Random bytes and integers of the file, most of them in its header, with the checksum repaired.
void change_file(const EngineFile& file, int64_t cases, Random& random) {
  const size_t header_end = kPrefix + file.header_size();
  Tally tally;
  for (int64_t n = 0; n < cases; ++n) {
    Bytes b = file.bytes;
    for (int64_t k = random.range(1, 3); k > 0; --k) {
      const size_t end = random.chance(0.9) ? header_end : b.size();
      const size_t at =
          random.chance(0.02) ? random.bits() % kPrefix : kPrefix + random.bits() % (end - kPrefix);
      if (random.chance(0.3)) {
        b[at] = static_cast<char>(b[at] ^ (1 << random.range(0, 7)));
      } else if (random.chance(0.4)) {
        b[at] = static_cast<char>(random.bits());
      } else {  // a small integer, aligned as FlatBuffers' are
        const size_t width = random.chance(0.5) ? 4 : 8, place = at / width * width;
        const int64_t value =
            random.chance(0.5) ? random.range(-2, 64) : static_cast<int64_t>(1) << random.range(0, 62);
        if (place + width <= b.size()) std::memcpy(b.data() + place, &value, width);
      }
    }
    EngineFile::repair(b);
    tally.run(
        "case " + std::to_string(n), [&] { return Engine(with_own_constants(file.load(b).model())); },
        random);
  }
}

TEST(Corruption, ChangedSmallFilesAreRefusedOrRun) {
  Random random(test_seed());
  change_file(EngineFile(small_int8_engine()), test_cases(5'000), random);
  change_file(EngineFile(generic_engine()), test_cases(5'000), random);
  change_file(EngineFile(transformer_engine()), test_cases(5'000), random);
}

TEST(Corruption, ChangedDemoFilesAreRefusedOrRun) {
  Random random(test_seed());
  change_file(EngineFile(demo_engine()), test_cases(10'000) / 10, random);
}

TEST(Corruption, ChangedModelsAreRefusedOrRun) {
  const uint32_t seed = test_seed();
  const int64_t cases = test_cases(10'000);
  Random random(seed);
  const Model small = small_int8_engine(), generic = generic_engine(), transformer = transformer_engine();
  Model other;
  Tally tally;
  for (int64_t n = 0; n < cases; ++n) {
    if (n % 50 == 0) other = random_engine(random);
    Model m = n % 4 == 0 ? other : n % 4 == 1 ? small : n % 4 == 2 ? generic : transformer;
    std::string what = "case " + std::to_string(n);
    for (int64_t k = random.chance(0.6) ? 1 : random.range(2, 4); k > 0; --k)
      what += ", " + mutate(m, random);
    if (std::getenv("OCTET_TEST_VERBOSE")) std::fprintf(stderr, "%s\n", what.c_str());
    tally.run(
        what, [&] { return Engine(m); }, random);
  }
}

}  // namespace
}  // namespace octet::testing
