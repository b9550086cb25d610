#include <algorithm>
#include <cmath>

#include "calibrate/calibrate.h"
#include "passes/channels.h"
#include "passes/pads.h"
#include "passes/quantize.h"
#include "passes/scale_axis.h"

namespace octet {
namespace {

// The products of the weights of many layers leave the range of a double.
using Gains = std::vector<long double>;

long double mean_of(const Gains& gains) {
  long double sum = 0;
  for (const long double g : gains) sum += g;
  return sum / static_cast<long double>(gains.size());
}

// From the network's outputs to its inputs. Activations count as lines, pooling and resizing as copies, a
// factor that is not constant as one: only ratios between the channels of a value matter.
class Backward {
 public:
  explicit Backward(const Graph& graph) : graph_(graph), gains_(static_cast<size_t>(graph.value_slots())) {}

  std::vector<Gains> run() {
    for (const ValueId v : graph_.outputs()) add(v, Gains(channels(v), 1));
    const std::vector<NodeId> nodes = graph_.sorted();
    for (auto id = nodes.rbegin(); id != nodes.rend(); ++id) {
      const Node& node = graph_.node(*id);
      for (size_t i = 0; i < node.inputs.size(); ++i)
        if (node.inputs[i] != kNoId && !graph_.is_constant(node.inputs[i]) && channels(node.inputs[i]) > 0)
          add(node.inputs[i], through(node, i));
    }
    return std::move(gains_);
  }

 private:
  // 0 where the value has none, or their number is not known.
  size_t channels(ValueId v) const {
    const auto& shape = graph_.value(v).shape;
    if (!shape || shape->size() < 2 || shape->size() > 4) return 0;
    const Dim& dim = (*shape)[static_cast<size_t>(scale_axis(static_cast<int>(shape->size())))];
    return dim.known() && dim.value() > 0 ? static_cast<size_t>(dim.value()) : 0;
  }

  void add(ValueId v, const Gains& more) {
    Gains& gains = gains_[static_cast<size_t>(v)];
    gains.resize(channels(v), 0);
    for (size_t c = 0; c < gains.size(); ++c) gains[c] += more[c];
  }

  // Empty where nothing is known.
  const Gains& gains_of(ValueId v) const { return v == kNoId ? unknown_ : gains_[static_cast<size_t>(v)]; }

  // Of the first output: ones where nothing is known.
  Gains of_output(const Node& node, size_t count) const {
    const Gains& known = gains_of(node.outputs[0]);
    return known.size() == count ? known : Gains(count, known.empty() ? 1 : mean_of(known));
  }

  Gains through(const Node& node, size_t input) const {
    const size_t count = channels(node.inputs[input]);
    if (input == 0)
      if (const auto gains = through_layer(node, count)) return *gains;
    if (keeps_scale(graph_, node)) return through_move(node, input, count);
    Gains gains = of_output(node, count);
    if (!node.is("Mul") || node.inputs.size() != 2 || !graph_.is_constant(node.inputs[1 - input]))
      return gains;
    const Tensor& factors = *graph_.value(node.inputs[1 - input]).constant;
    if (factors.dtype() != DType::kFloat32) return gains;
    const auto f = factors.as<float>();
    if (f.size() == 1 || f.size() == count)
      for (size_t c = 0; c < count; ++c) {
        const long double factor = f[f.size() == 1 ? 0 : c];
        gains[c] *= factor * factor;
      }
    return gains;
  }

  // Of a layer by constant weights.
  std::optional<Gains> through_layer(const Node& node, size_t count) const {
    if ((!node.is("Conv") && !node.is("Gemm") && !node.is("MatMul")) || !graph_.is_constant(node.inputs[1]))
      return {};
    const Tensor& weights = *graph_.value(node.inputs[1]).constant;
    const Shape& shape = weights.shape();
    const int64_t groups = node.is("Conv") ? node.attributes.get_int("group", 1) : 1;
    const auto inputs = static_cast<int64_t>(count);
    if (weights.dtype() != DType::kFloat32 || shape.size() < 2 || (!node.is("Conv") && shape.size() != 2) ||
        groups <= 0 || weights.count() == 0)
      return {};
    const int in = weight_input_axis(graph_, node), out = 1 - in;
    if (shape[in] * groups != inputs || shape[out] % groups != 0) return {};
    const Gains outputs = of_output(node, static_cast<size_t>(shape[out]));
    const auto w = weights.as<float>();
    const int64_t taps = weights.count() / (shape[0] * shape[1]);
    Gains gains(count, 0);
    for (int64_t o = 0; o < shape[out]; ++o) {
      const int64_t first = o / (shape[out] / groups) * shape[in];
      for (int64_t i = 0; i < shape[in]; ++i) {
        const float* kernel = w.data() + (in == 1 ? o * shape[1] + i : i * shape[1] + o) * taps;
        double sum = 0;
        for (int64_t t = 0; t < taps; ++t) sum += static_cast<double>(kernel[t]) * kernel[t];
        gains[static_cast<size_t>(first + i)] += sum * outputs[static_cast<size_t>(o)];
      }
    }
    return gains;
  }

  Gains through_move(const Node& node, size_t input, size_t count) const {
    Gains gains(count, 0);
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      const Gains& known = gains_of(node.outputs[o]);
      if (known.empty()) continue;
      if (const auto links = channel_links(graph_, node, input, o)) {
        for (const ChannelLink& link : *links)
          gains[static_cast<size_t>(link.from)] += known[static_cast<size_t>(link.to)];
      } else if (count > 0 && known.size() % count == 0 && (node.is("Reshape") || node.is("Flatten"))) {
        // Planes of an image to a row.
        for (size_t k = 0; k < known.size(); ++k) gains[k / (known.size() / count)] += known[k];
      } else {
        for (long double& g : gains) g += mean_of(known);
      }
    }
    return mean_of(gains) > 0 ? gains : Gains(count, 1);
  }

  const Graph& graph_;
  std::vector<Gains> gains_;
  const Gains unknown_;
};

}  // namespace

Energies reader_energies(const Graph& graph) {
  Energies result;
  const std::vector<Gains> gains = Backward(graph).run();
  for (ValueId v = 0; v < graph.value_slots(); ++v) {
    const Gains& of = gains[static_cast<size_t>(v)];
    const long double largest = of.empty() ? 0 : *std::max_element(of.begin(), of.end());
    if (!(largest > 0 && std::isfinite(largest))) continue;
    std::vector<double>& energies = result[graph.value(v).name];
    for (const long double g : of) energies.push_back(static_cast<double>(g / largest));
  }
  return result;
}

}  // namespace octet
