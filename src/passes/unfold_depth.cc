// Convolutions of volumes become those of images: each frame of the result is one of a batch, whose channels
// are those of the frames that its taps reach.
#include <algorithm>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

using Ints = std::vector<int64_t>;

ValueId ints(Graph& graph, const std::string& name, const Ints& values) {
  return graph.add_constant(
      name, Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, std::span<const int64_t>(values)));
}

// A node whose result is known to have this shape.
class Frames {
 public:
  Frames(Graph& graph, std::string name) : graph_(graph), name_(std::move(name)) {}

  ValueId op(const std::string& op, const std::string& suffix, std::vector<ValueId> inputs, Dims shape,
             Attributes attributes = {}) {
    const ValueId x = inputs[0];
    const ValueId y =
        graph_.add_op(op, name_ + suffix, std::move(inputs), name_ + suffix, std::move(attributes));
    graph_.value(y).dtype = graph_.value(x).dtype;
    graph_.value(y).shape = std::move(shape);
    return y;
  }
  ValueId swap(const std::string& suffix, ValueId x, const Dims& shape) {
    Attributes perm;
    perm.set("perm", Ints{1, 0, 2, 3});
    return op("Transpose", suffix, {x}, {shape[1], shape[0], shape[2], shape[3]}, std::move(perm));
  }
  ValueId constant(const std::string& suffix, const Ints& values) {
    return ints(graph_, name_ + suffix, values);
  }

 private:
  Graph& graph_;
  std::string name_;
};

Ints last_two(const Ints& values, size_t first) {
  return {values[first], values[first + 1]};
}

bool unfold(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const ValueId y = node.outputs[0];
  const bool conv = node.is("Conv");
  const auto &in = graph.value(node.inputs[0]).shape, &out = graph.value(y).shape;
  if (!in || !out || in->size() != 5 || out->size() != 5 || !all_known(*in) || !all_known(*out) ||
      node.outputs.size() != 1)
    return false;
  const Shape from = evaluate(*in), to = evaluate(*out);
  const std::string pad = node.attributes.get_string("auto_pad", "NOTSET");
  if (from[0] != 1 || (pad != "NOTSET" && pad != "VALID") || (conv && !graph.is_constant(node.inputs[1])) ||
      node.attributes.get_int("group", 1) != 1 || node.attributes.get_int("ceil_mode", 0) != 0)
    return false;
  Ints kernel = node.attributes.get_ints("kernel_shape");
  if (conv) {
    const Tensor& w = *graph.value(node.inputs[1]).constant;
    if (w.rank() != 5 || w.dtype() != DType::kFloat32) return false;
    kernel = {w.shape()[2], w.shape()[3], w.shape()[4]};
  }
  const Ints strides = node.attributes.get_ints("strides", {1, 1, 1}),
             dilations = node.attributes.get_ints("dilations", {1, 1, 1}),
             pads = node.attributes.get_ints("pads", Ints(6, 0));
  // A pool over several frames would need the largest of them, or their sum.
  if (!conv && (kernel.at(0) != 1 || strides[0] != 1 || pads[0] != 0 || pads[3] != 0)) return false;

  Frames f(graph, node.name);
  Dims shape{(*in)[1], (*in)[2], (*in)[3], (*in)[4]};
  ValueId x =
      f.op("Reshape", "_planes", {node.inputs[0], f.constant("_planes_shape", evaluate(shape))}, shape);
  x = f.swap("_frames", x, shape);
  std::swap(shape[0], shape[1]);
  if (pads[0] != 0 || pads[3] != 0) {
    shape[0] = Dim(from[2] + pads[0] + pads[3]);
    x = f.op("Pad", "_padded", {x, f.constant("_pads", {pads[0], 0, 0, 0, pads[3], 0, 0, 0})}, shape);
  }
  if (kernel[0] != 1 || strides[0] != 1) {
    const Dims taken{Dim(to[2]), shape[1], shape[2], shape[3]};
    std::vector<ValueId> taps;
    for (int64_t k = 0; k < kernel[0]; ++k) {
      const std::string tap = "_tap" + std::to_string(k);
      const int64_t first = k * dilations[0];
      taps.push_back(f.op("Slice", tap,
                          {x, f.constant(tap + "_first", {first}),
                           f.constant(tap + "_last", {first + (to[2] - 1) * strides[0] + 1}),
                           f.constant(tap + "_axis", {0}), f.constant(tap + "_step", {strides[0]})},
                          taken));
    }
    shape = {Dim(to[2]), Dim(from[1] * kernel[0]), shape[2], shape[3]};
    Attributes axis;
    axis.set("axis", int64_t{1});
    x = taps.size() == 1 ? taps[0] : f.op("Concat", "_taps", taps, shape, std::move(axis));
  }
  Attributes attributes = node.attributes;
  attributes.set("kernel_shape", last_two(kernel, 1));
  attributes.set("strides", last_two(strides, 1));
  attributes.set("dilations", last_two(dilations, 1));
  attributes.set("pads", Ints{pads[1], pads[2], pads[4], pads[5]});
  std::vector<ValueId> inputs{x};
  if (conv) {
    const Tensor& w = *graph.value(node.inputs[1]).constant;
    const int64_t channels = from[1], taps = kernel[0], plane = kernel[1] * kernel[2];
    Tensor flat(DType::kFloat32, {to[1], taps * channels, kernel[1], kernel[2]});
    for (int64_t o = 0; o < to[1]; ++o)
      for (int64_t k = 0; k < taps; ++k)
        for (int64_t c = 0; c < channels; ++c)
          std::copy_n(w.as<float>().begin() + ((o * channels + c) * taps + k) * plane, plane,
                      flat.as<float>().begin() + ((o * taps + k) * channels + c) * plane);
    inputs.push_back(graph.add_constant(graph.value(node.inputs[1]).name, std::move(flat)));
    if (node.inputs.size() > 2) inputs.push_back(node.inputs[2]);
  }
  const Dims frames{Dim(to[2]), Dim(to[1]), Dim(to[3]), Dim(to[4])};
  x = f.op(node.op, "", std::move(inputs), frames, std::move(attributes));
  x = f.swap("_joined", x, frames);
  graph.remove_node(id);
  const NodeId last =
      graph.add_node("Reshape", "", node.name + "_volume", {x, ints(graph, node.name + "_shape", to)}, {});
  graph.append_output(last, y);
  return true;
}

