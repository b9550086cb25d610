#include "calibrate/image_input.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "passes/channel_groups.h"
#include "passes/channels.h"
#include "passes/layer_weights.h"
#include "passes/match.h"
#include "passes/pads.h"

namespace octet {
namespace {

// The bytes' grid, by channel; nullopt where there is none.
struct ByteGrid {
  std::vector<float> scale, offset;
  std::vector<int32_t> zero;
};

// Of the preprocessed image with `shift` added to it: a number per channel, or none.
std::optional<ByteGrid> byte_grid(const Preprocess& preprocess, const std::vector<float>& shift) {
  ByteGrid grid;
  for (const Preprocess::Affine& a : preprocess.affine()) {
    const double scale = static_cast<double>(a.scale) / a.std;
    const double mean = shift.empty() ? a.mean : a.mean - shift[grid.scale.size()] / scale;
    const double zero = std::nearbyint(mean);
    if (!std::isfinite(scale) || !(scale > 1e-30) || !(zero >= 0 && zero <= 255)) return {};
    grid.scale.push_back(static_cast<float>(scale));
    grid.zero.push_back(static_cast<int32_t>(zero));
    grid.offset.push_back(static_cast<float>((mean - zero) * scale));
  }
  return grid;
}

// The constant that an Add of the canonical form (fold_input_scaling) adds to each channel; null for other
// nodes.
const Tensor* shift_of(const Graph& graph, const Node* node, ValueId source) {
  if (node == nullptr || !node->is("Add") || node->inputs[0] != source || !graph.is_constant(node->inputs[1]))
    return nullptr;
  const Tensor& shift = *graph.value(node->inputs[1]).constant;
  const bool per_channel = shift.dtype() == DType::kFloat32 && shift.rank() == 4 && shift.shape()[0] == 1 &&
                           shift.shape()[1] == shift.count();
  return per_channel ? &shift : nullptr;
}

template <typename T>
bool all_equal(const std::vector<T>& v) {
  return std::all_of(v.begin(), v.end(), [&](T x) { return x == v.front(); });
}

// Values of the input's scale group, with the input's channel that each of their channels holds.
using Moved = std::map<ValueId, std::vector<int64_t>>;

std::optional<Moved> moved_values(const Graph& graph, const Placement& placement,
                                  const QuantizeOptions& options, ValueId input) {
  const auto group = placement.group_of.find(input);
  if (group == placement.group_of.end() || placement.groups[group->second] != std::vector<ValueId>{input})
    return {};
  const auto groups = channel_groups(graph, placement, options);
  const auto& found = groups[group->second];
  if (!found) return {};
  const std::vector<int64_t>& own = found->of.at(input);
  Moved moved;
  for (const auto& [value, slots] : found->of)
    for (int64_t s : slots) moved[value].push_back(std::find(own.begin(), own.end(), s) - own.begin());
  return moved;
}

// Whether only 8-bit layers with a bias of the usual form read these values, beside what moves them.
bool only_layers(const Graph& graph, const Placement& placement, const Moved& moved) {
  const std::set<NodeId> weighted(placement.weighted.begin(), placement.weighted.end());
  for (const auto& [value, channels] : moved) {
    if (graph.is_output(value)) return false;
    for (NodeId reader : graph.consumers(value)) {
      const Node& node = graph.node(reader);
      if (weighted.count(reader)) {
        const bool bias = node.inputs.size() > 2 && node.inputs[2] != kNoId;
        if (!node.is("Conv") || (bias && !float_bias(graph, reader))) return false;
        continue;
      }
      if (!keeps_scale(graph, node) || pads_with_zeros(graph, node) || node.outputs.size() != 1 ||
          !moved.count(node.outputs[0]))
        return false;
    }
  }
  return true;
}

// The preprocessing of each element of an image.
class ImageAffine {
 public:
  ImageAffine(const Tensor& image, DType dtype, const Preprocess& preprocess)
      : affine_(preprocess.affine()), channels_(static_cast<int64_t>(affine_.size())) {
    const Shape& shape = image.shape();
    const bool last = preprocess.channels_last();
    if (shape.size() != 4 || shape[last ? 3 : 1] != channels_ || image.dtype() != dtype)
      fail(ErrorCode::kInvalidArgument, "the input is {} {}, expected a {} image of {} channels{}",
           dtype_name(image.dtype()), to_string(shape), dtype_name(dtype), channels_,
           last ? ", which are last" : "");
    step_ = last ? 1 : shape[2] * shape[3];
  }
  const Preprocess::Affine& of(int64_t element) const { return affine_[element / step_ % channels_]; }

