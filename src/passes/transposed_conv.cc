// A transposed convolution as an ordinary one: each of stride x stride output phases is a convolution of the
// input with the taps that reach it (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional
// layer?").
#include <algorithm>

#include "base/checked.h"
#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

// Multiply-adds of the convolution for one of the transposed convolution, at most: taps of different phases
// lie at different places, and what a phase has not is a zero.
constexpr int64_t kMostWork = 4;

int64_t floor_quotient(int64_t a, int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

// One spatial axis. Output o = stride * j + phase is the sum over m of x[j + low + m] times tap_of(phase, m).
struct Axis {
  int64_t taps, stride, pad_begin;  // of the transposed convolution
  int64_t low = 0, size = 1;        // of the convolution: where the first tap reads, and taps
  int64_t begin = 0, end = 0;       // its padding
  int64_t crop = 0;                 // outputs too many at the end

  // Of the transposed convolution's taps that reach a phase: the first, and where it reads from.
  int64_t first_tap(int64_t phase) const { return (phase + pad_begin) % stride; }
  int64_t reads(int64_t phase) const { return (phase + pad_begin) / stride; }

  // -1: none.
  int64_t tap_of(int64_t phase, int64_t m) const {
    const int64_t back = reads(phase) - (low + m);
    const int64_t tap = stride * back + first_tap(phase);
    return back >= 0 && tap < taps ? tap : -1;
  }
};

Axis make_axis(int64_t taps, int64_t stride, int64_t pad_begin, int64_t pad_end, int64_t output_padding) {
  Axis a{taps, stride, pad_begin};
  // The output has `difference` more elements than stride * input.
  const int64_t difference = taps - stride + output_padding - pad_begin - pad_end;
  const int64_t more = -floor_quotient(-difference, stride);
  a.crop = stride * more - difference;
  int64_t high = std::max<int64_t>(0, -more);
  for (int64_t phase = 0; phase < stride; ++phase) {
    if (a.first_tap(phase) >= taps) continue;
    a.low = std::min(a.low, a.reads(phase) - (taps - 1 - a.first_tap(phase)) / stride);
    high = std::max(high, a.reads(phase));
  }
  a.size = high - a.low + 1;
  a.begin = -a.low;
  a.end = more + high;
  return a;
}

// The order of DepthToSpace's channels: phases outermost (DCR), or innermost (CRD) so that a group's stay
// together.
int64_t channel_of(int64_t channel, int64_t phase, int64_t channels, int64_t phases, bool grouped) {
  return grouped ? channel * phases + phase : phase * channels + channel;
}

bool convolve(Graph& graph, NodeId id) {
  const Node node = graph.node(id);
  const ValueId y = node.outputs[0];
  const ValueId bias = node.inputs.size() > 2 ? node.inputs[2] : kNoId;
  const Attributes& a = node.attributes;
  if (!graph.is_constant(node.inputs[1]) || (bias != kNoId && !graph.is_constant(bias))) return false;
  const Tensor& w = *graph.value(node.inputs[1]).constant;
  const auto ones = std::vector<int64_t>{1, 1};
  const auto strides = a.get_ints("strides", ones), pads = a.get_ints("pads", {0, 0, 0, 0}),
             extra = a.get_ints("output_padding", {0, 0});
  if (w.dtype() != DType::kFloat32 || w.rank() != 4 || w.count() == 0) return false;
  if (bias != kNoId && graph.value(bias).constant->dtype() != DType::kFloat32) return false;
  if (a.has("output_shape") || a.get_string("auto_pad", "NOTSET") != "NOTSET" ||
      a.get_ints("dilations", ones) != ones || strides[0] != strides[1])
    return false;

  const Shape& s = w.shape();
  const int64_t stride = strides[0], groups = a.get_int("group", 1), of_group = s[1];
  const int64_t phases = checked_mul(stride, stride), channels = checked_mul(of_group, groups);
  if (phases > kMostWork * s[2] * s[3]) return false;
  const Axis rows = make_axis(s[2], stride, pads[0], pads[2], extra[0]);
  const Axis columns = make_axis(s[3], stride, pads[1], pads[3], extra[1]);
  const int64_t sizes = checked_mul(rows.size, columns.size);
  if (sizes > kMostWork * s[2] * s[3] / phases) return false;

  const int64_t in_of_group = s[0] / groups;
  Tensor weights(DType::kFloat32, {channels * phases, in_of_group, rows.size, columns.size});
  std::ranges::fill(weights.as<float>(), 0.0f);
  Tensor biases(DType::kFloat32, {channels * phases});
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t phase = 0; phase < phases; ++phase) {
      const int64_t to = channel_of(c, phase, channels, phases, groups > 1);
      biases.as<float>()[to] = bias == kNoId ? 0 : graph.value(bias).constant->as<float>()[c];
      for (int64_t i = 0; i < in_of_group; ++i)
        for (int64_t m = 0; m < sizes; ++m) {
          const int64_t row = rows.tap_of(phase / stride, m / columns.size),
                        column = columns.tap_of(phase % stride, m % columns.size);
          if (row < 0 || column < 0) continue;
          const int64_t from = (c / of_group * in_of_group + i) * of_group + c % of_group;
          weights.as<float>()[(to * in_of_group + i) * sizes + m] =
              w.as<float>()[(from * s[2] + row) * s[3] + column];
        }
    }

  const std::string name = graph.value(y).name;
  Attributes attributes;
  attributes.set("kernel_shape", std::vector<int64_t>{rows.size, columns.size});
  attributes.set("pads", std::vector<int64_t>{rows.begin, columns.begin, rows.end, columns.end});
  attributes.set("strides", ones);
  attributes.set("group", groups);
  std::vector<ValueId> inputs{
      node.inputs[0], graph.add_constant(graph.value(node.inputs[1]).name + "_phases", std::move(weights))};
  if (bias != kNoId)
    inputs.push_back(graph.add_constant(graph.value(bias).name + "_phases", std::move(biases)));
  struct Step {
    std::string op;
    std::vector<ValueId> inputs;
    Attributes attributes;
  };
  std::vector<Step> steps{{"Conv", std::move(inputs), std::move(attributes)}};
  if (stride > 1) {
    Attributes to_space;
    to_space.set("blocksize", stride);
    to_space.set("mode", std::string(groups > 1 ? "CRD" : "DCR"));
    steps.push_back({"DepthToSpace", {kNoId}, std::move(to_space)});
  }
  if (rows.crop > 0 || columns.crop > 0) {
    const auto constant = [&](const char* what, int64_t of_rows, int64_t of_columns) {
      return graph.add_constant(name + what, Tensor::of<int64_t>({2}, {of_rows, of_columns}));
    };
    constexpr int64_t kWhole = INT64_MAX;
    steps.push_back(
        {"Slice",
         {kNoId, constant("_starts", 0, 0),
          constant("_ends", rows.crop > 0 ? -rows.crop : kWhole, columns.crop > 0 ? -columns.crop : kWhole),
          constant("_axes", 2, 3)},
         {}});
  }
  graph.remove_node(id);
  ValueId value = kNoId;
  for (size_t i = 0; i < steps.size(); ++i) {
    Step& step = steps[i];
    if (i > 0) step.inputs[0] = value;
    if (i + 1 < steps.size()) {
      value = graph.add_op(step.op, node.name + "_" + step.op, std::move(step.inputs), name + "_" + step.op,
                           std::move(step.attributes));
    } else {
      const NodeId last =
          graph.add_node(step.op, "", node.name, std::move(step.inputs), {}, std::move(step.attributes));
      graph.append_output(last, y);
    }
  }
  return true;
}