bool same_move(const Node& a, const Node& b) {
  if (a.is("Transpose") && b.is("Transpose"))
    return a.attributes.get_ints("perm") == b.attributes.get_ints("perm");
  const OpDef *p = find_op(a.op, a.domain), *q = find_op(b.op, b.domain);
  return p && q && p->lowering == Lowering::kReshape && q->lowering == Lowering::kReshape;
}

}  // namespace

bool unfold_depth(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    if (node.is("Conv") || node.is("MaxPool") || node.is("AveragePool")) changed |= unfold(graph, id);
  }
  if (changed) graph.prune();
  return changed;
}

bool add_before_moves(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted()) {
    const Node node = graph.node(id);
    if (!node.alive || !node.is("Add") || node.inputs.size() != 2 || node.inputs[0] == node.inputs[1])
      continue;
    const NodeId a = graph.value(node.inputs[0]).producer, b = graph.value(node.inputs[1]).producer;
    if (a == kNoId || b == kNoId || !same_move(graph.node(a), graph.node(b)) ||
        !only_use(graph, node.inputs[0]) || !only_use(graph, node.inputs[1]))
      continue;
    const Node move = graph.node(a);
    const ValueId x = move.inputs[0], z = graph.node(b).inputs[0], y = node.outputs[0];
    const auto shape = graph.value(x).shape, to = graph.value(node.inputs[0]).shape;
    if (!shape || shape != graph.value(z).shape || !to || to != graph.value(node.inputs[1]).shape) continue;
    const ValueId sum = graph.add_op("Add", node.name, {x, z}, graph.value(y).name + "_unmoved");
    graph.value(sum).dtype = graph.value(y).dtype;
    graph.value(sum).shape = shape;
    std::vector<ValueId> inputs = move.inputs;
    inputs[0] = sum;
    graph.remove_node(id);
    const NodeId last =
        graph.add_node(move.op, move.domain, move.name, std::move(inputs), {}, move.attributes);
    graph.append_output(last, y);
    changed = true;
  }
  if (changed) graph.prune();
  return changed;
}

}  // namespace octet
