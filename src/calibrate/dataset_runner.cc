#include "calibrate/dataset_runner.h"

#include <algorithm>
#include <cstring>
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

namespace {

bool is_read(const engine::Model& model, int32_t tensor) {
  const auto contains = [&](const std::vector<int32_t>& list) {
    return std::find(list.begin(), list.end(), tensor) != list.end();
  };
  return contains(model.outputs) ||
         std::any_of(model.steps.begin(), model.steps.end(),
                     [&](const engine::StepDef& step) { return contains(step.inputs); }) ||
         std::any_of(model.tensors.begin(), model.tensors.end(),
                     [&](const engine::TensorDef& t) { return t.parent == tensor; });
}

// The inputs that something reads, or all where none is.
std::vector<int32_t> read_inputs(const engine::Model& model) {
  std::vector<int32_t> read;
  std::copy_if(model.inputs.begin(), model.inputs.end(), std::back_inserter(read),
               [&](int32_t t) { return is_read(model, t); });
  return read.empty() ? model.inputs : read;
}

// For an input that nothing reads, of the size that the others imply.
Tensor zeros(const engine::Model& model, const engine::TensorDef& def, std::span<const Tensor> others) {
  std::map<std::string, int64_t> sizes;
  for (size_t i = 0; i < others.size(); ++i) {
    const Dims& dims = model.tensors[model.inputs[i]].shape;
    for (size_t d = 0; d < std::min(dims.size(), others[i].shape().size()); ++d)
      if (!dims[d].known() && dims[d].op() == Dim::Op::kSymbol) sizes[dims[d].name()] = others[i].shape()[d];
  }
  Shape shape;
  for (const Dim& d : def.shape)
    shape.push_back(d.known()                                             ? d.value()
                    : d.op() == Dim::Op::kSymbol && sizes.count(d.name()) ? sizes[d.name()]
                                                                          : 1);
  return {def.dtype, std::move(shape)};
}

// The sample's tensor for an input; null where it has none.
const Tensor* find_input(const std::map<std::string, Tensor>& named, const std::string& name) {
  auto found = named.find(name);
  if (found == named.end() && named.size() == 1 && named.begin()->first.empty()) found = named.begin();
  return found == named.end() ? nullptr : &found->second;
}

// One sample as a batch of the size that the model has.
Tensor repeated(const Tensor& sample, const Dims& wanted) {
  const Shape& shape = sample.shape();
  const auto fits = [](const Dim& d, int64_t size) { return !d.known() || d.value() == size; };
  if (wanted.empty() || shape.size() != wanted.size() || shape[0] != 1 || fits(wanted[0], 1) ||
      !std::equal(shape.begin() + 1, shape.end(), wanted.begin() + 1,
                  [&](int64_t size, const Dim& d) { return fits(d, size); }))
    return sample;
  Shape batch = shape;
  batch[0] = wanted[0].value();
  Tensor out(sample.dtype(), std::move(batch));
  for (int64_t i = 0; i < wanted[0].value(); ++i)
    std::memcpy(static_cast<std::byte*>(out.raw()) + i * sample.bytes(), sample.raw(),
                static_cast<size_t>(sample.bytes()));
  return out;
}

Tensor of_dtype(const engine::Model& model, const engine::TensorDef& def, const Tensor& given) {
  const auto preprocess = model.metadata.find(kPreprocessKey);
  if (given.dtype() == DType::kFloat32 && def.dtype == DType::kUInt8 && preprocess != model.metadata.end())
    return image_bytes(given, Preprocess::parse(preprocess->second));
  if (given.dtype() == DType::kFloat32 && is_half(def.dtype)) return narrowed(given, def.dtype);
  if (given.dtype() != def.dtype)
    fail(ErrorCode::kInvalidArgument, "input '{}' is {}, the model expects {}", def.name,
         dtype_name(given.dtype()), dtype_name(def.dtype));
  return given;
}

}  // namespace

Shape known_sizes(const Dims& dims) {
  Shape shape;
  for (const Dim& d : dims) shape.push_back(d.known() ? d.value() : 0);
  return shape;
}

Shape only_input(const engine::Model& model) {
  const std::vector<int32_t> read = read_inputs(model);
  return read.size() == 1 ? known_sizes(model.tensors[read[0]].shape) : Shape();
}

std::vector<Tensor> order_inputs(const engine::Model& model, const std::map<std::string, Tensor>& named) {
  std::string names;
  for (int32_t t : model.inputs) names += (names.empty() ? "'" : ", '") + model.tensors[t].name + "'";
  const std::vector<int32_t> read = read_inputs(model);
  const auto left_out = [&](int32_t t) {
    return !named.count(model.tensors[t].name) && std::find(read.begin(), read.end(), t) == read.end();
  };
  const auto without = static_cast<size_t>(std::count_if(model.inputs.begin(), model.inputs.end(), left_out));
  if (named.size() + without != model.inputs.size())
    fail(ErrorCode::kInvalidArgument, "the data has {} input{}, the model has {}: {}", named.size(),
         named.size() == 1 ? "" : "s", model.inputs.size(), names);
  std::vector<Tensor> inputs(model.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const engine::TensorDef& def = model.tensors[model.inputs[i]];
    if (left_out(model.inputs[i])) continue;
    const Tensor* const found = find_input(named, def.name);
    if (found == nullptr)
      fail(ErrorCode::kInvalidArgument, "the data has no input '{}': the model's inputs are {}", def.name,
           names);
    inputs[i] = repeated(of_dtype(model, def, *found), def.shape);
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (left_out(model.inputs[i])) inputs[i] = zeros(model, model.tensors[model.inputs[i]], inputs);
  return inputs;
}

}  // namespace octet
