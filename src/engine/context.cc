#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>

#include "base/checked.h"
#include "base/denormals.h"
#include "engine/engine.h"
#include "engine/late.h"
#include "engine/needs.h"
#include "engine/plan.h"
#include "engine/steps/step.h"
#include "engine/validate.h"
#include "engine/work.h"

namespace octet::engine {

Engine::Engine(Model model) {
  validate(model);
  model_ = std::make_shared<const Model>(std::move(model));
}

Engine Engine::deterministic() const {
  Engine other = *this;
  if (model_->deterministic) return other;
  Model model = *model_;
  model.deterministic = true;
  other.model_ = std::make_shared<const Model>(std::move(model));
  return other;
}

ContextOptions default_options() {
  ContextOptions options;
  options.isa = current_isa();
  return options;
}

namespace {

// Shapes whose steps a context keeps ready.
constexpr size_t kPreparedShapes = 4;

// Of a step whose outputs have no elements.
class EmptyStep : public Step {
 public:
  void run(Memory, int64_t, int64_t, int, std::byte*) override {}
  std::string kernel() const override { return "nothing"; }
};

// Everything that depends on the shapes; what is late (late.h) depends on the data of the last run as well.
struct Prepared {
  explicit Prepared(const Model& model) : late(model) {}

  SymbolValues symbols;
  std::vector<Shape> shapes;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<int64_t> pieces;
  LateShapes late;
  std::vector<std::vector<ThreadPool::Needs>> needs;  // of each step, of the pieces of the one before
  std::vector<std::vector<Shape>> prepared_for;       // of late steps: the shapes of what they touch
  MemoryPlan plan;
  int64_t scratch_stride = 0;
};

SymbolValues complete(const Model& model, const std::map<std::string, int64_t>& given) {
  SymbolValues symbols;
  for (const Symbol& s : model.symbols)
    if (!s.at_run) symbols[s.name] = s.optimum;
  for (const auto& [name, value] : given) {
    const auto found = symbols.find(name);
    if (found == symbols.end())
      fail(ErrorCode::kInvalidArgument, "the engine has no dimension named '{}'", name);
    found->second = value;
  }
  check_ranges(model, symbols);
  check_equalities(model, symbols);
  return symbols;
}

}  // namespace

struct Context::State {
  Engine engine;
  ContextOptions options;
  std::vector<std::unique_ptr<Prepared>> prepared;  // least recently used first
  Prepared* now = nullptr;
  std::vector<Tensor> expanded;  // constants that the engine stores in fewer bits than steps read
  Tensor arena, scratch;
  std::vector<std::byte*> memory;  // address of each tensor
  std::vector<Tensor> outputs;
  std::mutex error_mutex;
  std::exception_ptr error;  // of the first step that failed, and which it is
  size_t failed_step = 0;
  std::atomic<bool> failed{false};

  struct Job {
    State* state;
    size_t step;
  };
  std::vector<Job> jobs;
  std::vector<ThreadPool::Stage> stages;  // the whole run, where no step is late

  State(Engine e, const ContextOptions& o) : engine(std::move(e)), options(o) {}
  const Model& model() const { return engine.model(); }
  int threads() const { return options.pool ? options.pool->threads() : 1; }