 private:
  std::vector<Preprocess::Affine> affine_;
  int64_t channels_, step_ = 1;
};

}  // namespace

std::optional<ImageInput> use_image_grid(const Graph& graph, const Placement& placement,
                                         const QuantizeOptions& options, const Preprocess& preprocess,
                                         ActivationParams& params) {
  const TargetRules& target = options.target ? *options.target : find_target("octet");
  if (graph.only_input() == kNoId || target.activation != DType::kUInt8) return {};
  const ValueId given = float_input(graph, graph.only_input());
  ImageInput image;
  image.source = preprocess.channels_last() ? channels_first_image(graph, given) : given;
  if (image.source == kNoId || graph.value(image.source).dtype != DType::kFloat32) return {};
  image.value = image.source;
  std::vector<float> shift;
  if (only_use(graph, image.source)) {
    const Node& reader = graph.node(graph.consumers(image.source)[0]);
    if (const Tensor* constant = shift_of(graph, &reader, image.source)) {
      if (constant->count() != preprocess.channels()) return {};
      shift = to_float(*constant);
      image.value = reader.outputs[0];
    }
  }
  const auto grid = byte_grid(preprocess, shift);
  const auto moved = moved_values(graph, placement, options, image.value);
  if (!grid || !moved) return {};
  const auto channels = static_cast<int64_t>(grid->scale.size());
  if (static_cast<int64_t>(moved->at(image.value).size()) != channels) return {};
  const bool one = all_equal(grid->scale) && all_equal(grid->zero);
  if (!one && !target.channel_scales) return {};
  if (std::any_of(grid->offset.begin(), grid->offset.end(), [](float o) { return o != 0; }))
    image.offset = grid->offset;
  if (!image.offset.empty() && !only_layers(graph, placement, *moved)) return {};
  for (const auto& [value, from] : *moved) {
    QuantParams q{target.activation, one ? -1 : 1, {}, {}};
    for (int64_t c : from) {
      if (c >= channels) return {};
      q.scale.push_back(grid->scale[c]);
      q.zero_point.push_back(grid->zero[c]);
    }
    if (one) {
      q.scale.resize(1);
      q.zero_point.resize(1);
    }
    params[value] = std::move(q);
  }
  return image;
}

void fold_image_offset(Graph& graph, const Placement& placement, const QuantizeOptions& options,
                       const ImageInput& image) {
  if (image.offset.empty()) return;
  const auto moved = moved_values(graph, placement, options, image.value);
  if (!moved) fail(ErrorCode::kInternal, "the image's values have changed");
  for (NodeId id : placement.weighted) {
    const Node node = graph.node(id);
    const auto found = moved->find(node.inputs[0]);
    if (found == moved->end()) continue;
    const Tensor& weights = *graph.value(node.inputs[1]).constant;
    const Shape& shape = weights.shape();
    const int64_t groups = node.attributes.get_int("group", 1), taps = shape[2] * shape[3];
    std::vector<float> bias = float_bias(graph, id).value_or(std::vector<float>(shape[0], 0));
    for (int64_t o = 0; o < shape[0]; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < shape[1]; ++i)
        for (int64_t t = 0; t < taps; ++t)
          sum += static_cast<double>(weights.as<float>()[(o * shape[1] + i) * taps + t]) *
                 image.offset[found->second[o / (shape[0] / groups) * shape[1] + i]];
      bias[o] = static_cast<float>(bias[o] - sum);
    }
    const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != kNoId;
    const ValueId folded =
        graph.add_constant(has_bias ? graph.value(node.inputs[2]).name : node.name + "_bias",
                           Tensor::of<float>({shape[0]}, std::span<const float>(bias)));
    if (node.inputs.size() > 2)
      graph.set_input(id, 2, folded);
    else
      graph.append_input(id, folded);
  }
}

namespace {

// The only reader of a value, of this kind.
NodeId only_reader(const Graph& graph, ValueId value, const char* op) {
  const std::vector<NodeId>& readers = graph.consumers(value);
  if (readers.size() != 1 || !graph.node(readers[0]).is(op))
    fail(ErrorCode::kInternal, "the image '{}' is not read by {} alone", graph.value(value).name, op);
  return readers[0];
}

}  // namespace

