#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>

#include "base/checked.h"
#include "engine/engine.h"
#include "engine/late.h"
#include "engine/plan.h"
#include "engine/steps/step.h"
#include "engine/validate.h"

namespace octet::engine {

Engine::Engine(Model model) {
  validate(model);
  model_ = std::make_shared<const Model>(std::move(model));
}

ContextOptions default_options() {
  ContextOptions options;
  options.isa = current_isa();
  return options;
}

namespace {

// Of a step whose outputs have no elements.
class EmptyStep : public Step {
 public:
  void run(Memory, int64_t, int64_t, int, std::byte*) override {}
  std::string kernel() const override { return "nothing"; }
};

}  // namespace

struct Context::State {
  Engine engine;
  ContextOptions options;
  std::vector<Shape> shapes;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<int64_t> pieces;
  SymbolValues symbols;
  LateShapes late;
  std::vector<std::vector<Shape>> prepared_for;  // of late steps: the shapes of what they touch
  MemoryPlan plan;
  Tensor arena, scratch;
  int64_t scratch_stride = 0;
  std::vector<std::byte*> memory;  // address of each tensor
  std::vector<Tensor> outputs;
  std::mutex error_mutex;
  std::exception_ptr error;

  State(Engine e, const ContextOptions& o) : engine(std::move(e)), options(o), late(engine.model()) {}
  const Model& model() const { return engine.model(); }
  int threads() const { return options.pool ? options.pool->threads() : 1; }

  void choose_shapes();
  void prepare_steps();
  void prepare(size_t index);
  void reserve_scratch();
  void run_late_step(size_t index);
  void make_outputs(size_t index);
  template <typename Body>
  void name_errors(size_t index, const Body& body) const;  // what `body` throws gets the step's name
  void allocate();
  void bind_inputs(std::span<const Tensor> inputs);
  void bind_outputs();
  void run_step(size_t index);
  template <typename After>
  void run_steps(const After& after);
  void observe(int32_t tensor, const Observer& observer) const;
};

void Context::State::choose_shapes() {
  for (const Symbol& s : model().symbols)
    if (!s.at_run) symbols[s.name] = s.optimum;
  for (const auto& [name, value] : options.shapes) {
    const auto found = std::find_if(model().symbols.begin(), model().symbols.end(),
                                    [&name = name](const Symbol& s) { return s.name == name && !s.at_run; });
    if (found == model().symbols.end())
      fail(ErrorCode::kInvalidArgument, "the engine has no dimension named '{}'", name);
    if (value < found->minimum || value > found->maximum)
      fail(ErrorCode::kInvalidArgument, "dimension '{}' is {}, but the engine was built for {} to {}", name,
           value, found->minimum, found->maximum);
    symbols[name] = value;
  }
  check_equalities(model(), symbols);
  shapes = concrete_shapes(model(), symbols, late.all());
}

void Context::State::prepare_steps() {
  steps.resize(model().steps.size());
  pieces.resize(steps.size());
  prepared_for.resize(steps.size());
  for (size_t i = 0; i < steps.size(); ++i)
    if (!late.touches(model().steps[i])) prepare(i);
}

void Context::State::prepare(size_t index) {
  const StepDef& def = model().steps[index];
  const auto empty = [&](int32_t t) {
    return std::find(shapes[t].begin(), shapes[t].end(), 0) != shapes[t].end();
  };
  if (std::all_of(def.outputs.begin(), def.outputs.end(), empty))
    steps[index] = std::make_unique<EmptyStep>();
  else
    steps[index] = find_step_kind(def.kind)(StepSetup(model(), def, shapes, options.isa, threads()));
  pieces[index] = steps[index]->pieces();
  scratch_stride = std::max(scratch_stride, round_up(steps[index]->scratch_bytes(), 64));
}

void Context::State::reserve_scratch() {
  const int64_t bytes = checked_mul(scratch_stride, threads());
  if (scratch.count() < bytes) scratch = Tensor(DType::kUInt8, {bytes});
}

void Context::State::allocate() {
  reserve_scratch();
  memory.assign(model().tensors.size(), nullptr);
  auto* base = static_cast<std::byte*>(arena.raw());
  for (size_t t = 0; t < memory.size(); ++t) {
    const TensorDef& def = model().tensors[t];
    if (def.storage == Storage::kConstant)
      memory[t] = static_cast<std::byte*>(const_cast<void*>(def.constant.raw()));
    else if (plan.offset[t] >= 0)
      memory[t] = base + plan.offset[t];
  }
  outputs.resize(model().outputs.size());
  bind_outputs();
}

void Context::State::bind_outputs() {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int32_t t = model().outputs[i];
    if (late.late(t)) continue;  // bound when they are made
    if (outputs[i].count() >= 0 && outputs[i].raw() == memory[t]) continue;
    outputs[i] = Tensor::view(model().tensors[t].dtype, shapes[t], static_cast<void*>(memory[t]));
  }
}

