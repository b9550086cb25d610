#include "correct/blocks.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "correct/learned_grids.h"
#include "correct/shape_groups.h"
#include "correct/side_by_side.h"

namespace octet {
namespace {

constexpr int64_t kStoreShare = 4;  // a fourth of the limit on memory is for what waits between blocks
constexpr int64_t kHeldBack = 5;    // every fifth sample
constexpr int32_t kFewestLayers = 3, kMostLayers = 8;

// Layers [first, last] of the network, and what is differentiable of them.
struct Block {
  int32_t first = 0, last = 0;
  std::unique_ptr<GraphPart> part;  // null: nothing is learned
  std::vector<LayerWeights> weights;
  std::vector<ActivationGrid> grids;
  std::vector<ValueId> targets;  // of the float graph, by output of the part; kNoId: none of that shape
};

bool learns(const Block& block) {
  return block.part != nullptr &&
         std::any_of(block.targets.begin(), block.targets.end(), [](ValueId v) { return v != kNoId; });
}

// The bias that the quantized layer has.
std::vector<float> bias_of(const Graph& g, NodeId twin, const LayerWeights& layer) {
  ValueId v = kNoId;
  if (!layer.bias_node.empty()) {
    const Node& add = g.node(*g.find_node(layer.bias_node));
    v = add.inputs[g.is_constant(add.inputs[0]) ? 0 : 1];
  } else if (g.node(twin).inputs.size() > 2) {
    v = g.node(twin).inputs[2];
  }
  std::vector<float> bias(layer.channels, 0);
  if (v == kNoId) return bias;
  if (g.is_constant(v)) {
    const std::vector<float> found = to_float(*g.value(v).constant);
    if (found.size() == bias.size()) bias = found;
    return bias;
  }
  const Node* dq = g.producer(v);
  if (dq == nullptr || !dq->is("DequantizeLinear") || !g.is_constant(dq->inputs[0])) return bias;
  const std::vector<int64_t> steps = to_int64(*g.value(dq->inputs[0]).constant);
  const std::vector<float> scale = to_float(*g.value(dq->inputs[1]).constant);
  for (size_t o = 0; o < bias.size(); ++o)
    bias[o] = static_cast<float>(static_cast<double>(steps[o]) * scale[scale.size() == 1 ? 0 : o]);
  return bias;
}

std::set<std::string> names_of(const Graph& g, const ActivationGrid& grid) {
  std::set<std::string> names;
  for (const auto* nodes : {&grid.quantize, &grid.dequantize})
    for (const NodeId id : *nodes) names.insert(g.node(id).name);
  return names;
}

// Those of `g`, a form of `whole` with known shapes, that have the same nodes there: rounding in front of a
// concatenation adds nodes that `whole` does not have.
std::vector<ActivationGrid> grids_of_both(const Graph& g, const Graph& whole) {
  std::set<std::set<std::string>> known;
  for (const ActivationGrid& grid : activation_grids(whole)) known.insert(names_of(whole, grid));
  std::vector<ActivationGrid> grids = activation_grids(g);
  std::erase_if(grids, [&](const ActivationGrid& grid) { return known.count(names_of(g, grid)) == 0; });
  return grids;
}

class Cutter {
 public:
  Cutter(const Graph& reference, const Graph& quantized, std::vector<ActivationGrid> grids)
      : reference_(reference),
        quantized_(quantized),
        fine_(cut(reference, quantized)),
        grids_(std::move(grids)) {}

  const PairedSegments& fine() const { return fine_; }

  std::vector<Block> blocks() const {
    const auto layers = static_cast<int32_t>(fine_.layers.size());
    std::vector<Block> blocks;
    for (int32_t first = 0; first < layers;) {
      int32_t last = first;
      while (last + 1 < layers && !ends(first, last)) ++last;
      Block block = make(first, last);
      while (block.last > first && block.part == nullptr) {
        last = (block.last + first) / 2;
        block = make(first, last);
      }
      blocks.push_back(std::move(block));
      first = blocks.back().last + 1;
    }
    return blocks;
  }

  // Segment 0 is what comes before the first layer; segment b + 1 is block b.
  PairedSegments join_blocks(const std::vector<Block>& blocks) const {
    std::vector<int32_t> joined{0};
    std::vector<std::vector<std::vector<ValueId>>> demands(
        2, std::vector<std::vector<ValueId>>(blocks.size() + 2));
    for (size_t b = 0; b < blocks.size(); ++b) {
      joined.resize(static_cast<size_t>(blocks[b].last) + 2, static_cast<int32_t>(b) + 1);
      if (!learns(blocks[b])) continue;
      for (const auto& input : blocks[b].part->inputs()) demands[1][b + 1].push_back(input.value);
      for (const ValueId v : blocks[b].targets)
        if (v != kNoId) demands[0][b + 2].push_back(v);
    }
    return join(reference_, quantized_, fine_, joined, demands);
  }