// A function of each element behind a DepthToSpace is computed in front of it, beside what it belongs to.
bool compute_before(Graph& graph, NodeId id) {
  const Node moving = graph.node(id);
  const ValueId moved = moving.outputs[0];
  if (!only_use(graph, moving.inputs[0]) || !only_use(graph, moved)) return false;
  const NodeId next_id = graph.consumers(moved)[0];
  const Node next = graph.node(next_id);
  const OpDef* op = find_op(next.op, next.domain);
  if (op == nullptr || op->quant != QuantRule::kActivation || next.inputs[0] != moved) return false;
  for (size_t i = 1; i < next.inputs.size(); ++i)
    if (next.inputs[i] != kNoId && !graph.is_constant(next.inputs[i])) return false;
  const ValueId y = next.outputs[0];
  std::vector<ValueId> inputs = next.inputs;
  inputs[0] = moving.inputs[0];
  graph.remove_node(next_id);
  graph.remove_node(id);
  const ValueId computed = graph.add_op(next.op, next.name, std::move(inputs), graph.value(moved).name,
                                        next.attributes, next.domain);
  const NodeId last =
      graph.add_node(moving.op, moving.domain, moving.name, {computed}, {}, moving.attributes);
  graph.append_output(last, y);
  return true;
}

// The convolution whose results, or functions of each of their elements, `value` holds; kNoId: none, or
// others read them too.
NodeId convolution_behind(const Graph& graph, ValueId value) {
  while (only_use(graph, value)) {
    const NodeId id = graph.value(value).producer;
    if (id == kNoId) return kNoId;
    const Node& node = graph.node(id);
    if (node.is("Conv")) return id;
    const OpDef* op = find_op(node.op, node.domain);
    if (op == nullptr || op->quant != QuantRule::kActivation) return kNoId;
    value = node.inputs[0];
  }
  return kNoId;
}