  void set_shapes(const std::map<std::string, int64_t>& given);
  std::unique_ptr<Prepared> prepare(SymbolValues symbols, Tensor& new_arena, Tensor& new_scratch) const;
  void prepare_step(Prepared& p, size_t index) const;
  void find_needs(Prepared& p) const;
  void reserve_arena(const Prepared& p, Tensor& space) const;
  void reserve_scratch(const Prepared& p, Tensor& space) const;
  void run_late_step(size_t index);
  void make_outputs(size_t index);
  template <typename Body>
  void name_errors(size_t index, const Body& body) const;  // what `body` throws gets the step's name
  void activate(Prepared& chosen);
  void expand_constants();
  void bind_inputs(std::span<const Tensor> inputs);
  void bind_outputs();
  static void run_pieces(void* job, int64_t begin, int64_t end, int thread);
  void run_stages(std::span<const ThreadPool::Stage> some);
  void run_all();
  template <typename After>
  void run_steps(const After& after);
  void observe(int32_t tensor, const Observer& observer) const;
};

void Context::State::set_shapes(const std::map<std::string, int64_t>& given) {
  SymbolValues symbols = complete(model(), given);
  const auto found =
      std::find_if(prepared.begin(), prepared.end(), [&](const auto& p) { return p->symbols == symbols; });
  if (found != prepared.end()) {
    std::rotate(found, found + 1, prepared.end());
  } else {
    Tensor new_arena = arena, new_scratch = scratch;
    auto fresh = prepare(std::move(symbols), new_arena, new_scratch);
    if (prepared.size() == kPreparedShapes) prepared.erase(prepared.begin());
    prepared.push_back(std::move(fresh));
    arena = std::move(new_arena);
    scratch = std::move(new_scratch);
  }
  activate(*prepared.back());
}

std::unique_ptr<Prepared> Context::State::prepare(SymbolValues symbols, Tensor& new_arena,
                                                  Tensor& new_scratch) const {
  auto p = std::make_unique<Prepared>(model());
  p->symbols = std::move(symbols);
  p->shapes = concrete_shapes(model(), p->symbols, p->late.all());
  // Before anything else grows with the shapes: here the limit on memory holds.
  p->plan = plan_memory(model(), p->shapes, p->late.all());
  reserve_arena(*p, new_arena);
  p->steps.resize(model().steps.size());
  p->pieces.resize(p->steps.size());
  p->prepared_for.resize(p->steps.size());
  for (size_t i = 0; i < p->steps.size(); ++i)
    if (!p->late.touches(model().steps[i])) prepare_step(*p, i);
  reserve_scratch(*p, new_scratch);
  p->needs.resize(p->steps.size());
  if (threads() > 1 && !p->late.any()) {
    find_needs(*p);
    reserve_arena(*p, new_arena);
  }
  return p;
}

// Which steps begin before the one before has ended, and the places that tensors have then.
void Context::State::find_needs(Prepared& p) const {
  std::vector<bool> early(p.steps.size(), false);
  for (size_t i = 1; i < p.steps.size(); ++i) {
    p.needs[i] =
        needs_of(model(), p.shapes, model().steps[i - 1], *p.steps[i - 1], model().steps[i], *p.steps[i]);
    early[i] = !p.needs[i].empty();
  }
  p.plan = plan_memory(model(), p.shapes, p.late.all(), early);
}

void Context::State::reserve_arena(const Prepared& p, Tensor& space) const {
  const std::vector<bool> early(model().steps.size(), threads() > 1 && !p.late.any());
  const int64_t most = space.defined() ? 0 : largest_arena(model(), p.late.all(), early);
  if (most > p.plan.bytes) {
    try {
      space = Tensor(DType::kUInt8, {most});
    } catch (const Error&) {
      // Not enough for the largest shapes; perhaps for these.
    }
  }
  if (!space.defined() || space.bytes() < p.plan.bytes) space = Tensor(DType::kUInt8, {p.plan.bytes});
}

void Context::State::prepare_step(Prepared& p, size_t index) const {
  const StepDef& def = model().steps[index];
  const auto empty = [&](int32_t t) {
    return std::find(p.shapes[t].begin(), p.shapes[t].end(), 0) != p.shapes[t].end();
  };
  if (!def.outputs.empty() && std::all_of(def.outputs.begin(), def.outputs.end(), empty))
    p.steps[index] = std::make_unique<EmptyStep>();
  else
    p.steps[index] = find_step_kind(def.kind)(StepSetup(model(), def, p.shapes, options.isa, threads()));
  p.pieces[index] = p.steps[index]->pieces();
  p.scratch_stride = std::max(p.scratch_stride, round_up(p.steps[index]->scratch_bytes(), 64));
}

void Context::State::reserve_scratch(const Prepared& p, Tensor& space) const {
  const int64_t bytes = checked_mul(p.scratch_stride, threads());
  if (!space.defined() || space.bytes() < bytes) space = Tensor(DType::kUInt8, {bytes});
}

// Float constants that are stored in 16 bits, for the steps that read them when they run.
void Context::State::expand_constants() {
  const Model& m = model();
  expanded.resize(m.tensors.size());
  for (const StepDef& step : m.steps) {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const int32_t t = step.inputs[i];
      if (t < 0 || expanded[t].defined() || !reads_constant(step.kind, i)) continue;
      const TensorDef& def = m.tensors[t];
      if (def.storage != Storage::kConstant || def.constant.dtype() == def.dtype) continue;
      expanded[t] = Tensor(def.dtype, def.constant.shape());
      const std::vector<float> values = to_float(def.constant);
      std::copy(values.begin(), values.end(), expanded[t].as<float>().begin());
    }
  }
}