  // As the quantized graph is now. Up to the first layer that gradients do not reach; without a part where
  // that is `first` itself.
  Block make(int32_t first, int32_t last) const {
    Block block;
    block.first = first;
    std::vector<PartLayer> layers;
    for (int32_t i = first; i <= last; ++i) {
      const PairedLayer& layer = fine_.layers[i];
      auto weights = read_layer(reference_, layer.group, quantized_, layer.quantized);
      if (!weights || std::any_of(weights->grid.step.begin(), weights->grid.step.end(),
                                  [](float step) { return !(step > 0); })) {
        last = i - 1;
        break;
      }
      weights->bias = bias_of(quantized_, layer.quantized, *weights);
      const auto add = weights->bias_node.empty() ? std::nullopt : quantized_.find_node(weights->bias_node);
      layers.push_back({layer.quantized, add.value_or(kNoId)});
      block.weights.push_back(std::move(*weights));
    }
    block.last = std::max(first, last);
    while (!layers.empty()) {
      const std::vector<NodeId> members = nodes(first, block.last);
      block.grids = grids_within(members);
      std::map<NodeId, size_t> grid_of;
      for (size_t i = 0; i < block.grids.size(); ++i)
        for (const NodeId id : block.grids[i].quantize) grid_of[id] = i;
      auto part = std::make_unique<GraphPart>(quantized_, members, layers, grid_of);
      size_t reached = 0;
      while (reached < layers.size() && part->has_layer(reached)) ++reached;
      if (reached == layers.size()) {
        block.part = std::move(part);
        break;
      }
      layers.resize(reached);
      block.weights.resize(reached);
      block.last = std::max(first, first + static_cast<int32_t>(reached) - 1);
    }
    if (block.part == nullptr) return block;
    for (const auto& output : block.part->outputs()) {
      const auto twin = reference_.find_value(quantized_.value(output.real).name);
      const bool same = twin && reference_.value(*twin).producer != kNoId &&
                        reference_.value(*twin).shape == quantized_.value(output.real).shape;
      block.targets.push_back(same ? *twin : kNoId);
    }
    return block;
  }

 private:
  // Layer i begins segment i + 1.
  bool ends(int32_t first, int32_t last) const {
    if (last - first + 1 >= kMostLayers) return true;
    if (last - first + 1 < kFewestLayers) return false;
    const CutGraph& side = fine_.sides[1];
    int wide = 0;
    for (int32_t s = 0; s <= last + 1; ++s)
      for (const ValueId v : side.borders(s).outputs) wide += side.last_use(v) > last + 1;
    return wide <= 1;
  }

  // Grids of what is made within the block alone.
  std::vector<ActivationGrid> grids_within(const std::vector<NodeId>& members) const {
    const std::set<NodeId> inside(members.begin(), members.end());
    std::vector<ActivationGrid> found;
    for (const ActivationGrid& grid : grids_)
      if (std::all_of(grid.quantize.begin(), grid.quantize.end(),
                      [&](NodeId id) { return inside.count(id) > 0; }))
        found.push_back(grid);
    return found;
  }

  std::vector<NodeId> nodes(int32_t first, int32_t last) const {
    std::vector<NodeId> found;
    for (const NodeId id : quantized_.sorted()) {
      const int32_t s = fine_.of_node[1][id];
      if (s >= first + 1 && s <= last + 1) found.push_back(id);
    }
    return found;
  }

