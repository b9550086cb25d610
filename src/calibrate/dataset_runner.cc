#include "calibrate/dataset_runner.h"

#include <algorithm>
#include <mutex>

#include "calibrate/image_input.h"

namespace octet {
engine::Context& ContextCache::get(const engine::Engine& engine, std::span<const Tensor> inputs) {
  std::map<std::string, int64_t> shapes = shapes_for(engine.model(), inputs);
  if (!context_) {
    engine::ContextOptions options = engine::default_options();
    options.shapes = std::move(shapes);
    context_ = std::make_unique<engine::Context>(engine, options);
  } else {
    context_->set_shapes(shapes);
  }
  return *context_;
}

DatasetRunner::DatasetRunner(engine::Engine engine, const Dataset& data, RunnerOptions options)
    : engine_(std::move(engine)), data_(data), options_(std::move(options)) {
  if (options_.threads <= 0) options_.threads = available_cpus();
  options_.threads = static_cast<int>(std::min<int64_t>(options_.threads, std::max<int64_t>(1, data.size())));
}

int DatasetRunner::workers() const {
  return options_.threads;
}

std::vector<SkippedSample> DatasetRunner::run(const Body& body) {
  ThreadPool pool(options_.threads);
  std::vector<ContextCache> contexts(options_.threads);
  std::vector<SkippedSample> skipped;
  std::mutex mutex;
  Progress& progress = options_.progress ? *options_.progress : no_progress();
  progress.start(options_.label, data_.size(), data_.images() ? "images" : "samples");
  pool.parallel_for(data_.size(), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      if (options_.stop && options_.stop()) return;
      const Sample sample = data_.load(i);
      if (sample.bad) {
        const std::lock_guard lock(mutex);
        skipped.push_back({i, data_.name(i), sample.reason});
      } else {
        try {
          const std::vector<Tensor> inputs = order_inputs(engine_.model(), sample.inputs);
          body(worker, i, contexts[worker].get(engine_, inputs), inputs);
        } catch (const Error& e) {
          fail(e.code(), "{}: {}", data_.name(i), e.message());
        }
      }
      progress.advance();
    }
  });
  progress.finish();
  std::sort(skipped.begin(), skipped.end(),
            [](const SkippedSample& a, const SkippedSample& b) { return a.index < b.index; });
  return skipped;
}

std::map<std::string, int64_t> shapes_for(const engine::Model& model, std::span<const Tensor> inputs) {
  std::vector<Shape> shapes;
  for (const Tensor& t : inputs) shapes.push_back(t.shape());
  return engine::symbols_for(model, shapes);
}

std::vector<Tensor> order_inputs(const engine::Model& model, const std::map<std::string, Tensor>& named) {
  std::vector<Tensor> inputs;
  std::string names;
  for (int32_t t : model.inputs) names += (names.empty() ? "'" : ", '") + model.tensors[t].name + "'";
  if (named.size() != model.inputs.size())
    fail(ErrorCode::kInvalidArgument, "the data has {} input{}, the model has {}: {}", named.size(),
         named.size() == 1 ? "" : "s", model.inputs.size(), names);
  for (int32_t t : model.inputs) {
    const engine::TensorDef& def = model.tensors[t];
    auto found = named.find(def.name);
    if (found == named.end() && named.size() == 1 && named.begin()->first.empty()) found = named.begin();
    if (found == named.end())
      fail(ErrorCode::kInvalidArgument, "the data has no input '{}': the model's inputs are {}", def.name,
           names);
    // Preprocessed images for an engine that takes their bytes.
    const auto preprocess = model.metadata.find(kPreprocessKey);
    if (found->second.dtype() == DType::kFloat32 && def.dtype == DType::kUInt8 &&
        preprocess != model.metadata.end()) {
      inputs.push_back(image_bytes(found->second, Preprocess::parse(preprocess->second)));
      continue;
    }
    if (found->second.dtype() != def.dtype)
      fail(ErrorCode::kInvalidArgument, "input '{}' is {}, the model expects {}", def.name,
           dtype_name(found->second.dtype()), dtype_name(def.dtype));
    inputs.push_back(found->second);
  }
  return inputs;
}

}  // namespace octet
