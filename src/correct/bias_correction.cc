#include "correct/bias_correction.h"

#include <algorithm>
#include <set>

namespace octet {
namespace {

// Sums per channel of one observed tensor.
std::vector<double> channel_sums(const engine::Observation& o) {
  const Shape& s = *o.shape;
  const auto* x = static_cast<const float*>(o.data);
  if (s.size() == 2) {
    std::vector<double> sums(s[1], 0);
    for (int64_t r = 0; r < s[0]; ++r)
      for (int64_t c = 0; c < s[1]; ++c) sums[c] += x[r * s[1] + c];
    return sums;
  }
  std::vector<double> sums(s[1], 0);
  const int64_t pixels = s[2] * s[3];
  if (o.def->layout == Layout::kNhwc) {
    for (int64_t p = 0; p < s[0] * pixels; ++p)
      for (int64_t c = 0; c < s[1]; ++c) sums[c] += x[p * o.pixel_stride + c];
    return sums;
  }
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = 0; c < s[1]; ++c)
      for (int64_t p = 0; p < pixels; ++p) sums[c] += x[(n * s[1] + c) * pixels + p];
  return sums;
}

int64_t values_per_channel(const Shape& s) {
  return s.size() == 2 ? s[0] : s[0] * s[2] * s[3];
}

// Means of a value, also of a concatenation whose parts are known.
std::vector<double> means_of(const Graph& graph, ValueId value, const ChannelMeans& means) {
  if (const auto found = means.find(graph.value(value).name); found != means.end()) return found->second;
  const Node* node = graph.producer(value);
  if (node == nullptr || !node->is("Concat") || node->attributes.get_int("axis", 0) != 1) return {};
  std::vector<double> all;
  for (ValueId part : node->inputs) {
    const std::vector<double> some = means_of(graph, part, means);
    if (some.empty()) return {};
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

// Share of the output positions along one axis whose tap `k` lies inside of the image; the others see
// padding, whose mean is 0.
double inside(int64_t in, int64_t out, int64_t k, int64_t stride, int64_t dilation, int64_t pad) {
  int64_t count = 0;
  for (int64_t o = 0; o < out; ++o) {
    const int64_t at = o * stride - pad + k * dilation;
    count += at >= 0 && at < in;
  }
  return out > 0 ? static_cast<double>(count) / static_cast<double>(out) : 0;
}

// Shares of a convolution's taps, kernel_h x kernel_w; 1 where the sizes are not known.
std::vector<double> tap_shares(const Graph& graph, const Node& conv, int64_t kernel_h, int64_t kernel_w) {
  std::vector<double> shares(kernel_h * kernel_w, 1);
  const Dims &in = *graph.value(conv.inputs[0]).shape, &out = *graph.value(conv.outputs[0]).shape;
  if (!in[2].known() || !in[3].known() || !out[2].known() || !out[3].known() ||
      conv.attributes.get_string("auto_pad", "NOTSET") != "NOTSET")
    return shares;
  const auto strides = conv.attributes.get_ints("strides", {1, 1}),
             dilations = conv.attributes.get_ints("dilations", {1, 1});
  const auto pads = conv.attributes.get_ints("pads", {0, 0, 0, 0});
  for (int64_t y = 0; y < kernel_h; ++y)
    for (int64_t x = 0; x < kernel_w; ++x)
      shares[y * kernel_w + x] = inside(in[2].value(), out[2].value(), y, strides[0], dilations[0], pads[0]) *
                                 inside(in[3].value(), out[3].value(), x, strides[1], dilations[1], pads[1]);
  return shares;
}

// How much the mean of each output channel moves.
std::vector<double> mean_shift(const Graph& graph, const Node& node, const Tensor& weights,
                               const Tensor& rounded_weights, const std::vector<double>& means) {
  const Shape& shape = weights.shape();
  const auto w = weights.as<float>();
  const auto rounded = rounded_weights.as<float>();
  const bool conv = node.is("Conv");
  const int axis = weight_axis(graph, node);
  const int64_t channels = shape[axis];
  const int64_t inputs = conv ? shape[1] : shape[1 - axis];
  const int64_t groups = conv ? node.attributes.get_int("group", 1) : 1;
  const std::vector<double> shares =
      conv ? tap_shares(graph, node, shape[2], shape[3]) : std::vector<double>{1};
  const auto taps = static_cast<int64_t>(shares.size());
  if (static_cast<int64_t>(means.size()) != inputs * groups) return {};
  std::vector<double> shift(channels, 0);
  for (int64_t o = 0; o < channels; ++o)
    for (int64_t i = 0; i < inputs; ++i)
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t at = conv ? (o * inputs + i) * taps + t : axis == 0 ? o * inputs + i : i * channels + o;
        const int64_t input = conv ? o / (channels / groups) * inputs + i : i;
        shift[o] += (static_cast<double>(rounded[at]) - w[at]) * means[input] * shares[t];
      }
  return shift;
}

// The bias of a Conv or Gemm as one number per output channel, or empty where it has another form.
std::vector<float> bias_of(const Graph& graph, const Node& node, int64_t channels) {
  if (node.inputs.size() < 3 || node.inputs[2] == kNoId) return std::vector<float>(channels, 0);
  if (!graph.is_constant(node.inputs[2])) return {};
  const Tensor& bias = *graph.value(node.inputs[2]).constant;
  if (bias.dtype() != DType::kFloat32 || bias.count() != channels || bias.rank() != 1) return {};
  return to_float(bias);
}

bool correct(Graph& graph, NodeId id, const QuantizeOptions& options, const ActivationParams& params,
             const ChannelMeans& means) {
  const Node node = graph.node(id);
  const bool plain_gemm = node.is("Gemm") && node.attributes.get_float("alpha", 1) == 1 &&
                          node.attributes.get_float("beta", 1) == 1;
  if (!node.is("Conv") && !plain_gemm) return false;
  const std::vector<double> input_means = means_of(graph, node.inputs[0], means);
  if (input_means.empty()) return false;
  const Tensor& weights = *graph.value(node.inputs[1]).constant;
  const int axis = weight_axis(graph, node);
  std::vector<float> bias = bias_of(graph, node, weights.shape()[axis]);
  if (bias.empty()) return false;
  const WeightTransform transform = weight_transform(graph, id, options, params);
  const QuantizedWeights rounded =
      quantize_weights(transformed_weights(graph, id, transform), transform.axis, transform.smallest_scales);
  const std::vector<double> shift =
      mean_shift(graph, node, weights, effective_weights(rounded, transform), input_means);
  if (shift.empty()) return false;
  for (size_t c = 0; c < bias.size(); ++c) bias[c] = static_cast<float>(bias[c] - shift[c]);
  const bool has_bias = node.inputs.size() > 2 && node.inputs[2] != kNoId;
  const std::string name = has_bias ? graph.value(node.inputs[2]).name : node.name + "_bias";
  const ValueId corrected = graph.add_constant(
      name, Tensor::of<float>({static_cast<int64_t>(bias.size())}, std::span<const float>(bias)));
  if (node.inputs.size() > 2)
    graph.set_input(id, 2, corrected);
  else
    graph.append_input(id, corrected);
  return true;
}

}  // namespace

std::vector<std::string> weighted_inputs(const Graph& graph, const Placement& placement) {
  std::set<std::string> names;
  // A concatenation is seen through its parts.
  const auto add = [&](const auto& self, ValueId value) -> void {
    names.insert(graph.value(value).name);
    const Node* node = graph.producer(value);
    if (node != nullptr && node->is("Concat"))
      for (ValueId part : node->inputs) self(self, part);
  };
  for (NodeId id : placement.weighted) add(add, graph.node(id).inputs[0]);
  return {names.begin(), names.end()};
}

ChannelMeans observe_channel_means(const engine::Engine& engine, const Dataset& data,
                                   const std::vector<std::string>& names, const RunnerOptions& options) {
  struct Sums {
    std::vector<double> sums;
    int64_t count = 0;
  };
  const std::set<std::string, std::less<>> wanted(names.begin(), names.end());
  std::vector<std::map<std::string, Sums, std::less<>>> rows(data.size());  // by sample, added up in order
  DatasetRunner(engine, data, options)
      .run([&](int, int64_t sample, engine::Context& context, std::span<const Tensor> inputs) {
        auto& row = rows[sample];
        context.run(inputs, [&](const engine::Observation& o) {
          const bool usable =
              o.def->dtype == DType::kFloat32 && (o.shape->size() == 4 || o.shape->size() == 2);
          if (!usable || !wanted.count(o.def->name) || row.count(o.def->name)) return;
          row[o.def->name] = {channel_sums(o), values_per_channel(*o.shape)};
        });
      });
  std::map<std::string, Sums, std::less<>> totals;
  for (const auto& row : rows)
    for (const auto& [name, some] : row) {
      Sums& total = totals[name];
      total.sums.resize(some.sums.size(), 0);
      for (size_t c = 0; c < some.sums.size(); ++c) total.sums[c] += some.sums[c];
      total.count += some.count;
    }
  ChannelMeans means;
  for (auto& [name, total] : totals) {
    for (double& s : total.sums) s /= static_cast<double>(std::max<int64_t>(1, total.count));
    means[name] = std::move(total.sums);
  }
  return means;
}

int correct_biases(Graph& graph, const Placement& placement, const QuantizeOptions& options,
                   const ActivationParams& params, const ChannelMeans& means) {
  int corrected = 0;
  for (NodeId id : placement.weighted) corrected += correct(graph, id, options, params, means);
  return corrected;
}

}  // namespace octet
