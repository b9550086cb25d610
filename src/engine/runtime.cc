#include "octet/runtime.h"

#include <algorithm>

#include "engine/runtime_state.h"

namespace octet::runtime {
namespace {

TensorInfo describe(const engine::TensorDef& def) {
  TensorInfo info;
  info.name = def.name;
  info.dtype = def.dtype;
  for (const Dim& d : def.shape) info.shape.push_back(d.known() ? d.value() : -1);
  info.shape_text = to_string(def.shape);
  info.scale = def.quant.scale;
  info.zero_point = def.quant.zero_point;
  return info;
}

// The inputs' shapes with the sizes of a profile's symbols.
Profile shapes_of(const engine::Model& model, const engine::Profile& ranges) {
  Profile profile;
  for (const auto& [shapes, size] : {std::pair{&profile.minimum, &engine::SizeRange::minimum},
                                     std::pair{&profile.optimum, &engine::SizeRange::optimum},
                                     std::pair{&profile.maximum, &engine::SizeRange::maximum}}) {
    SymbolValues values;
    for (size_t s = 0; s < model.symbols.size(); ++s) values[model.symbols[s].name] = ranges[s].*size;
    for (const int32_t t : model.inputs) {
      std::vector<int64_t> shape;
      for (const Dim& d : model.tensors[t].shape) shape.push_back(d.evaluate(values));
      shapes->push_back(std::move(shape));
    }
  }
  return profile;
}

}  // namespace

Engine::State::State(engine::Engine loaded) : engine(std::move(loaded)) {
  const engine::Model& model = engine.model();
  for (int32_t t : model.inputs) inputs.push_back(describe(model.tensors[t]));
  for (int32_t t : model.outputs) outputs.push_back(describe(model.tensors[t]));
  for (const engine::Symbol& s : model.symbols)
    if (!s.at_run) dimensions.push_back({s.name, s.minimum, s.optimum, s.maximum});
  for (const engine::Profile& p : model.profiles) profiles.push_back(shapes_of(model, p));
}

Engine::Engine(std::shared_ptr<const State> state) : state_(std::move(state)) {}

Engine Engine::load(const std::filesystem::path& path) {
  return Engine(std::make_shared<const State>(engine::Engine::load(path)));
}

Engine Engine::load(std::span<const std::byte> bytes, const std::string& name) {
  return Engine(std::make_shared<const State>(engine::Engine::load(bytes, name)));
}

void Engine::save(const std::filesystem::path& path) const {
  engine::save(state_->engine.model(), path);
}
std::vector<std::byte> Engine::serialize() const {
  return engine::serialize(state_->engine.model());
}

const std::vector<Profile>& Engine::profiles() const {
  return state_->profiles;
}
const std::vector<TensorInfo>& Engine::inputs() const {
  return state_->inputs;
}
const std::vector<TensorInfo>& Engine::outputs() const {
  return state_->outputs;
}
const std::vector<Dimension>& Engine::dimensions() const {
  return state_->dimensions;
}
const std::map<std::string, std::string>& Engine::metadata() const {
  return state_->engine.model().metadata;
}
const std::string& Engine::producer() const {
  return state_->engine.model().producer;
}

std::vector<StepInfo> Engine::steps() const {
  std::vector<StepInfo> steps;
  for (const engine::StepDef& s : state_->engine.model().steps)
    steps.push_back({s.name, s.kind, s.precision, s.reason});
  return steps;
}

struct Context::State {
  std::shared_ptr<const Engine::State> engine;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<engine::Context> context;
  std::vector<Tensor> inputs;  // views of the caller's memory; undefined where none was set
  bool ran = false;

  const TensorInfo& input(size_t index) const { return at(engine->inputs, index, "input"); }
  const TensorInfo& output(size_t index) const { return at(engine->outputs, index, "output"); }

