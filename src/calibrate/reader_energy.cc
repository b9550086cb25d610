#include "calibrate/calibrate.h"

namespace octet {
namespace {

// Adds |W_c|^2 of a convolution's weights [O, C / groups, kernel ...] to the channels that it reads.
void add_weights(std::vector<double>& energies, const Tensor& weights, int64_t groups) {
  const Shape& shape = weights.shape();
  const auto w = weights.as<float>();
  int64_t taps = 1;
  for (size_t d = 2; d < shape.size(); ++d) taps *= shape[d];
  for (int64_t o = 0; o < shape[0]; ++o) {
    const int64_t first = o / (shape[0] / groups) * shape[1];
    for (int64_t i = 0; i < shape[1]; ++i)
      for (int64_t t = 0; t < taps; ++t) {
        const double v = w[static_cast<size_t>((o * shape[1] + i) * taps + t)];
        energies[static_cast<size_t>(first + i)] += v * v;
      }
  }
}

}  // namespace

Energies reader_energies(const Graph& graph) {
  Energies result;
  for (ValueId v = 0; v < graph.value_slots(); ++v) {
    const Value& value = graph.value(v);
    if (!value.shape || value.shape->size() != 4 || !(*value.shape)[1].known() || graph.is_constant(v))
      continue;
    std::vector<double> energies(static_cast<size_t>((*value.shape)[1].value()), 0);
    bool read = false;
    for (NodeId id : graph.consumers(v)) {
      const Node& node = graph.node(id);
      if (node.is("Conv") && node.inputs[0] == v && graph.is_constant(node.inputs[1])) {
        const Tensor& weights = *graph.value(node.inputs[1]).constant;
        const int64_t groups = node.attributes.get_int("group", 1);
        if (weights.dtype() != DType::kFloat32 || weights.shape().size() < 2 || groups <= 0 ||
            weights.shape()[0] % groups != 0 || weights.shape()[0] == 0 ||
            weights.shape()[1] * groups != static_cast<int64_t>(energies.size()))
          continue;
        add_weights(energies, weights, groups);
        read = true;
      } else if (node.is("Add") || node.is("Mul")) {
        for (double& e : energies) e += 1;
        read = true;
      }
    }
    if (read) result.emplace(value.name, std::move(energies));
  }
  return result;
}

}  // namespace octet
