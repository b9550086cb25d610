// A model's whole way: calibrate, quantize, export, import, build, run. The demo network always; others where
// OCTET_DATA (or ../shared/data) has them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "base/file.h"
#include "build/build.h"
#include "calibrate/calibrate.h"
#include "data/dataset.h"
#include "onnx/onnx.h"
#include "passes/canonicalize.h"
#include "passes/quantize.h"
#include "report/metrics.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kImages = 10;

fs::path data_folder() {
  if (const char* set = std::getenv("OCTET_DATA")) return set;
  return fs::path(OCTET_SOURCE_DIR).parent_path() / "shared" / "data";
}

// One model with its images; a copy of the folder's first few, so that data sets may be taken in any order.
struct Subject {
  fs::path model, images;
  std::string preprocess;
};

std::vector<std::string> image_files(const fs::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".jpg" || extension == ".jpeg" || extension == ".JPEG" || extension == ".png")
      files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  files.resize(std::min<size_t>(files.size(), kImages));
  return files;
}

class EndToEnd : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("octet_end_to_end_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The images in this order.
  std::unique_ptr<Dataset> open(const Subject& s, bool backwards = false) const {
    std::vector<std::string> files = image_files(s.images);
    if (backwards) std::reverse(files.begin(), files.end());
    const fs::path list = folder_ / (backwards ? "backwards.txt" : "forwards.txt");
    std::string text;
    for (const std::string& f : files) text += f + "\n";
    AtomicFile file(list);
    file.write(text);
    file.commit();
    DataOptions options;
    options.preprocess = s.preprocess;
    return open_data(list, options);
  }

  void whole_way(const Subject& s, double least_sqnr);
  fs::path folder_;
};

std::map<std::string, TableTensor, std::less<>> ranges_of(const engine::Engine& engine,
                                                          const std::vector<std::string>& names,
                                                          const Dataset& data, int threads,
                                                          RangeMethod method) {
  RunnerOptions runner;
  runner.threads = threads;
  std::vector<int64_t> all(static_cast<size_t>(data.size()));
  std::iota(all.begin(), all.end(), 0);
  return choose_ranges(observe_values(engine, data, all, names, runner).values, method, {});
}

std::vector<Tensor> outputs_of(const engine::Engine& engine, const Tensor& input, Isa isa, int threads) {
  ThreadPool pool(threads);
  engine::ContextOptions options;
  options.isa = isa;
  options.pool = &pool;
  engine::Context context(engine, options);
  context.run(std::vector<Tensor>{input});
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < engine.model().outputs.size(); ++i) outputs.push_back(context.output(i).clone());
  return outputs;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

void EndToEnd::whole_way(const Subject& s, double least_sqnr) {
  const auto data = open(s);
  Graph graph = import_onnx(s.model);
  canonicalize(graph);
  const engine::Engine float_engine(build_engine(graph));
  const Placement placement = place(graph, {});
  std::vector<std::string> names;
  for (const auto& [value, group] : placement.group_of) names.push_back(graph.value(value).name);

  const auto ranges = ranges_of(float_engine, names, *data, 1, RangeMethod::kMse);
  EXPECT_EQ(ranges, ranges_of(float_engine, names, *data, 3, RangeMethod::kMse)) << "other threads";
  EXPECT_EQ(ranges, ranges_of(float_engine, names, *open(s, true), 2, RangeMethod::kMse)) << "other order";

  Graph quantized = graph;
  const auto layers =
      insert_qdq(quantized, placement, {}, [&](const std::string& name) -> std::optional<Range> {
        const auto found = ranges.find(name);
        if (found == ranges.end()) return {};
        return found->second.range;
      });
  EXPECT_FALSE(layers.empty());
  export_onnx(quantized, folder_ / "q.onnx");
  export_onnx(import_onnx(folder_ / "q.onnx"), folder_ / "q2.onnx");
  const engine::Model model = build_engine(import_onnx(folder_ / "q.onnx"));
  engine::save(model, folder_ / "a.octet");
  engine::save(build_engine(import_onnx(folder_ / "q2.onnx")), folder_ / "b.octet");
  EXPECT_EQ(read_text(folder_ / "a.octet"), read_text(folder_ / "b.octet"))
      << "the same engine through another export and import";
  const engine::Engine engine = engine::Engine::load(folder_ / "a.octet");
  for (const engine::StepDef& step : engine.model().steps) EXPECT_NE(step.kind, "conv_f32") << step.name;

  PairSums sums;
  int64_t agree = 0;
  for (int64_t i = 0; i < data->size(); ++i) {
    const Tensor input = data->load(i).inputs.begin()->second;
    const auto expected = outputs_of(float_engine, input, best_isa(), 1);
    const auto outputs = outputs_of(engine, input, best_isa(), 1);
    const auto a = to_float(expected[0]), b = to_float(outputs[0]);
    sums += compare_values(a, b);
    agree += top_indices(a, 1) == top_indices(b, 1);
    if (i > 0) continue;
    // The reference is slow: it sees one image.
    for (const Isa isa : possible_isas()) {
      for (int threads = 1; threads <= (isa == Isa::kReference ? 1 : 3); ++threads) {
        const auto same = outputs_of(engine, input, isa, threads);
        for (size_t o = 0; o < outputs.size(); ++o)
          EXPECT_TRUE(same_bytes(outputs[o], same[o]))
              << "output " << o << " on " << isa_name(isa) << " with " << threads << " threads";
      }
    }
  }
  EXPECT_GE(agree, data->size() - 2) << "of " << data->size();
  EXPECT_GT(sums.sqnr_db().value_or(1000), least_sqnr);
  std::printf("%s: %.1f dB, top-1 of %lld of %lld agree\n", s.model.filename().c_str(),
              sums.sqnr_db().value_or(1000), static_cast<long long>(agree),
              static_cast<long long>(data->size()));
}

TEST_F(EndToEnd, Demo) {
  const fs::path demo = fs::path(OCTET_SOURCE_DIR) / "demo";
  whole_way({demo / "model.onnx", demo / "images" / "calib", "short=64 crop=64 rgb mean=127.5 std=127.5"},
            10);
}

TEST_F(EndToEnd, MobileNetV2) {
  const fs::path data = data_folder();
  if (!fs::exists(data / "models" / "mobilenetv2.onnx"))
    GTEST_SKIP() << "no data in '" << data.string() << "': set OCTET_DATA";
  whole_way({data / "models" / "mobilenetv2.onnx", data / "imagenet" / "calib",
             "short=256 crop=224 rgb mean=127.5 std=127.5"},
            8);
}

TEST_F(EndToEnd, SqueezeNet) {
  const fs::path data = data_folder();
  if (!fs::exists(data / "models" / "squeezenet1.1.onnx"))
    GTEST_SKIP() << "no data in '" << data.string() << "': set OCTET_DATA";
  whole_way({data / "models" / "squeezenet1.1.onnx", data / "imagenet" / "calib",
             "short=259 crop=227 bgr mean=104,117,123"},
            10);
}

}  // namespace
}  // namespace octet
