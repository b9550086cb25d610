// trtexec's inference phase: inputs, streams, times.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <thread>

#include "base/cpu.h"
#include "base/file.h"
#include "bench_inputs.h"
#include "tensor/npy.h"
#include "timing.h"
#include "trtexec.h"

namespace octet::tools {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::string without_quotes(std::string text) {
  std::erase(text, '\'');
  return text;
}

// Plain bytes of the input's type, or an .npy file.
Tensor read_input(const std::string& file, const Tensor& like, const std::string& name) {
  if (file.ends_with(".npy")) {
    Tensor array = read_npy(file);
    if (array.dtype() != like.dtype() || array.shape() != like.shape())
      fail(ErrorCode::kInvalidArgument, "--loadInputs: '{}' holds {} {}, the input '{}' is {} {}", file,
           dtype_name(array.dtype()), to_string(array.shape()), name, dtype_name(like.dtype()),
           to_string(like.shape()));
    return array;
  }
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  if (static_cast<int64_t>(bytes.size()) != like.bytes())
    fail(ErrorCode::kInvalidArgument,
         "--loadInputs: '{}' has {} bytes, the input '{}' of {} {} needs {}: --shapes says another shape",
         file, bytes.size(), name, dtype_name(like.dtype()), to_string(like.shape()), like.bytes());
  Tensor array(like.dtype(), like.shape());
  std::memcpy(array.raw(), bytes.data(), bytes.size());
  return array;
}

// "name:file,name:file"; names may hold colons.
void load_inputs(const std::string& text, const engine::Model& model, std::vector<Tensor>& inputs) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = without_quotes(text.substr(at, end - at));
    at = end + 1;
    size_t best = model.inputs.size(), length = 0;
    for (size_t i = 0; i < model.inputs.size(); ++i) {
      const std::string& name = model.tensors[model.inputs[i]].name;
      if (part.starts_with(name + ":") && name.size() >= length) {
        best = i;
        length = name.size();
      }
    }
    if (best == model.inputs.size()) {
      std::string names;
      for (const int32_t t : model.inputs) names += (names.empty() ? "" : ", ") + model.tensors[t].name;
      throw UsageError(
          fmt::format("--loadInputs: '{}' has not the form INPUT:FILE with one of {}", part, names));
    }
    inputs[best] = read_input(part.substr(length + 1), inputs[best], model.tensors[model.inputs[best]].name);
  }
}

// One context, and the threads it may use.
struct Stream {
  ThreadPool pool;
  engine::Context context;
  std::vector<InferenceTime> times;
  std::exception_ptr error;

  Stream(const engine::Engine& engine, engine::ContextOptions options, int threads)
      : pool(threads), context(engine, with_pool(options, &pool)) {}

 private:
  static engine::ContextOptions with_pool(engine::ContextOptions options, ThreadPool* pool) {
    options.pool = pool;
    return options;
  }
};

std::vector<InferenceTime> time_streams(const TrtexecOptions& options,
                                        std::vector<std::unique_ptr<Stream>>& streams,
                                        const std::vector<Tensor>& inputs) {
  std::atomic<int64_t> runs{0};
  const auto warm = Clock::now();
  do streams[0]->context.run(inputs);
  while (ms_since(warm) < options.warm_up_ms);
  const auto start = Clock::now();
  const int64_t least = std::max<int64_t>(1, options.iterations);
  const auto work = [&](Stream& stream) {
    try {
      do {
        const double begin = ms_since(start);
        stream.context.run(inputs);
        stream.times.push_back({begin, ms_since(start)});
      } while (++runs < least || ms_since(start) < options.duration_s * 1e3);
    } catch (...) {
      stream.error = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < streams.size(); ++i) threads.emplace_back(work, std::ref(*streams[i]));
  work(*streams[0]);
  for (std::thread& t : threads) t.join();
  std::vector<InferenceTime> times;
  for (const auto& stream : streams) {
    if (stream->error) std::rethrow_exception(stream->error);
    times.insert(times.end(), stream->times.begin(), stream->times.end());
  }
  std::sort(times.begin(), times.end(),
            [](const InferenceTime& a, const InferenceTime& b) { return a.end_ms < b.end_ms; });
  return times;
}

void profile(const TrtexecOptions& options, engine::Context& context, const engine::Model& model,
             const std::vector<Tensor>& inputs) {
  constexpr double kMostSeconds = 2;
  const double seconds = std::clamp(options.duration_s, 0.0, kMostSeconds);
  const auto times = time_each_step(context, inputs, model.steps.size(), seconds);
  std::vector<LayerTime> layers;
  for (size_t i = 0; i < times.size(); ++i) {
    double total = 0;
    for (const double t : times[i]) total += t;
    layers.push_back({model.steps[i].name, total * 1e3, quantile(times[i], 0.5) * 1e3});
  }
  report_profile(options, layers, times.empty() ? 0 : static_cast<int64_t>(times[0].size()));
}

}  // namespace

void run_inference(const TrtexecOptions& options, const engine::Engine& engine) {
  const engine::Model& model = engine.model();
  std::vector<std::string> texts;
  if (!options.run_shapes.empty()) texts.push_back(options.run_shapes);
  const std::map<std::string, Shape> shapes = parse_shapes(model, texts);
  engine::ContextOptions context_options = engine::default_options();
  context_options.shapes = dimensions_for(model, shapes);
  const int threads = std::max(1, available_cpus() / static_cast<int>(options.streams));
  std::vector<std::unique_ptr<Stream>> streams;
  for (int64_t i = 0; i < options.streams; ++i)
    streams.push_back(std::make_unique<Stream>(engine, context_options, threads));
  engine::Context& first = streams[0]->context;
  std::vector<Tensor> inputs = random_inputs(model, first, shapes);
  load_inputs(options.load_inputs, model, inputs);
  for (size_t i = 0; i < inputs.size(); ++i)
    trtexec_log(fmt::format("Input binding for {} with dimensions {} is created.",
                            model.tensors[model.inputs[i]].name, to_string(inputs[i].shape())));

  if (options.dump_layers || !options.export_layers.empty())
    report_layers(options, model, first.step_kernels());
  trtexec_log("Starting inference");
  report_times(options, time_streams(options, streams, inputs));
  if (options.dump_profile || !options.export_profile.empty()) profile(options, first, model, inputs);
  if (!options.dump_output && options.export_output.empty() && options.ref_outputs.empty()) return;
  first.run(inputs);
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < model.outputs.size(); ++i) outputs.push_back(first.output(i));
  report_outputs(options, model, outputs);
  check_outputs(options, model, outputs);
}

}  // namespace octet::tools