void Context::State::activate(Prepared& chosen) {
  now = &chosen;
  memory.assign(model().tensors.size(), nullptr);
  auto* base = static_cast<std::byte*>(arena.raw());
  for (size_t t = 0; t < memory.size(); ++t) {
    const TensorDef& def = model().tensors[t];
    if (def.storage == Storage::kConstant) {
      const Tensor& values = expanded[t].defined() ? expanded[t] : def.constant;
      memory[t] = static_cast<std::byte*>(const_cast<void*>(values.raw()));
    } else if (now->plan.offset[t] >= 0) {
      memory[t] = base + now->plan.offset[t];
    }
  }
  outputs.assign(model().outputs.size(), Tensor());
  bind_outputs();
  jobs.clear();
  stages.clear();
  for (size_t i = 0; i < now->steps.size(); ++i) jobs.push_back({this, i});
  for (Job& job : jobs) {
    const auto& needs = now->needs[job.step];
    stages.push_back({run_pieces, &job, now->pieces[job.step], 1, needs.empty() ? nullptr : needs.data()});
  }
}

void Context::State::bind_outputs() {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int32_t t = model().outputs[i];
    if (now->late.late(t)) continue;  // bound when they are made
    if (outputs[i].count() >= 0 && outputs[i].raw() == memory[t]) continue;
    outputs[i] = Tensor::view(model().tensors[t].dtype, now->shapes[t], static_cast<void*>(memory[t]));
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
    if (inputs[i].shape() != now->shapes[t])
      fail(ErrorCode::kInvalidArgument, "input '{}' has shape {}, expected {}", def.name,
           to_string(inputs[i].shape()), to_string(now->shapes[t]));
    if (now->plan.offset[t] >= 0) {
      if (inputs[i].bytes() > 0) std::memcpy(memory[t], inputs[i].raw(), inputs[i].bytes());
    } else {
      memory[t] = static_cast<std::byte*>(const_cast<void*>(inputs[i].raw()));
    }
    for (size_t v = t + 1; v < m.tensors.size(); ++v)
      if (m.tensors[v].parent == t)
        memory[v] = memory[t] + dtype_bytes(m.tensors[v].dtype, m.tensors[v].channel_offset);
  }
  bind_outputs();
}

void Context::State::run_pieces(void* context, int64_t begin, int64_t end, int thread) {
  const auto [state, index] = *static_cast<Job*>(context);
  if (state->failed.load(std::memory_order_relaxed)) return;
  auto* working = static_cast<std::byte*>(state->scratch.raw()) + thread * state->now->scratch_stride;
  try {
    state->now->steps[index]->run(state->memory.data(), begin, end, thread, working);
  } catch (...) {
    const std::lock_guard lock(state->error_mutex);
    if (state->failed.load(std::memory_order_relaxed)) return;
    state->error = std::current_exception();
    state->failed_step = index;
    state->failed.store(true, std::memory_order_relaxed);
  }
}

void Context::State::run_stages(std::span<const ThreadPool::Stage> some) {
  if (options.pool != nullptr) {
    options.pool->run_stages(some);
  } else {
    const DenormalsAreZero denormals_are_zero;  // as in a pool
    for (const ThreadPool::Stage& s : some) s.job(s.context, 0, s.count, 0);
  }
  if (!failed.load(std::memory_order_relaxed)) return;
  failed.store(false, std::memory_order_relaxed);
  const std::exception_ptr raised = std::exchange(error, nullptr);
  name_errors(failed_step, [&] { std::rethrow_exception(raised); });
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
  if (!std::all_of(def.outputs.begin(), def.outputs.end(), [&](int32_t t) { return now->late.known(t); }))
    return make_outputs(index);
  for (int32_t t : def.inputs) now->late.settle(t, now->shapes, memory);  // views of what was made
  for (int32_t t : def.outputs) now->late.settle(t, now->shapes, memory);
  std::vector<Shape> touched;
  for (int32_t t : def.inputs) touched.push_back(t < 0 ? Shape{} : now->shapes[t]);
  for (int32_t t : def.outputs) touched.push_back(now->shapes[t]);
  if (!now->steps[index] || now->prepared_for[index] != touched) {
    prepare_step(*now, index);
    now->prepared_for[index] = std::move(touched);
    reserve_scratch(*now, scratch);
    stages[index].count = now->pieces[index];
  }
  run_stages({&stages[index], 1});
}