void Context::State::bind_inputs(std::span<const Tensor> inputs) {
  const Model& m = model();
  if (inputs.size() != m.inputs.size())
    fail(ErrorCode::kInvalidArgument, "{} inputs given, the model has {}", inputs.size(), m.inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int32_t t = m.inputs[i];
    const TensorDef& def = m.tensors[t];
    if (inputs[i].dtype() != def.dtype)
      fail(ErrorCode::kInvalidArgument, "input '{}' is {}, expected {}", def.name,
           dtype_name(inputs[i].dtype()), dtype_name(def.dtype));
    if (inputs[i].shape() != shapes[t])
      fail(ErrorCode::kInvalidArgument, "input '{}' has shape {}, expected {}", def.name,
           to_string(inputs[i].shape()), to_string(shapes[t]));
    if (plan.offset[t] >= 0) {
      if (inputs[i].bytes() > 0) std::memcpy(memory[t], inputs[i].raw(), inputs[i].bytes());
    } else {
      memory[t] = static_cast<std::byte*>(const_cast<void*>(inputs[i].raw()));
    }
    for (size_t v = t + 1; v < m.tensors.size(); ++v)
      if (m.tensors[v].parent == t) memory[v] = memory[t];
  }
  bind_outputs();
}

void Context::State::run_step(size_t index) {
  struct Job {
    State* state;
    Step* step;
  } job{this, steps[index].get()};
  const auto run = [](void* context, int64_t begin, int64_t end, int thread) {
    auto& [state, step] = *static_cast<Job*>(context);
    auto* working = static_cast<std::byte*>(state->scratch.raw()) + thread * state->scratch_stride;
    try {
      step->run(state->memory.data(), begin, end, thread, working);
    } catch (...) {
      const std::lock_guard lock(state->error_mutex);
      if (!state->error) state->error = std::current_exception();
    }
  };
  if (options.pool && pieces[index] > 1)
    options.pool->run(pieces[index], 1, run, &job);
  else
    run(&job, 0, pieces[index], 0);
  if (!error) return;
  const std::exception_ptr raised = std::exchange(error, nullptr);
  name_errors(index, [&] { std::rethrow_exception(raised); });
}

template <typename Body>
void Context::State::name_errors(size_t index, const Body& body) const {
  try {
    body();
  } catch (const Error& e) {
    fail(e.code(), "step '{}': {}", model().steps[index].name, e.message());
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kOutOfMemory, "step '{}': not enough memory", model().steps[index].name);
  } catch (const std::length_error&) {
    fail(ErrorCode::kOutOfMemory, "step '{}': not enough memory", model().steps[index].name);
  }
}

void Context::State::run_late_step(size_t index) {
  const StepDef& def = model().steps[index];
  if (!std::all_of(def.outputs.begin(), def.outputs.end(), [&](int32_t t) { return late.known(t); }))
    return make_outputs(index);
  for (int32_t t : def.inputs) late.settle(t, shapes, memory);  // views of what was made
  for (int32_t t : def.outputs) late.settle(t, shapes, memory);
  std::vector<Shape> touched;
  for (int32_t t : def.inputs) touched.push_back(t < 0 ? Shape{} : shapes[t]);
  for (int32_t t : def.outputs) touched.push_back(shapes[t]);
  if (!steps[index] || prepared_for[index] != touched) {
    prepare(index);
    prepared_for[index] = std::move(touched);
    reserve_scratch();
  }
  run_step(index);
}

