#include "correct/gradients.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "build/lowering.h"
#include "kernels/generic/support.h"

namespace octet {
namespace {

int64_t count_of(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

struct GraphPart::Builder {
  GraphPart& part;
  const Graph& g;
  std::map<NodeId, size_t> layer_of, bias_of, grid_of;
  std::set<NodeId> asked;
  std::map<ValueId, size_t> slot_of;  // by value, with 8-bit and real values under the same slot
  size_t kept = 0;

  Shape shape(ValueId v) const { return evaluate(*g.value(v).shape); }

  bool constant(ValueId v) const {
    if (v == kNoId || g.is_constant(v)) return true;
    const Node* node = g.producer(v);
    return node != nullptr &&
           std::all_of(node->inputs.begin(), node->inputs.end(), [&](ValueId in) { return constant(in); });
  }
  // The 8-bit value under a DequantizeLinear, else the value itself.
  ValueId stored(ValueId v) const {
    const Node* node = g.producer(v);
    return node != nullptr && node->is("DequantizeLinear") ? node->inputs[0] : v;
  }

  std::optional<QuantParams> params_of(const Node& node) const {
    if (!constant(node.inputs[1]) || !g.is_constant(node.inputs[1])) return {};
    QuantParams params;
    params.scale = to_float(*g.value(node.inputs[1]).constant);
    params.zero_point.assign(params.scale.size(), 0);
    params.dtype = DType::kUInt8;
    if (node.inputs.size() > 2 && node.inputs[2] != kNoId) {
      if (!g.is_constant(node.inputs[2])) return {};
      const Tensor& zero = *g.value(node.inputs[2]).constant;
      const std::vector<int64_t> zeros = to_int64(zero);
      if (zeros.size() != params.scale.size()) return {};
      std::transform(zeros.begin(), zeros.end(), params.zero_point.begin(),
                     [](int64_t z) { return static_cast<int32_t>(z); });
      params.dtype = zero.dtype();
    }
    return params.dtype == DType::kUInt8 || params.dtype == DType::kInt8 ? std::optional(params)
                                                                         : std::nullopt;
  }
  // Length of the axis of the parameters, and of what is behind it.
  bool places_of(const Node& node, const QuantParams& params, int64_t& channels, int64_t& inner) const {
    const Shape x = shape(node.inputs[0]);
    channels = 1, inner = std::max<int64_t>(1, count_of(x));
    if (params.scale.size() == 1) return true;
    int64_t axis = node.attributes.get_int("axis", 1);
    if (axis < 0) axis += static_cast<int64_t>(x.size());
    if (axis < 0 || axis >= static_cast<int64_t>(x.size())) return false;
    channels = x[axis];
    inner = 1;
    for (size_t d = axis + 1; d < x.size(); ++d) inner *= x[d];
    return channels == static_cast<int64_t>(params.scale.size());
  }

  // The slot of a value that is not constant; nullopt where a node that was asked for makes it otherwise.
  std::optional<size_t> input_slot(ValueId v) {
    const ValueId at = stored(v);
    if (const auto found = slot_of.find(at); found != slot_of.end()) return found->second;
    const NodeId producer = g.value(at).producer;
    if (producer != kNoId && asked.count(producer) > 0) return {};
    Border border{at, {}, 1, 1, 0};
    if (at != v) {
      const auto params = params_of(*g.producer(v));
      if (!params || !places_of(*g.producer(v), *params, border.channels, border.inner)) return {};
      border.params = *params;
    } else if (g.value(v).dtype != DType::kFloat32) {
      return {};
    }
    border.slot = slot_of[at] = add_slot(count_of(shape(at)), false);
    part.inputs_.push_back(std::move(border));
    return slot_of[at];
  }
  size_t add_slot(int64_t size, bool varies) {
    part.sizes_.push_back(size);
    part.varies_.push_back(varies);
    return part.sizes_.size() - 1;
  }

  std::optional<Operand> operand(ValueId v) {
    Operand o{0, shape(v), {}};
    if (constant(v)) {
      if (!g.is_constant(v) || g.value(v).dtype != DType::kFloat32) return {};
      o.constant = to_float(*g.value(v).constant);
      return o.constant.empty() ? std::nullopt : std::optional(o);
    }
    const auto slot = input_slot(v);
    if (!slot) return {};
    o.slot = *slot;
    return o;
  }

  // Adds the node's operator; false where the part cannot have it.
  bool add(NodeId id) {
    const Node& node = g.node(id);
    if (node.outputs.size() != 1 || node.inputs.empty()) return false;
    const ValueId y = node.outputs[0];
    if (node.is("Add") || node.is("Mul")) return add_pair(node, id, y);
    if (node.is("Concat")) return add_concat(node, y);
    const auto layer = layer_of.find(id);
    const bool weighted = node.is("Conv") || node.is("Gemm") || node.is("MatMul");
    if (weighted && layer == layer_of.end()) return false;
    const auto spec = weighted ? std::nullopt : activation_of(g, node);
    const bool pool = node.is("MaxPool") || node.is("AveragePool") || node.is("GlobalAveragePool");
    const bool copy = node.is("Reshape") || node.is("Flatten") || node.is("Squeeze") ||
                      node.is("Unsqueeze") || node.is("Identity");
    const bool known = weighted || spec || pool || copy || node.is("QuantizeLinear") || node.is("Transpose");
    if (!known || constant(node.inputs[0])) return false;
    QuantParams params;
    int64_t channels = 1, inner = 1;
    if (node.is("QuantizeLinear")) {
      const auto found = params_of(node);
      if (!found || !places_of(node, *found, channels, inner)) return false;
      params = *found;
    }
    PoolGeometry window;
    if (pool && !pool_geometry(node, window)) return false;
    std::vector<int32_t> from;
    if (node.is("Transpose")) from = transposition(node);
    const auto x = input_slot(node.inputs[0]);
    if (!x) return false;
    const size_t out = made(y, weighted || part.varies_[*x] || grid_of.count(id) > 0);
    if (weighted) {
      const LayerGeometry geometry = geometry_of(g, id);
      const Shape in = shape(node.inputs[0]);
      part.ops_.push_back(make_layer_op(geometry, geometry.rows ? 0 : in[2], geometry.rows ? 0 : in[3],
                                        layer->second, *x, out));
      part.has_layer_[layer->second] = true;
      part.layer_input_[layer->second] = *x;
    } else if (spec) {
      part.ops_.push_back(make_activation_op(*spec, *x, out, kept++));
    } else if (pool) {
      part.ops_.push_back(make_pool_op(window, *x, out));
    } else if (node.is("QuantizeLinear")) {
      const auto found = grid_of.find(id);
      const size_t grid = found == grid_of.end() ? kNoGrid : found->second;
      part.ops_.push_back(make_round_op(params, channels, inner, grid, *x, out));
    } else if (node.is("Transpose")) {
      part.ops_.push_back(make_gather_op(std::move(from), *x, out));
    } else {
      part.ops_.push_back(make_copy_op(*x, out));
    }
    return true;
  }
  size_t made(ValueId y, bool varies) { return slot_of[y] = add_slot(count_of(shape(y)), varies); }

  bool add_pair(const Node& node, NodeId id, ValueId y) {
    if (node.inputs.size() != 2) return false;
    if (const auto bias = bias_of.find(id); bias != bias_of.end() && part.has_layer_[bias->second]) {
      const ValueId x = node.inputs[constant(node.inputs[0]) ? 1 : 0];
      const auto slot = input_slot(x);
      if (!slot) return false;
      part.ops_.push_back(make_copy_op(*slot, made(y, true)));
      return true;
    }
    auto a = operand(node.inputs[0]), b = operand(node.inputs[1]);
    if (!a || !b || (!a->constant.empty() && !b->constant.empty())) return false;
    const bool varies =
        (a->constant.empty() && part.varies_[a->slot]) || (b->constant.empty() && part.varies_[b->slot]);
    const Shape to = shape(y);
    const size_t out = made(y, varies);
    part.ops_.push_back(node.is("Add") ? make_sum_op(std::move(*a), std::move(*b), to, out)
                                       : make_product_op(std::move(*a), std::move(*b), to, out));
    return true;
  }

  bool add_concat(const Node& node, ValueId y) {
    std::vector<size_t> x;
    std::vector<int64_t> sizes;
    const Shape to = shape(y);
    int64_t axis = node.attributes.get_int("axis", 1), outer = 1;
    if (axis < 0) axis += static_cast<int64_t>(to.size());
    for (int64_t d = 0; d < axis; ++d) outer *= to[d];
    bool varies = false;
    for (const ValueId v : node.inputs) {
      if (constant(v)) return false;
      const auto slot = input_slot(v);
      if (!slot) return false;
      x.push_back(*slot);
      sizes.push_back(count_of(shape(v)) / std::max<int64_t>(1, outer));
      varies = varies || part.varies_[*slot];
    }
    part.ops_.push_back(make_concat_op(std::move(x), std::move(sizes), outer, made(y, varies)));
    return true;
  }

  bool pool_geometry(const Node& node, PoolGeometry& w) const {
    const Shape x = shape(node.inputs[0]), y = shape(node.outputs[0]);
    if (x.size() != 4 || y.size() != 4) return false;
    w = {x[0] * x[1], x[2], x[3], y[2], y[3], {x[2], x[3]}, {1, 1}, {0, 0, 0, 0}, node.is("MaxPool"), false};
    if (node.is("GlobalAveragePool")) return true;
    w.kernel = node.attributes.get_ints("kernel_shape", {1, 1});
    w.strides = node.attributes.get_ints("strides", {1, 1});
    w.pads = resolved_pads(g, node, w.kernel);
    w.count_padding = node.attributes.get_int("count_include_pad", 0) != 0;
    return w.kernel.size() == 2 && w.pads.size() == 4 &&
           node.attributes.get_ints("dilations", {1, 1}) == std::vector<int64_t>{1, 1};
  }

  std::vector<int32_t> transposition(const Node& node) const {
    const Shape x = shape(node.inputs[0]), y = shape(node.outputs[0]);
    std::vector<int64_t> reversed(x.size());
    for (size_t d = 0; d < x.size(); ++d) reversed[d] = static_cast<int64_t>(x.size() - 1 - d);
    const std::vector<int64_t> perm = node.attributes.get_ints("perm", reversed);
    const Shape strides = kernels::generic::row_major_strides(x);
    std::vector<int32_t> from(static_cast<size_t>(count_of(y)));
    std::vector<int64_t> index(y.size(), 0);
    for (int32_t& place : from) {
      int64_t at = 0;
      for (size_t d = 0; d < y.size(); ++d) at += index[d] * strides[perm[d]];
      place = static_cast<int32_t>(at);
      for (size_t d = y.size(); d-- > 0;) {
        if (++index[d] < y[d]) break;
        index[d] = 0;
      }
    }
    return from;
  }

  // Whether somebody outside of the part reads the value, or the real value of an 8-bit one.
  bool read_outside(ValueId v) const {
    if (g.is_output(v)) return true;
    for (const NodeId reader : g.consumers(v)) {
      if (g.node(reader).is("DequantizeLinear") ? read_outside(g.node(reader).outputs[0]) : !part.has(reader))
        return true;
    }
    return false;
  }
};

GraphPart::GraphPart(const Graph& graph, std::span<const NodeId> nodes, std::span<const PartLayer> layers,
                     const std::map<NodeId, size_t>& grids)
    : has_layer_(layers.size(), false), layer_input_(layers.size(), 0) {
  Builder builder{*this, graph, {}, {}, grids, {nodes.begin(), nodes.end()}, {}, 0};
  for (size_t i = 0; i < layers.size(); ++i) {
    builder.layer_of[layers[i].root] = i;
    if (layers[i].bias_add != kNoId) builder.bias_of[layers[i].bias_add] = i;
  }
  const std::set<NodeId> asked(nodes.begin(), nodes.end());
  std::vector<NodeId> taken;
  for (const NodeId id : graph.sorted()) {
    if (asked.count(id) == 0 || graph.node(id).is("DequantizeLinear")) continue;
    if (!builder.add(id)) continue;
    members_[id] = true;
    taken.push_back(id);
  }
  for (const NodeId id : taken) {
    const ValueId y = graph.node(id).outputs[0];
    const size_t slot = builder.slot_of.at(y);
    if (!varies_[slot] || !builder.read_outside(y)) continue;
    const bool rounds = graph.node(id).is("QuantizeLinear");
    outputs_.push_back({y, rounds ? graph.node(id).inputs[0] : y, slot});
  }
}

PartSlots GraphPart::slots() const {
  PartSlots s;
  s.values.resize(sizes_.size());
  s.gradients.resize(sizes_.size());
  s.kept.resize(ops_.size());
  for (size_t i = 0; i < sizes_.size(); ++i) {
    s.values[i].resize(static_cast<size_t>(sizes_[i]));
    if (varies_[i]) s.gradients[i].resize(static_cast<size_t>(sizes_[i]));
  }
  return s;
}

void GraphPart::forward(PartSlots& s, const PartVariables& at) const {
  for (const auto& op : ops_) op->forward(s, at);
}

void GraphPart::clear_gradients(PartSlots& s) const {
  for (auto& gradient : s.gradients) std::fill(gradient.begin(), gradient.end(), 0.0f);
}

void GraphPart::backward(PartSlots& s, const PartVariables& at, PartVariables& gradients) const {
  for (size_t i = ops_.size(); i-- > 0;) ops_[i]->backward(s, at, gradients);
}

}  // namespace octet
