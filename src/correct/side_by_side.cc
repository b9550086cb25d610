#include "correct/side_by_side.h"

#include <algorithm>

#include "build/build.h"
#include "passes/canonicalize.h"

namespace octet {

Graph with_shapes(const Graph& graph, const std::vector<Shape>& inputs) {
  Graph out = graph;
  for (size_t i = 0; i < inputs.size(); ++i)
    out.value(out.inputs()[i]).shape = Dims(inputs[i].begin(), inputs[i].end());
  for (ValueId v = 0; v < out.value_slots(); ++v)
    if (out.value(v).producer != kNoId) out.value(v).integers.reset();
  canonicalize(out);
  return out;
}

// A segment of one side as an engine with a context per worker.
struct SideBySide::Running {
  std::unique_ptr<engine::Engine> engine;
  std::vector<std::unique_ptr<engine::Context>> contexts;
};

SideBySide::SideBySide(const Graph& reference, Graph& quantized, const engine::Engine& engine,
                       const Dataset& data, std::vector<int64_t> samples, int64_t memory_bytes,
                       ThreadPool& pool)
    : SideBySide(reference, quantized, engine, data, std::move(samples), memory_bytes, pool,
                 cut(reference, quantized)) {}

SideBySide::SideBySide(const Graph& reference, Graph& quantized, const engine::Engine& engine,
                       const Dataset& data, std::vector<int64_t> samples, int64_t memory_bytes,
                       ThreadPool& pool, PairedSegments segments)
    : reference_(reference),
      quantized_(quantized),
      engine_(engine),
      data_(data),
      samples_(std::move(samples)),
      pool_(pool),
      segments_(std::move(segments)),
      store_(memory_bytes) {}

void SideBySide::load_inputs(int64_t sample) {
  const Sample loaded = data_.load(samples_[sample]);
  const std::vector<Tensor> inputs = order_inputs(engine_.model(), loaded.inputs);
  for (Side side : {Side::kFloat, Side::kQuantized}) {
    const CutGraph& cut_graph = segments_.sides[static_cast<int>(side)];
    for (size_t i = 0; i < inputs.size(); ++i) {
      const ValueId v = graph(side).inputs()[i];
      if (cut_graph.last_use(v) >= 0) store_.put(key(side, v), sample, {inputs[i], false, 1});
    }
  }
}

void SideBySide::run_side(Side side, int32_t segment, int64_t sample, Running& running, int worker) {
  const CutGraph& cut_graph = segments_.sides[static_cast<int>(side)];
  const CutGraph::Borders& borders = cut_graph.borders(segment);
  if (running.engine) {
    std::vector<Tensor> inputs;
    for (ValueId v : borders.inputs) {
      const StoredValue stored = value(side, v, sample);
      inputs.push_back(stored.steps ? stored.floats() : stored.data);
    }
    auto& context = running.contexts[worker];
    if (!context) context = std::make_unique<engine::Context>(*running.engine, engine::default_options());
    context->run(inputs);
    for (size_t i = 0; i < borders.outputs.size(); ++i) {
      const Tensor& made = context->output(i);
      const bool steps = side == Side::kFloat && made.dtype() == DType::kFloat32;
      store_.put(key(side, borders.outputs[i]), sample,
                 steps ? store_in_steps(made) : StoredValue{made.clone(), false, 1});
    }
  }
  for (ValueId v : borders.inputs) {
    if (cut_graph.last_use(v) == segment)
      store_.drop(key(side, v), sample);
    else if (segment == 0 && side == Side::kFloat && graph(side).is_input(v) &&
             graph(side).value(v).dtype == DType::kFloat32)
      store_.put(key(side, v), sample, store_in_steps(value(side, v, sample).data));
  }
}

void SideBySide::run(Side side, int32_t segment) {
  const CutGraph& cut_graph = segments_.sides[static_cast<int>(side)];
  Running running;
  if (!cut_graph.borders(segment).outputs.empty()) {
    running.engine = std::make_unique<engine::Engine>(build_engine(cut_graph.extract(graph(side), segment)));
    running.contexts.resize(pool_.threads());
  }
  pool_.parallel_for(samples(), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t s = begin; s < end; ++s) {
      if (segment == 0 && side == Side::kFloat) load_inputs(s);
      run_side(side, segment, s, running, worker);
    }
  });
}

}  // namespace octet