  const Graph &reference_, &quantized_;
  const PairedSegments fine_;
  std::vector<ActivationGrid> grids_;
};

// Real values of what a part reads.
void load_inputs(const GraphPart& part, const SideBySide& networks, int64_t sample, PartSlots& s) {
  for (const GraphPart::Border& input : part.inputs()) {
    const StoredValue stored = networks.value(Side::kQuantized, input.value, sample);
    std::vector<float>& x = s.values[input.slot];
    if (input.params.scale.empty()) {
      x = to_float(stored.steps ? stored.floats() : stored.data);
      continue;
    }
    const bool is_signed = stored.data.dtype() == DType::kInt8;
    const auto* bytes = static_cast<const uint8_t*>(stored.data.raw());
    const auto size = static_cast<int64_t>(x.size());
    for (int64_t at = 0, row = 0; at < size; at += input.inner, ++row) {
      const auto c = static_cast<size_t>(input.params.scale.size() == 1 ? 0 : row % input.channels);
      const float scale = input.params.scale[c];
      const auto zero = static_cast<float>(input.params.zero_point[c]);
      for (int64_t i = at; i < at + input.inner; ++i) {
        const int value = is_signed ? static_cast<int8_t>(bytes[i]) : bytes[i];
        x[i] = (static_cast<float>(value) - zero) * scale;
      }
    }
  }
}

// The same nodes in another graph, by their names.
ActivationGrid in_graph(const Graph& g, const ActivationGrid& grid, const Graph& named) {
  ActivationGrid other = grid;
  for (auto* nodes : {&other.quantize, &other.dequantize})
    for (NodeId& id : *nodes) id = *g.find_node(named.node(id).name);
  return other;
}

void write_block(Graph& g, const Block& block, const std::vector<GridChange>& changes,
                 const PairedSegments& segments, const Graph& named) {
  for (size_t i = 0; i < block.weights.size(); ++i) {
    const NodeId twin = segments.layers[static_cast<size_t>(block.first) + i].quantized;
    write_layer(g, *g.find_node(named.node(twin).name), block.weights[i]);
  }
  for (size_t i = 0; i < changes.size(); ++i)
    move_grid(g, in_graph(g, block.grids[i], named), changes[i].factor, changes[i].shift);
}

}  // namespace

BlockReport reconstruct_blocks(Graph& quantized, const Graph& reference,
                               const engine::Engine& reference_engine, const Dataset& data,
                               const BlockOptions& options, const SequentialOptions& limits,
                               const RunnerOptions& runner) {
  BlockReport report;
  ThreadPool pool(runner.threads);
  const ShapeGroups groups =
      group_by_shape(reference_engine, data, limits.max_samples, limits.max_shapes, pool);
  if (groups.groups.empty()) return report;
  const ShapeGroup& group = groups.groups[0];
  report.samples = static_cast<int64_t>(group.samples.size());
  report.left_out = groups.left_out;
  for (size_t i = 1; i < groups.groups.size(); ++i)
    report.left_out += static_cast<int64_t>(groups.groups[i].samples.size());
  if (report.samples < kFewestToLearn) return report;

  const Graph floats = with_shapes(reference, group.shapes);
  Graph integers = with_shapes(quantized, group.shapes);
  const Cutter cutter(floats, integers,
                      options.grids ? grids_of_both(integers, quantized) : std::vector<ActivationGrid>());
  std::vector<Block> blocks = cutter.blocks();
  SideBySide networks(floats, integers, reference_engine, data, group.samples,
                      std::min(limits.memory_bytes, memory_limit() / kStoreShare), pool,
                      cutter.join_blocks(blocks));
  BlockData samples;
  for (int64_t s = 0; s < report.samples; ++s)
    (s % kHeldBack == kHeldBack - 1 ? samples.held_back : samples.training).push_back(s);
  Progress& progress = runner.progress ? *runner.progress : no_progress();
  progress.start(runner.label, static_cast<int64_t>(blocks.size()), "blocks");
  networks.run(0);
  for (size_t b = 0; b < blocks.size(); ++b) {
    // Grids and weights that the blocks before have changed.
    Block block = learns(blocks[b]) ? cutter.make(blocks[b].first, blocks[b].last) : Block();
    blocks[b] = {};
    const auto segment = static_cast<int32_t>(b) + 1;
    networks.run(Side::kFloat, segment);
    if (learns(block)) {
      samples.load = [&](int64_t s, PartSlots& slots) { load_inputs(*block.part, networks, s, slots); };
      samples.target = [&](int64_t s, size_t output) {
        if (block.targets[output] == kNoId) return std::vector<float>();
        const StoredValue stored = networks.value(Side::kFloat, block.targets[output], s);
        return to_float(stored.steps ? stored.floats() : stored.data);
      };
      ReconstructedBlock done;
      for (size_t i = 0; i < block.weights.size(); ++i)
        done.layers.push_back(
            integers.node(networks.segments().layers[static_cast<size_t>(block.first) + i].quantized).name);
      std::vector<GridChange> changes;
      for (const ActivationGrid& grid : block.grids)
        changes.push_back({options.zero_points && grid.signed_values});
      done.gain = learn_block(*block.part, block.weights, changes, samples, options, pool);
      done.kept = done.gain.after_db > done.gain.before_db;
      if (done.kept) {
        write_block(quantized, block, changes, networks.segments(), integers);
        write_block(integers, block, changes, networks.segments(), integers);
      }
      report.blocks.push_back(std::move(done));
    }
    block = {};
    networks.run(Side::kQuantized, segment);
    progress.advance();
    if (limits.layer_done) limits.layer_done();
  }
  progress.finish();
  return report;
}

}  // namespace octet
