// Running engines: everything that a deployment needs. Link `octet_runtime`.
//
//   octet::runtime::Engine engine = octet::runtime::Engine::load("model.octet");
//   octet::runtime::Context context(engine, {.threads = 2});
//   context.set_input(0, image);  // a std::vector<float>, for instance
//   context.run();
//   std::span<const float> scores = context.output<float>(0);
//
// Threads: an Engine never changes; any number of contexts on any threads may share it. A Context is used
// from one thread at a time, also for its shapes. Contexts do not disturb each other: a program that serves
// many shapes at once has one per thread, each with shapes of its own.
//
// Errors: everything that fails throws octet::Error. An object whose member function threw stays usable.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "octet/dtype.h"
#include "octet/error.h"

namespace octet::runtime {

// A size that is chosen when a context is created, such as the number of images at once.
struct Dimension {
  std::string name;
  int64_t minimum = 1, optimum = 1, maximum = 1;
};

// An input or an output of an engine. Elements are dense and row-major in ONNX's logical order (N, C, H, W).
struct TensorInfo {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;  // -1 where it depends on a Dimension or on the data
  std::string shape_text;      // "1x3x224x224", "Nx3x224x224"
  // Of 8-bit tensors, one entry or one per channel: real = (integer - zero_point) * scale. Else empty.
  std::vector<float> scale;
  std::vector<int32_t> zero_point;
};

// What an engine computes one after the other.
struct StepInfo {
  std::string name;       // of the ONNX node that it came from
  std::string kind;       // "conv", "gemm", "layout" ...
  std::string precision;  // "int8", "float32" ...
  std::string reason;     // why it is not int8, where it is not
};

// Shapes that an engine was built for, one for each input.
struct Profile {
  std::vector<std::vector<int64_t>> minimum, optimum, maximum;
};

// An engine file in memory. Copies share it.
class Engine {
 public:
  // Maps the file, which must not be changed while any copy or context of the engine exists. Any file is safe
  // to load: what is damaged or no engine throws Error (kBadFile); kNotFound, kIo.
  static Engine load(const std::filesystem::path& path);
  // The content of such a file, which is copied; `name` stands in messages.
  static Engine load(std::span<const std::byte> bytes, const std::string& name = "engine");

  // Writes the file anew, atomically; and the same as bytes.
  void save(const std::filesystem::path& path) const;
  std::vector<std::byte> serialize() const;

  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  const std::vector<Dimension>& dimensions() const;
  // The profiles that it was built for, if any: smallest, likely and largest shapes of each input, in order.
  const std::vector<Profile>& profiles() const;
  // What `octet` has stored, for instance "octet.preprocess".
  const std::map<std::string, std::string>& metadata() const;
  const std::string& producer() const;  // "octet 0.1.0"
  std::vector<StepInfo> steps() const;

  struct State;  // Octet's own
  explicit Engine(std::shared_ptr<const State> state);
  const State& state() const { return *state_; }

 private:
  friend class Context;
  std::shared_ptr<const State> state_;
};

struct ContextOptions {
  // Threads that compute, the one that calls run() among them. 0: one for each CPU that the process may use.
  int threads = 1;
  // Values of the engine's dimensions; one that is missing takes its optimum.
  std::map<std::string, int64_t> dimensions = {};
};

// The memory and the threads of one inference at a time, for one choice of dimensions at a time. Keeps its
// engine alive.
class Context {
 public:
  // Chooses kernels for this CPU, or for what the environment variable OCTET_ISA allows. Throws Error for a
  // dimension that the engine does not have or whose value is outside its range.
  explicit Context(const Engine& engine, const ContextOptions& options = {});
  ~Context();
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;

  // Changes the shapes of the next runs: one for each input, in order, or values of the engine's dimensions
  // (one that is missing takes its optimum). What depends on shapes is kept for the last four of them, so
  // that going back costs microseconds; a new one costs about as much as a context, without its memory: that
  // is sized for the largest shapes that the engine was built for. Inputs must be set again; outputs of
  // earlier runs are gone. Throws Error, and changes nothing, for shapes that the engine was not built for.
  void set_shapes(const std::vector<std::vector<int64_t>>& shapes);
  void set_dimensions(const std::map<std::string, int64_t>& dimensions);

  const std::vector<int64_t>& input_shape(size_t index) const;
  // Of the last run; before the first, -1 where only the data decide (how many boxes are found).
  const std::vector<int64_t>& output_shape(size_t index) const;
  // Sizes in bytes.
  size_t input_size(size_t index) const;
  size_t output_size(size_t index) const;
  // Working memory that this context holds.
  int64_t memory_bytes() const;

  // Gives input `index` the elements of `data`, a vector, array or span that the caller keeps alive and
  // unchanged during run(). They are read then, so the caller may refill the memory and run again. The
  // element type is the input's dtype, or std::byte for any dtype. Throws Error when the type, the number of
  // elements or the alignment is wrong.
  template <std::ranges::contiguous_range R>
  requires std::ranges::sized_range<R> && std::ranges::borrowed_range<R>
  void set_input(size_t index, R&& data) {
    using T = std::remove_cv_t<std::ranges::range_value_t<R>>;
    const std::span<const T> elements(std::ranges::data(data), std::ranges::size(data));
    if constexpr (!std::same_as<T, std::byte>) expect_input(index, DTypeOf<T>::value);
    bind_input(index, std::as_bytes(elements));
  }

  // One inference. Throws Error when an input was not set, and for what only data can show (an index out of
  // range, in networks with Gather and the like).
  void run();

  // The same, with the time of each of the engine's steps, in seconds, added to `step_seconds`.
  void run(std::span<double> step_seconds);

  // The elements of output `index`, owned by the context: valid until the next run(). (An output that is
  // merely an input passed on is the caller's own memory.) Throws Error before the first run(), and when T is
  // not the output's dtype; std::byte fits all.
  template <typename T>
  std::span<const T> output(size_t index) const {
    if constexpr (!std::same_as<T, std::byte>) expect_output(index, DTypeOf<T>::value);
    const std::span<const std::byte> bytes = output_bytes(index);
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

 private:
  void expect_input(size_t index, DType dtype) const;
  void expect_output(size_t index, DType dtype) const;
  void bind_input(size_t index, std::span<const std::byte> data);
  void check_inputs() const;
  std::span<const std::byte> output_bytes(size_t index) const;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octet::runtime