// Pixel shuffling whose phases are innermost (CRD) has them outermost once the convolution in front of it
// makes its channels in that order: then pixels are whole runs of bytes.
bool reorder_channels(Graph& graph, NodeId id) {
  const Node& shuffle = graph.node(id);
  if (shuffle.attributes.get_string("mode", "DCR") != "CRD") return false;
  const NodeId conv_id = convolution_behind(graph, shuffle.inputs[0]);
  if (conv_id == kNoId || graph.node(conv_id).attributes.get_int("group", 1) != 1) return false;
  const Node conv = graph.node(conv_id);
  const int64_t block = shuffle.attributes.get_int("blocksize", 1), phases = block * block;
  for (size_t i = 1; i < conv.inputs.size(); ++i) {
    if (conv.inputs[i] == kNoId) continue;
    if (!graph.is_constant(conv.inputs[i])) return false;
    const Tensor& t = *graph.value(conv.inputs[i]).constant;
    if (t.dtype() != DType::kFloat32 || t.count() == 0 || t.shape()[0] % phases != 0) return false;
  }
  for (size_t i = 1; i < conv.inputs.size(); ++i) {
    if (conv.inputs[i] == kNoId) continue;
    const Tensor& from = *graph.value(conv.inputs[i]).constant;
    const int64_t rows = from.shape()[0], channels = rows / phases, length = from.count() / rows;
    Tensor to = from.clone();
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t source = channel_of(row % channels, row / channels, channels, phases, true);
      std::ranges::copy(from.as<float>().subspan(source * length, length),
                        to.as<float>().begin() + row * length);
    }
    graph.set_input(conv_id, i,
                    graph.add_constant(graph.value(conv.inputs[i]).name + "_phases", std::move(to)));
  }
  graph.node(id).attributes.set("mode", std::string("DCR"));
  return true;
}

}  // namespace

bool convolve_transposed(Graph& graph) {
  bool changed = false;
  for (const NodeId id : graph.sorted()) {
    if (!graph.node(id).alive) continue;
    if (graph.node(id).is("ConvTranspose")) {
      changed |= convolve(graph, id);
    } else if (graph.node(id).is("DepthToSpace")) {
      changed |= reorder_channels(graph, id);
      changed |= compute_before(graph, id);
    }
  }
  if (!changed) return false;
  graph.prune();
  infer_shapes(graph);
  return true;
}

}  // namespace octet
