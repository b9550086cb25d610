#include "correct/sequential.h"

#include <algorithm>
#include <map>
#include <memory>

#include "correct/layer_corrector.h"
#include "correct/shape_groups.h"

namespace octet {
namespace {

constexpr int64_t kStoreShare = 4;  // a fourth of the limit on memory is for what waits between layers

// Both networks for one shape of the samples.
struct Site {
  Graph reference, quantized;
  std::vector<int64_t> samples;
  std::unique_ptr<SideBySide> networks;

  Site(const Graph& float_graph, const Graph& quantized_graph, const ShapeGroup& group)
      : reference(with_shapes(float_graph, group.shapes)),
        quantized(with_shapes(quantized_graph, group.shapes)),
        samples(group.samples) {}

  const PairedLayer& layer(size_t i) const { return networks->segments().layers[i]; }
  const std::string& name(size_t i) const { return reference.node(layer(i).group.root).name; }
};

// Whether the layers are those of `first`, in the same order.
bool same_layers(const Site& site, const Site& first) {
  const size_t count = first.networks->segments().layers.size();
  if (site.networks->segments().layers.size() != count) return false;
  for (size_t i = 0; i < count; ++i)
    if (site.name(i) != first.name(i)) return false;
  return true;
}

// In order of the samples, whatever their shapes.
std::vector<SiteSample> samples_of(const std::vector<std::unique_ptr<Site>>& sites) {
  std::map<int64_t, SiteSample> ordered;
  for (size_t g = 0; g < sites.size(); ++g)
    for (size_t i = 0; i < sites[g]->samples.size(); ++i)
      ordered[sites[g]->samples[i]] = {g, static_cast<int64_t>(i)};
  std::vector<SiteSample> samples;
  samples.reserve(ordered.size());
  for (const auto& [index, sample] : ordered) samples.push_back(sample);
  return samples;
}

}  // namespace

SequentialReport correct_sequentially(Graph& quantized, const Graph& reference,
                                      const engine::Engine& reference_engine, const Dataset& data,
                                      const SequentialOptions& options, const RunnerOptions& runner) {
  SequentialReport report;
  ThreadPool pool(runner.threads);
  const ShapeGroups chosen =
      group_by_shape(reference_engine, data, options.max_samples, options.max_shapes, pool);
  report.left_out = chosen.left_out;
  if (chosen.groups.empty()) return report;

  // Beside the store stand both networks, and what the solvers need.
  const int64_t memory = std::min(options.memory_bytes, memory_limit() / kStoreShare);
  int64_t all = 0;
  for (const ShapeGroup& group : chosen.groups) all += static_cast<int64_t>(group.samples.size());
  std::vector<std::unique_ptr<Site>> sites;
  for (const ShapeGroup& group : chosen.groups) {
    auto site = std::make_unique<Site>(reference, quantized, group);
    const auto count = static_cast<int64_t>(group.samples.size());
    site->networks = std::make_unique<SideBySide>(site->reference, site->quantized, reference_engine, data,
                                                  group.samples, memory / all * count, pool);
    if (!sites.empty() && !same_layers(*site, *sites[0])) {
      report.left_out += count;
      continue;
    }
    sites.push_back(std::move(site));
  }
  const std::vector<SiteSample> samples = samples_of(sites);
  report.samples = static_cast<int64_t>(samples.size());
  report.shapes = static_cast<int64_t>(sites.size());
  const size_t layers = sites[0]->networks->segments().layers.size();
  Progress& progress = runner.progress ? *runner.progress : no_progress();
  progress.start(runner.label, static_cast<int64_t>(layers), "layers");
  if (options.layer_done) options.layer_done();
  for (auto& site : sites) site->networks->run(0);
  for (size_t i = 0; i < layers; ++i) {
    std::vector<LayerSite> places;
    places.reserve(sites.size());
    for (auto& site : sites)
      places.push_back({site->networks.get(), &site->reference, &site->quantized, &site->layer(i)});
    if (auto done = correct_layer(places, samples, options, pool)) {
      if (done->changed) {
        for (auto& site : sites) write_layer(site->quantized, site->layer(i).quantized, *done->changed);
        write_layer(quantized, *quantized.find_node(done->report.node), *done->changed);
      }
      report.layers.push_back(std::move(done->report));
    }
    for (auto& site : sites) site->networks->run(static_cast<int32_t>(i) + 1);
    progress.advance();
    if (options.layer_done) options.layer_done();
  }
  progress.finish();
  for (const auto& site : sites) report.spilled_bytes += site->networks->spilled_bytes();
  return report;
}

}  // namespace octet
