// A calibrator of a user's own, in memory: what a builder asks it for, and what it does with bad ones.
//
//   calibrator MODEL FOLDER   MODEL takes N x 3 x 32 x 32; engines and caches go to FOLDER
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "octet/builder.h"

namespace {

void check(bool good, const std::string& what) {
  if (good) return;
  std::fprintf(stderr, "calibrator: %s\n", what.c_str());
  std::exit(1);
}

class Memory : public octet::Calibrator {
 public:
  int64_t batch_size() const override { return 4; }
  bool next_batch(std::span<octet::CalibrationArray> arrays) override {
    ++asked;
    if (throws) throw std::runtime_error("the disk is gone");
    if (batches-- == 0) return false;
    check(arrays.size() == 1 && arrays[0].shape == std::vector<int64_t>({4, 3, 32, 32}),
          "a wrong shape is expected");
    values.resize(4 * 3 * 32 * 32);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((i * 37 + asked * 11) % 256);
    arrays[0].data = null ? nullptr : values.data();
    if (!shape.empty()) arrays[0].shape = shape;
    if (doubles) arrays[0].dtype = octet::DType::kFloat64;
    return true;
  }
  std::string read_cache() override { return cache; }
  void write_cache(std::string_view text) override { written = std::string(text); }

  size_t asked = 0;
  int batches = 5;
  bool throws = false, null = false, doubles = false;
  std::vector<int64_t> shape;
  std::string cache, written;
  std::vector<float> values;
};

template <typename F>
std::string error_of(const F& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

void expect_error(const octet::Model& model, const std::shared_ptr<Memory>& memory, const std::string& says) {
  octet::BuilderConfig config;
  config.int8 = true;
  config.calibrator = memory;
  const std::string error = error_of([&] { octet::build(model, config); });
  check(error.find(says) != std::string::npos, "expected an error with '" + says + "', not '" + error + "'");
}

}  // namespace

int main(int, char** words) {
  const octet::Model model = octet::Model::load(words[1]);
  const std::string folder = words[2];
  const auto first = std::make_shared<Memory>();
  octet::BuilderConfig config;
  config.int8 = true;
  config.calibrator = first;
  config.effort = "fast";
  config.workspace = 100000;  // the rest goes to a file
  std::vector<std::string> said;
  config.log = [&](octet::Severity, std::string_view text) { said.emplace_back(text); };
  octet::build(model, config).save(folder + "/data.octet");
  check(first->asked == 6, "five batches and an end are asked for");
  check(first->written.rfind("TRT-8601-EntropyCalibration2\n", 0) == 0, "the cache is not TensorRT's");
  check(!said.empty(), "nothing was logged");
  std::ofstream(folder + "/cache") << first->written;

  // A cache asks for no data; the same one gives the same engine.
  const auto cached = std::make_shared<Memory>();
  cached->cache = first->written;
  config.calibrator = cached;
  octet::build(model, config).save(folder + "/cache.octet");
  check(cached->asked == 0 && cached->written.empty(), "data were read although there is a cache");
  config.calibrator = nullptr;
  config.table = folder + "/cache";
  check(octet::build(model, config).serialize() ==
            octet::runtime::Engine::load(folder + "/cache.octet").serialize(),
        "a cache in a file gives another engine than the same from a calibrator");
  check(octet::quantize(model, config).quantized(), "quantize() gave a float model");

  const auto bad = [&](auto change, const std::string& says) {
    const auto memory = std::make_shared<Memory>();
    change(*memory);
    expect_error(model, memory, says);
  };
  bad([](Memory& m) { m.throws = true; }, "the disk is gone");
  bad([](Memory& m) { m.batches = 0; }, "gave no data");
  bad([](Memory& m) { m.null = true; }, "no data for the input");
  bad([](Memory& m) { m.doubles = true; }, "float64");
  bad([](Memory& m) { m.shape = {4, 3, 31, 32}; }, "shape 4x3x31x32");
  bad([](Memory& m) { m.cache = "TRT-8601-EntropyCalibration2\nx: zz\n"; }, "line 2");
  bad([](Memory& m) { m.cache = "garbage"; }, "cache");
  config.fp16 = config.bf16 = true;
  check(error_of([&] { octet::build(model, config); }).find("exclude") != std::string::npos,
        "fp16 and bf16 at once");
  std::puts("calibrator: ok");
  return 0;
}