 private:
  static const TensorInfo& at(const std::vector<TensorInfo>& all, size_t index, const char* what) {
    if (index >= all.size())
      fail(ErrorCode::kInvalidArgument, "{} {}: the engine has {}", what, index, all.size());
    return all[index];
  }
};

Context::Context(const Engine& engine, const ContextOptions& options) : state_(std::make_unique<State>()) {
  state_->engine = engine.state_;
  engine::ContextOptions inner = engine::default_options();
  inner.shapes = options.dimensions;
  if (options.threads != 1) state_->pool = std::make_unique<ThreadPool>(options.threads);
  inner.pool = state_->pool.get();
  state_->context = std::make_unique<engine::Context>(state_->engine->engine, inner);
  state_->inputs.resize(state_->engine->inputs.size());
}

Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

void Context::set_dimensions(const std::map<std::string, int64_t>& dimensions) {
  state_->context->set_shapes(dimensions);
  state_->inputs.assign(state_->inputs.size(), Tensor());
  state_->ran = false;
}

void Context::set_shapes(const std::vector<std::vector<int64_t>>& shapes) {
  set_dimensions(engine::symbols_for(state_->engine->engine.model(), shapes));
}

const std::vector<int64_t>& Context::input_shape(size_t index) const {
  state_->input(index);
  return state_->context->input_shape(index);
}

const std::vector<int64_t>& Context::output_shape(size_t index) const {
  const TensorInfo& info = state_->output(index);
  const Tensor& output = state_->context->output(index);
  return output.count() < 0 ? info.shape : output.shape();
}

size_t Context::input_size(size_t index) const {
  const TensorInfo& info = state_->input(index);
  int64_t count = 1;
  for (int64_t d : state_->context->input_shape(index))
    count *= d;  // the context exists, so it does not overflow
  return static_cast<size_t>(dtype_bytes(info.dtype, count));
}

size_t Context::output_size(size_t index) const {
  state_->output(index);
  return static_cast<size_t>(state_->context->output(index).bytes());
}

int64_t Context::memory_bytes() const {
  return state_->context->memory_bytes();
}

void Context::expect_input(size_t index, DType dtype) const {
  const TensorInfo& info = state_->input(index);
  if (info.dtype != dtype)
    fail(ErrorCode::kInvalidArgument, "input '{}' is {}, but {} elements were given", info.name,
         dtype_name(info.dtype), dtype_name(dtype));
}

void Context::expect_output(size_t index, DType dtype) const {
  const TensorInfo& info = state_->output(index);
  if (info.dtype != dtype)
    fail(ErrorCode::kInvalidArgument, "output '{}' is {}, but {} elements were asked for", info.name,
         dtype_name(info.dtype), dtype_name(dtype));
}

void Context::bind_input(size_t index, std::span<const std::byte> data) {
  const TensorInfo& info = state_->input(index);
  const std::vector<int64_t>& shape = state_->context->input_shape(index);
  if (const size_t expected = input_size(index); data.size() != expected)
    fail(ErrorCode::kInvalidArgument, "input '{}' ({} {}) takes {} bytes, but {} were given", info.name,
         to_string(shape), dtype_name(info.dtype), expected, data.size());
  const auto alignment = static_cast<uintptr_t>(std::max(dtype_bits(info.dtype) / 8, 1));
  if (reinterpret_cast<uintptr_t>(data.data()) % alignment != 0)
    fail(ErrorCode::kInvalidArgument, "input '{}': its {} elements are not aligned to {} bytes", info.name,
         dtype_name(info.dtype), alignment);
  state_->inputs[index] = Tensor::view(info.dtype, shape, static_cast<const void*>(data.data()));
}

void Context::check_inputs() const {
  for (size_t i = 0; i < state_->inputs.size(); ++i)
    if (state_->inputs[i].count() < 0)
      fail(ErrorCode::kInvalidArgument, "input '{}' was not set", state_->engine->inputs[i].name);
}

void Context::run() {
  check_inputs();
  state_->context->run(state_->inputs);
  state_->ran = true;
}

void Context::run(std::span<double> step_seconds) {
  check_inputs();
  state_->context->profile(state_->inputs, step_seconds);
  state_->ran = true;
}

std::span<const std::byte> Context::output_bytes(size_t index) const {
  const TensorInfo& info = state_->output(index);
  if (!state_->ran) fail(ErrorCode::kInvalidArgument, "output '{}' does not exist before run()", info.name);
  const Tensor& tensor = state_->context->output(index);
  return {static_cast<const std::byte*>(tensor.raw()), static_cast<size_t>(tensor.bytes())};
}

}  // namespace octet::runtime
