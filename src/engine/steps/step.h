// The form of a step once a context exists: checked, bound to a kernel, ready to run without allocation.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "engine/model.h"
#include "kernels/pixels.h"

namespace octet::engine {

// A tensor of a step with its concrete shape.
struct Operand {
  int32_t index = -1;
  const TensorDef* def = nullptr;  // null: absent
  Shape shape;
  int64_t pixel_stride = 0;  // elements between pixels (NHWC)

  explicit operator bool() const { return def != nullptr; }
  bool nhwc() const { return def->layout == Layout::kNhwc; }
  bool constant() const { return def->storage == Storage::kConstant; }
  int64_t count() const;
};

// Address of every tensor of the engine, by index.
using Memory = std::byte* const*;

class Step {
 public:
  virtual ~Step() = default;
  // Independent parts; the executor runs disjoint ranges on several threads.
  virtual int64_t pieces() const { return 1; }
  // Working memory of one thread.
  virtual int64_t scratch_bytes() const { return 0; }
  // May throw Error for what only the data shows.
  virtual void run(Memory memory, int64_t begin, int64_t end, int thread, std::byte* scratch) = 0;
  virtual std::string kernel() const = 0;
  // Pixels of the one output that a piece writes, and of the input `tensor` that it may read, with what it
  // reads behind them in passing. None: not known, perhaps all.
  virtual std::optional<kernels::PixelRange> writes(int64_t /*piece*/) const { return std::nullopt; }
  virtual std::optional<kernels::PixelRange> reads(int32_t /*tensor*/, int64_t /*piece*/) const {
    return std::nullopt;
  }
  // Instead of run(), of a step from prepare_maker(): its outputs, in shapes that the data decide.
  virtual std::vector<Tensor> make(Memory /*memory*/) { return {}; }
};

// What a step is made from. The accessors throw Error(kBadFile) that names the step when it is not what they
// promise.
class StepSetup {
 public:
  StepSetup(const Model& model, const StepDef& def, std::span<const Shape> shapes, Isa isa, int threads);

  const StepDef& def() const { return def_; }
  const Attributes& attributes() const { return def_.attributes; }
  Isa isa() const { return isa_; }
  int threads() const { return threads_; }
  bool deterministic() const { return deterministic_; }

  void expect_arity(size_t min_inputs, size_t max_inputs, size_t outputs) const;
  const Operand& input(size_t i) const;  // must be present
  const Operand& output(size_t i = 0) const;
  bool has_input(size_t i) const { return i < inputs_.size() && inputs_[i]; }
  std::span<const Operand> inputs() const { return inputs_; }
  std::span<const Operand> outputs() const { return outputs_; }

  void expect(bool condition, std::string_view what) const;
  void expect_dtype(const Operand& operand, DType dtype) const;
  void expect_nhwc(const Operand& operand, DType dtype) const;  // rank 4, channels last
  void expect_same_shape(const Operand& a, const Operand& b) const;
  // Elements of a constant of exactly `count` entries; of one that is stored in 16 bits while this object
  // lives.
  std::span<const float> floats(size_t i, int64_t count) const;
  std::span<const int32_t> ints(size_t i, int64_t count) const;
  std::span<const std::byte> bytes(size_t i, int64_t count) const;
  // A constant with one entry or one per channel, repeated and padded to a multiple of 64 entries with
  // `padding`.
  std::vector<float> channel_floats(size_t i, int64_t channels, float padding = 0) const;
  // `count` integers of an attribute, each in [low, high].
  std::vector<int64_t> int_list(std::string_view name, size_t count, int64_t low, int64_t high) const;
  int64_t int_value(std::string_view name, int64_t fallback, int64_t low, int64_t high) const;
  float float_value(std::string_view name, float fallback) const;
  // Zero-point of each channel of an 8-bit operand (the value stored), as many as `channels`.
  std::vector<uint8_t> zero_points(const Operand& operand, int64_t channels) const;
  [[noreturn]] void fail_here(std::string_view what) const;

 private:
  const StepDef& def_;
  std::vector<Operand> inputs_, outputs_;
  Isa isa_;
  int threads_;
  bool deterministic_;
  mutable std::deque<std::vector<float>> converted_;
};

using PrepareStep = std::unique_ptr<Step> (*)(const StepSetup& setup);

// Null when the kind is unknown.
PrepareStep find_step_kind(std::string_view kind);

// Whether a step can decide the shapes of its outputs, and the step in that form. The outputs of `setup` have
// no shapes.
bool makes_outputs(const StepDef& def);
std::unique_ptr<Step> prepare_maker(const StepSetup& setup);
// Whether steps of the kind read a constant at input `index` when they run, not only when they are prepared.
bool reads_constant(std::string_view kind, size_t index);

// Elements between pixels of an NHWC tensor that is not a view: 8-bit tensors are padded to whole groups of
// four channels.
int64_t natural_pixel_stride(DType dtype, int64_t channels);
// Of one tensor of the model, views included; 0 for plain ones.
int64_t pixel_stride(const Model& model, int32_t tensor, std::span<const Shape> shapes);

}  // namespace octet::engine