void Context::State::make_outputs(size_t index) {
  const StepDef& def = model().steps[index];
  for (int32_t t : def.inputs) late.settle(t, shapes, memory);
  steps[index] = prepare_maker(StepSetup(model(), def, shapes, options.isa, threads()));
  std::vector<Tensor> made;
  name_errors(index, [&] { made = steps[index]->make(memory.data()); });
  for (size_t i = 0; i < def.outputs.size(); ++i) {
    const int32_t t = def.outputs[i];
    if (made[i].dtype() != model().tensors[t].dtype)
      fail(ErrorCode::kInternal, "step '{}' made {} of the wrong type", def.name, model().tensors[t].name);
    if (late.late(t))
      late.learn(t, made[i].shape());
    else if (made[i].shape() != shapes[t])
      fail(ErrorCode::kInvalidArgument, "step '{}': '{}' came out as {}, expected {}", def.name,
           model().tensors[t].name, to_string(made[i].shape()), to_string(shapes[t]));
  }
  for (size_t i = 0; i < def.outputs.size(); ++i) {
    const int32_t t = def.outputs[i];
    late.settle(t, shapes, memory);
    if (made[i].bytes() > 0) std::memcpy(memory[t], made[i].raw(), static_cast<size_t>(made[i].bytes()));
  }
}

template <typename After>
void Context::State::run_steps(const After& after) {
  if (late.any()) late.begin(symbols);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (late.touches(model().steps[i]))
      run_late_step(i);
    else
      run_step(i);
    after(i);
  }
  for (size_t i = 0; late.any() && i < outputs.size(); ++i) {
    const int32_t t = model().outputs[i];
    if (!late.late(t)) continue;
    late.settle(t, shapes, memory);
    outputs[i] = Tensor::view(model().tensors[t].dtype, shapes[t], static_cast<void*>(memory[t]));
  }
}

void Context::State::observe(int32_t tensor, const Observer& observer) const {
  const TensorDef& def = model().tensors[tensor];
  int64_t stride = 0;
  if (def.layout == Layout::kNhwc)
    stride = natural_pixel_stride(def.dtype, shapes[def.parent >= 0 ? def.parent : tensor][1]);
  observer({tensor, &def, &shapes[tensor], memory[tensor], stride});
}

Context::Context(Engine engine, const ContextOptions& options)
    : state_(std::make_unique<State>(std::move(engine), options)) {
  try {
    state_->choose_shapes();
    // Before anything else grows with the shapes: here the limit on memory holds.
    state_->plan = plan_memory(state_->model(), state_->shapes, state_->late.all());
    state_->arena = Tensor(DType::kUInt8, {state_->plan.bytes});
    state_->prepare_steps();
    state_->allocate();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kOutOfMemory, "not enough memory for a context of the engine");
  } catch (const std::length_error&) {
    fail(ErrorCode::kOutOfMemory, "not enough memory for a context of the engine");
  }
}
Context::~Context() = default;
Context::Context(Context&&) noexcept = default;

void Context::run(std::span<const Tensor> inputs) {
  state_->bind_inputs(inputs);
  state_->run_steps([](size_t) {});
}

void Context::run(std::span<const Tensor> inputs, const Observer& observer) {
  state_->bind_inputs(inputs);
  for (int32_t t : state_->model().inputs) state_->observe(t, observer);
  state_->run_steps([&](size_t i) {
    for (int32_t t : state_->model().steps[i].outputs) state_->observe(t, observer);
  });
}

void Context::profile(std::span<const Tensor> inputs, std::span<double> seconds) {
  if (seconds.size() != state_->steps.size())
    fail(ErrorCode::kInvalidArgument, "profile needs one entry per step");
  state_->bind_inputs(inputs);
  auto last = std::chrono::steady_clock::now();
  state_->run_steps([&](size_t i) {
    const auto now = std::chrono::steady_clock::now();
    seconds[i] += std::chrono::duration<double>(now - last).count();
    last = now;
  });
}

const Tensor& Context::output(size_t index) const {
  return state_->outputs.at(index);
}

const std::vector<int64_t>& Context::input_shape(size_t index) const {
  return state_->shapes[state_->model().inputs.at(index)];
}

int64_t Context::memory_bytes() const {
  return state_->arena.bytes() + state_->scratch.bytes() + state_->late.bytes();
}

std::vector<std::string> Context::step_kernels() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < state_->steps.size(); ++i)
    names.push_back(state_->steps[i] ? state_->steps[i]->kernel() : state_->model().steps[i].kind);
  return names;
}

}  // namespace octet::engine
