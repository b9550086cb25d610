#include "ops/support.h"

namespace octet {
namespace {

struct Axis {
  int64_t size, kernel, stride, dilation, before, after, count;  // count: of the kernel's places
};

std::vector<int64_t> constant_ints(Graph& graph, NodeId id, size_t i, const char* what) {
  const Node& node = graph.node(id);
  const ValueId v = i < node.inputs.size() ? node.inputs[i] : kNoId;
  if (v == kNoId || !graph.is_constant(v) || graph.value(v).constant->dtype() != DType::kInt64)
    fail_node(graph, id, fmt::format("{} must be constant integers", what));
  return to_int64(*graph.value(v).constant);
}

std::vector<Axis> read_axes(Graph& graph, NodeId id) {
  const std::vector<int64_t> image = constant_ints(graph, id, 1, "image_shape"),
                             block = constant_ints(graph, id, 2, "block_shape");
  const Attributes& a = graph.node(id).attributes;
  const size_t rank = image.size();
  const std::vector<int64_t> ones(rank, 1);
  const auto strides = a.get_ints("strides", ones), dilations = a.get_ints("dilations", ones);
  const auto pads = a.get_ints("pads", std::vector<int64_t>(2 * rank, 0));
  if (rank == 0 || rank > 3 || block.size() != rank || strides.size() != rank || dilations.size() != rank ||
      pads.size() != 2 * rank)
    fail_node(graph, id, "image_shape, block_shape, strides, dilations and pads do not fit each other");
  std::vector<Axis> axes;
  for (size_t d = 0; d < rank; ++d) {
    Axis axis{image[d], block[d], strides[d], dilations[d], pads[d], pads[d + rank], 0};
    constexpr int64_t kMost = 1 << 20;
    for (const int64_t v : {axis.size, axis.kernel, axis.stride, axis.dilation})
      if (v < 1 || v > kMost) fail_node(graph, id, fmt::format("{} is no size", v));
    if (axis.before < 0 || axis.after < 0 || axis.before > kMost || axis.after > kMost)
      fail_node(graph, id, "a padding is out of range");
    const int64_t room = axis.size + axis.before + axis.after - axis.dilation * (axis.kernel - 1) - 1;
    if (room < 0) fail_node(graph, id, "the block is larger than the padded image");
    axis.count = room / axis.stride + 1;
    axes.push_back(axis);
  }
  return axes;
}

// Adds up what the blocks of an image hold for each of its pixels: a transposed convolution of every channel
// with one filter for each element of a block, which puts it where it belongs.
void upgrade(Graph& graph, NodeId id, int /*opset*/) {
  const Node node = graph.node(id);
  const std::vector<Axis> axes = read_axes(graph, id);
  const auto& shape = graph.value(node.inputs[0]).shape;
  int64_t block = 1, count = 1;
  for (const Axis& axis : axes) {
    block *= axis.kernel;
    count *= axis.count;
  }
  constexpr int64_t kMostOfABlock = 1024;
  if (block > kMostOfABlock) fail_node(graph, id, fmt::format("a block has {} elements", block));
  if (!shape || shape->size() != 3 || !(*shape)[1].known() || (*shape)[1].value() % block != 0 ||
      (*shape)[2].text() != std::to_string(count))
    fail_node(graph, id,
              fmt::format("its input has shape {}, expected N,C*{},{}", shape ? to_string(*shape) : "?",
                          block, count));

  std::vector<int64_t> places{-1, block}, pixels{-1, (*shape)[1].value() / block};
  std::vector<int64_t> strides, dilations, pads, extra;
  Shape weight_shape{block, 1};
  for (const Axis& axis : axes) {
    places.push_back(axis.count);
    pixels.push_back(axis.size);
    weight_shape.push_back(axis.kernel);
    strides.push_back(axis.stride);
    dilations.push_back(axis.dilation);
    pads.push_back(axis.before);
    extra.push_back(axis.size + axis.before + axis.after - axis.dilation * (axis.kernel - 1) - 1 -
                    (axis.count - 1) * axis.stride);
  }
  for (const Axis& axis : axes) pads.push_back(axis.after);
  Tensor weights(DType::kFloat32, weight_shape);
  for (int64_t i = 0; i < block; ++i) weights.as<float>()[static_cast<size_t>(i * block + i)] = 1;

  const std::string& name = node.name;
  graph.remove_node(id);
  Attributes window;
  window.set("strides", strides);
  window.set("dilations", dilations);
  window.set("pads", pads);
  window.set("output_padding", extra);
  const ValueId columns =
      graph.add_op("Reshape", name + "_columns", {node.inputs[0], add_ints(graph, name + "_places", places)},
                   name + "_columns");
  const ValueId sums = graph.add_op("ConvTranspose", name + "_sums",
                                    {columns, graph.add_constant(name + "_weights", std::move(weights))},
                                    name + "_sums", window);
  graph.add_node("Reshape", "", name, {sums, add_ints(graph, name + "_pixels", pixels)}, {node.outputs[0]});
}

}  // namespace

std::span<const OpDef> col2im_ops() {
  static const OpDef ops[] = {
      {.name = "Col2Im",
       .since = 18,
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = {{.name = "dilations", .kind = AttributeKind::kInts, .until = kNewestOpset},
                      {.name = "pads", .kind = AttributeKind::kInts, .until = kNewestOpset},
                      {.name = "strides", .kind = AttributeKind::kInts, .until = kNewestOpset}},
       .upgrade = upgrade,
       .upgrade_needs_shapes = true}};
  return ops;
}

}  // namespace octet