void add_image_offset(Graph& graph, const ImageInput& image) {
  const NodeId quantize = only_reader(graph, image.value, "QuantizeLinear");
  if (image.offset.empty()) return;
  const std::string name = graph.value(image.value).name;
  if (const Tensor* shift = shift_of(graph, graph.producer(image.value), image.source)) {
    Tensor sum = shift->clone();
    for (size_t c = 0; c < image.offset.size(); ++c) sum.as<float>()[c] += image.offset[c];
    graph.set_input(graph.value(image.value).producer, 1,
                    graph.add_constant(name + "_offset", std::move(sum)));
    return;
  }
  const ValueId offset = graph.add_constant(
      name + "_offset", Tensor::of<float>({1, static_cast<int64_t>(image.offset.size()), 1, 1},
                                          std::span<const float>(image.offset)));
  const auto shape = graph.value(image.value).shape;
  const ValueId shifted = graph.add_op("Add", name + "_Add", {image.value, offset}, name + "_shifted");
  graph.value(shifted).dtype = DType::kFloat32;
  graph.value(shifted).shape = shape;
  graph.set_input(quantize, 0, shifted);
}

void take_image_bytes(Graph& graph, const ImageInput& image) {
  ValueId shifted = image.value;
  if (!image.offset.empty() && image.value == image.source)
    shifted = graph.node(only_reader(graph, image.value, "Add")).outputs[0];
  const NodeId quantize = only_reader(graph, shifted, "QuantizeLinear");
  const ValueId stored = graph.node(quantize).outputs[0];
  graph.remove_node(quantize);
  graph.replace_uses(stored, image.source);
  const DType dtype = *graph.value(stored).dtype;
  const ValueId input = graph.only_input(), floats = float_input(graph, input);
  if (floats != input) graph.replace_uses(floats, input);
  for (const ValueId v : {image.source, input}) graph.value(v).dtype = dtype;
  graph.prune();
}

Tensor image_bytes(const Tensor& image, const Preprocess& preprocess) {
  const ImageAffine affine(image, DType::kFloat32, preprocess);
  Tensor bytes(DType::kUInt8, image.shape());
  for (int64_t i = 0; i < image.count(); ++i) {
    const Preprocess::Affine& a = affine.of(i);
    const double p = static_cast<double>(image.as<float>()[i]) / a.scale * a.std + a.mean;
    bytes.as<uint8_t>()[i] = p >= 0 ? static_cast<uint8_t>(std::min(std::nearbyint(p), 255.0)) : 0;
  }
  return bytes;
}

Tensor image_floats(const Tensor& bytes, const Preprocess& preprocess) {
  const ImageAffine affine(bytes, DType::kUInt8, preprocess);
  Tensor image(DType::kFloat32, bytes.shape());
  for (int64_t i = 0; i < bytes.count(); ++i) image.as<float>()[i] = affine.of(i)(bytes.as<uint8_t>()[i]);
  return image;
}

std::vector<Tensor> inputs_for(const engine::Model& to, const engine::Model& from,
                               std::span<const Tensor> inputs) {
  std::vector<Tensor> adapted(inputs.begin(), inputs.end());
  if (to.inputs.size() != inputs.size()) return adapted;
  const auto preprocess = [](const engine::Model& model) {
    const auto found = model.metadata.find(kPreprocessKey);
    return found == model.metadata.end() ? std::nullopt : std::optional(Preprocess::parse(found->second));
  };
  for (size_t i = 0; i < adapted.size(); ++i) {
    const DType wanted = to.tensors[to.inputs[i]].dtype, found = adapted[i].dtype();
    if (wanted == found) continue;
    if (is_half(found))
      adapted[i] = Tensor::of<float>(adapted[i].shape(), std::span<const float>(to_float(adapted[i])));
    if (wanted == DType::kUInt8 && found != DType::kUInt8) {
      if (const auto p = preprocess(to)) adapted[i] = image_bytes(adapted[i], *p);
    } else if (found == DType::kUInt8) {
      if (const auto p = preprocess(from)) adapted[i] = image_floats(adapted[i], *p);
    }
    if (is_half(wanted) && adapted[i].dtype() == DType::kFloat32) adapted[i] = narrowed(adapted[i], wanted);
  }
  return adapted;
}

}  // namespace octet
