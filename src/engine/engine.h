// Loading and running engines.
//
// An Engine is immutable and shared by any number of Contexts, on any threads. A Context has the memory of
// one inference at a time for one set of input shapes; use it from one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "engine/model.h"

namespace octet::engine {

class Engine {
 public:
  // From memory, as `build` made it. Validates it as if it came from a file.
  explicit Engine(Model model);
  // Maps the file; constants are not copied. Throws Error when it is not an engine, is damaged, or of a
  // release that this one cannot run.
  static Engine load(const std::filesystem::path& path);
  // The same from memory, which is copied; `name` stands in messages.
  static Engine load(std::span<const std::byte> bytes, const std::string& name);

  const Model& model() const { return *model_; }
  // The same engine with float convolutions and products in one fixed order.
  Engine deterministic() const;

 private:
  // `bytes` lie at an address that is a multiple of 64; `owner` keeps them.
  static Engine read(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                     const std::string& name);

  std::shared_ptr<const Model> model_;
};

// Values of the symbols that give the inputs (all of them, in order) these shapes. Throws Error that names
// the input and says what was expected.
std::map<std::string, int64_t> symbols_for(const Model& model, std::span<const Shape> shapes);

// "1x3x160x160 to 4x3x640x640", one range for each profile, of one input.
std::vector<std::string> profile_texts(const Model& model, size_t input);

// Writes atomically. The same model gives the same bytes.
void save(const Model& model, const std::filesystem::path& path);
// What save() writes.
std::vector<std::byte> serialize(const Model& model);

// Whether the first bytes are those of an engine file.
bool is_engine_file(const std::filesystem::path& path);

struct ContextOptions {
  ThreadPool* pool =
      nullptr;  // null: single-threaded. Not owned, not shared by contexts that run at the same time
  Isa isa = Isa::kReference;              // set by default_options()
  std::map<std::string, int64_t> shapes;  // values of symbols; a missing one takes its optimum
};

// current_isa() and no pool.
ContextOptions default_options();

// What a step produced, for calibration and comparison. Valid during the call.
struct Observation {
  int32_t tensor;  // index in Model::tensors
  const TensorDef* def;
  const std::vector<int64_t>* shape;  // concrete logical shape
  const void* data;                   // in def->layout
  int64_t pixel_stride;               // elements between pixels for kNhwc
};
using Observer = std::function<void(const Observation&)>;

class Context {
 public:
  Context(Engine engine, const ContextOptions& options);
  ~Context();
  Context(Context&&) noexcept;

  // Other values of the symbols, as ContextOptions::shapes. The last few are kept prepared, so that going
  // back to them costs little; the arena is shared, and large enough from the beginning for every shape that
  // the engine was built for. Outputs of earlier runs are gone. After an Error the shapes are what they were.
  void set_shapes(const std::map<std::string, int64_t>& values);

  // Inputs in the order of Model::inputs: plain, of the input's dtype and this context's shapes; read in
  // place. Throws Error when they do not fit (and for data-dependent errors, such as an index out of range).
  void run(std::span<const Tensor> inputs);
  // The same; `observer` sees the graph's inputs, then every output of every step right after it ran.
  void run(std::span<const Tensor> inputs, const Observer& observer);
  // Runs with the time of each step added to `seconds` (one entry per step).
  void profile(std::span<const Tensor> inputs, std::span<double> seconds);

  // Plain tensors in the order of Model::outputs; overwritten by the next run.
  const Tensor& output(size_t index) const;
  const std::vector<int64_t>& input_shape(size_t index) const;
  int64_t memory_bytes() const;                     // arena and scratch
  std::vector<std::string> step_kernels() const;    // what each step runs as, e.g. "conv avx512vnni"
  std::vector<int64_t> step_multiply_adds() const;  // see work.h; of the shapes of the last run

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octet::engine
