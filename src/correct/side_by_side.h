// Runs a float graph and its quantized form segment by segment over all samples, and keeps what later
// segments read.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "calibrate/dataset_runner.h"
#include "correct/segments.h"
#include "correct/value_store.h"

namespace octet {

// A copy of a canonical graph whose inputs have these shapes.
Graph with_shapes(const Graph& graph, const std::vector<Shape>& inputs);

enum class Side : uint8_t { kFloat, kQuantized };

class SideBySide {
 public:
  // Both graphs with known shapes. `samples` are indices into `data`, `engine` gives the order of its inputs.
  SideBySide(const Graph& reference, Graph& quantized, const engine::Engine& engine, const Dataset& data,
             std::vector<int64_t> samples, int64_t memory_bytes, ThreadPool& pool);
  // With segments of the caller's.
  SideBySide(const Graph& reference, Graph& quantized, const engine::Engine& engine, const Dataset& data,
             std::vector<int64_t> samples, int64_t memory_bytes, ThreadPool& pool, PairedSegments segments);

  const PairedSegments& segments() const { return segments_; }
  int64_t samples() const { return static_cast<int64_t>(samples_.size()); }
  ThreadPool& pool() { return pool_; }

  // Segments run in order, each once; the quantized graph may change between them.
  void run(int32_t segment) {
    run(Side::kFloat, segment);
    run(Side::kQuantized, segment);
  }
  // One side of it: the float one first.
  void run(Side side, int32_t segment);
  // A value that the current segment reads.
  StoredValue value(Side side, ValueId v, int64_t sample) const { return store_.get(key(side, v), sample); }
  int64_t spilled_bytes() const { return store_.spilled_bytes(); }

 private:
  struct Running;
  int32_t key(Side side, ValueId v) const { return side == Side::kFloat ? v : reference_.value_slots() + v; }
  const Graph& graph(Side side) const { return side == Side::kFloat ? reference_ : quantized_; }
  void load_inputs(int64_t sample);
  void run_side(Side side, int32_t segment, int64_t sample, Running& running, int worker);

  const Graph& reference_;
  Graph& quantized_;
  engine::Engine engine_;
  const Dataset& data_;
  std::vector<int64_t> samples_;
  ThreadPool& pool_;
  PairedSegments segments_;
  ValueStore store_;
};

}  // namespace octet