void Context::State::make_outputs(size_t index) {
  const StepDef& def = model().steps[index];
  for (int32_t t : def.inputs) now->late.settle(t, now->shapes, memory);
  now->steps[index] = prepare_maker(StepSetup(model(), def, now->shapes, options.isa, threads()));
  std::vector<Tensor> made;
  name_errors(index, [&] { made = now->steps[index]->make(memory.data()); });
  for (size_t i = 0; i < def.outputs.size(); ++i) {
    const int32_t t = def.outputs[i];
    if (made[i].dtype() != model().tensors[t].dtype)
      fail(ErrorCode::kInternal, "step '{}' made {} of the wrong type", def.name, model().tensors[t].name);
    if (now->late.late(t))
      now->late.learn(t, made[i].shape());
    else if (made[i].shape() != now->shapes[t])
      fail(ErrorCode::kInvalidArgument, "step '{}': '{}' came out as {}, expected {}", def.name,
           model().tensors[t].name, to_string(made[i].shape()), to_string(now->shapes[t]));
  }
  for (size_t i = 0; i < def.outputs.size(); ++i) {
    const int32_t t = def.outputs[i];
    now->late.settle(t, now->shapes, memory);
    if (made[i].bytes() > 0) std::memcpy(memory[t], made[i].raw(), static_cast<size_t>(made[i].bytes()));
  }
}

template <typename After>
void Context::State::run_steps(const After& after) {
  if (now->late.any()) now->late.begin(now->symbols);
  for (size_t i = 0; i < now->steps.size(); ++i) {
    if (now->late.touches(model().steps[i]))
      run_late_step(i);
    else
      run_stages({&stages[i], 1});
    after(i);
  }
  for (size_t i = 0; now->late.any() && i < outputs.size(); ++i) {
    const int32_t t = model().outputs[i];
    if (!now->late.late(t)) continue;
    now->late.settle(t, now->shapes, memory);
    outputs[i] = Tensor::view(model().tensors[t].dtype, now->shapes[t], static_cast<void*>(memory[t]));
  }
}

void Context::State::run_all() {
  if (now->late.any())
    run_steps([](size_t) {});
  else
    run_stages(stages);
}

void Context::State::observe(int32_t tensor, const Observer& observer) const {
  const TensorDef& def = model().tensors[tensor];
  const Shape& shape = now->shapes[tensor];
  const int64_t stride = pixel_stride(model(), tensor, now->shapes);
  if (def.plane_stride == 0) return observer({tensor, &def, &shape, memory[tensor], stride});
  // Without the gaps, which no observer has to know then.
  Tensor dense(def.dtype, shape);
  const int64_t plane = dtype_bytes(def.dtype, shape[2] * shape[3]);
  for (int64_t c = 0; c < shape[1]; ++c)
    std::memcpy(static_cast<std::byte*>(dense.raw()) + c * plane,
                memory[tensor] + c * dtype_bytes(def.dtype, def.plane_stride), static_cast<size_t>(plane));
  observer({tensor, &def, &shape, dense.raw(), stride});
}

namespace {

// Memory that ran out as an Error.
template <typename F>
void guarded(const F& body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kOutOfMemory, "not enough memory for a context of the engine");
  } catch (const std::length_error&) {
    fail(ErrorCode::kOutOfMemory, "not enough memory for a context of the engine");
  }
}

}  // namespace

Context::Context(Engine engine, const ContextOptions& options)
    : state_(std::make_unique<State>(std::move(engine), options)) {
  guarded([&] {
    state_->expand_constants();
    state_->set_shapes(options.shapes);
  });
}

void Context::set_shapes(const std::map<std::string, int64_t>& values) {
  guarded([&] { state_->set_shapes(values); });
}

Context::~Context() = default;
Context::Context(Context&&) noexcept = default;

void Context::run(std::span<const Tensor> inputs) {
  state_->bind_inputs(inputs);
  state_->run_all();
}

void Context::run(std::span<const Tensor> inputs, const Observer& observer) {
  state_->bind_inputs(inputs);
  for (int32_t t : state_->model().inputs) state_->observe(t, observer);
  state_->run_steps([&](size_t i) {
    for (int32_t t : state_->model().steps[i].outputs) state_->observe(t, observer);
  });
}

void Context::profile(std::span<const Tensor> inputs, std::span<double> seconds) {
  if (seconds.size() != state_->now->steps.size())
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
  return state_->now->shapes[state_->model().inputs.at(index)];
}

int64_t Context::memory_bytes() const {
  return state_->arena.bytes() + state_->scratch.bytes() + state_->now->late.bytes();
}

std::vector<std::string> Context::step_kernels() const {
  std::vector<std::string> names;
  const auto& steps = state_->now->steps;
  for (size_t i = 0; i < steps.size(); ++i)
    names.push_back(steps[i] ? steps[i]->kernel() : state_->model().steps[i].kind);
  return names;
}

std::vector<int64_t> Context::step_multiply_adds() const {
  std::vector<int64_t> work;
  for (const StepDef& step : state_->model().steps) work.push_back(multiply_adds(step, state_->now->shapes));
  return work;
}

}  // namespace octet::engine
