#include "correct/sequential.h"

#include <algorithm>

#include "correct/layer_corrector.h"

namespace octet {
namespace {

// The samples that have the shapes of the first.
struct Chosen {
  std::vector<int64_t> samples;
  std::vector<Shape> shapes;
  int64_t left_out = 0;
};

Chosen choose_samples(const engine::Engine& engine, const Dataset& data, int64_t most, ThreadPool& pool) {
  const int64_t count = std::min(data.size(), most);
  std::vector<std::vector<Shape>> shapes(count);
  std::vector<char> bad(count, 0);
  pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const Sample sample = data.load(i);
      bad[i] = sample.bad;
      if (sample.bad) continue;
      for (const Tensor& t : order_inputs(engine.model(), sample.inputs)) shapes[i].push_back(t.shape());
    }
  });
  Chosen chosen;
  for (int64_t i = 0; i < count; ++i) {
    if (bad[i]) continue;
    if (chosen.samples.empty()) chosen.shapes = shapes[i];
    if (shapes[i] == chosen.shapes)
      chosen.samples.push_back(i);
    else
      ++chosen.left_out;
  }
  return chosen;
}

}  // namespace

SequentialReport correct_sequentially(Graph& quantized, const Graph& reference,
                                      const engine::Engine& reference_engine, const Dataset& data,
                                      const SequentialOptions& options, const RunnerOptions& runner) {
  SequentialReport report;
  ThreadPool pool(runner.threads);
  const Chosen chosen = choose_samples(reference_engine, data, options.max_samples, pool);
  report.samples = static_cast<int64_t>(chosen.samples.size());
  report.left_out = chosen.left_out;
  if (chosen.samples.empty()) return report;

  const Graph float_graph = with_shapes(reference, chosen.shapes);
  Graph graph = with_shapes(quantized, chosen.shapes);
  SideBySide networks(float_graph, graph, reference_engine, data, chosen.samples, options.memory_bytes, pool);
  const PairedSegments& segments = networks.segments();
  Progress& progress = runner.progress ? *runner.progress : no_progress();
  progress.start(runner.label, static_cast<int64_t>(segments.layers.size()), "layers");
  networks.run(0);
  for (size_t i = 0; i < segments.layers.size(); ++i) {
    const PairedLayer& layer = segments.layers[i];
    if (auto done = correct_layer(networks, float_graph, graph, layer, options)) {
      if (done->changed) {
        write_layer(graph, layer.quantized, *done->changed);
        write_layer(quantized, *quantized.find_node(done->report.node), *done->changed);
      }
      report.layers.push_back(std::move(done->report));
    }
    networks.run(static_cast<int32_t>(i) + 1);
    progress.advance();
  }
  progress.finish();
  report.spilled_bytes = networks.spilled_bytes();
  return report;
}

}  // namespace octet
