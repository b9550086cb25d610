#include <algorithm>
#include <cmath>

#include "ops/op_def.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

namespace octet {
namespace {

// One number per entry of `axis` of a rank-4 value, or one for all.
std::optional<std::vector<double>> numbers_along(const Graph& graph, ValueId value, size_t axis,
                                                 int64_t channels) {
  if (!graph.is_constant(value)) return {};
  const Tensor& t = *graph.value(value).constant;
  const size_t rank = t.shape().size();
  if (t.dtype() != DType::kFloat32 || rank > 4) return {};
  const auto values = t.as<float>();
  if (values.size() == 1) return std::vector<double>(static_cast<size_t>(channels), values[0]);
  const bool along = rank + axis >= 4 && t.shape()[rank + axis - 4] == channels && t.count() == channels;
  return along ? std::optional(std::vector<double>(values.begin(), values.end())) : std::nullopt;
}

// What lies between an image that enters the graph and the convolution that alone reads it:
// y[c] = x[c] * scale[c] + shift[c], and a Transpose of channels from the end.
struct InputScaling {
  ValueId source = kNoId;
  NodeId transpose = kNoId;
  std::vector<double> scale, shift;
  bool is_canonical = true;  // a Transpose, then an Add, as far as there is any
};

class Matcher {
 public:
  Matcher(const Graph& graph, int64_t channels) : graph_(graph), channels_(channels) {
    found_.scale.assign(static_cast<size_t>(channels), 1);
    found_.shift.assign(static_cast<size_t>(channels), 0);
  }

  // From the convolution's input back to the source.
  std::optional<InputScaling> run(ValueId value) {
    while (!enters(value)) {
      const Node* node = graph_.producer(value);
      if (node == nullptr || !only_use(graph_, value) || !take(*node, value)) return {};
    }
    found_.source = value;
    const auto fits = [](double s) { return std::isfinite(s) && std::abs(s) > 1e-30; };
    return std::all_of(found_.scale.begin(), found_.scale.end(), fits) ? std::optional(found_) : std::nullopt;
  }

 private:
  bool enters(ValueId value) const {
    if (graph_.is_input(value)) return true;
    const Node* cast = producer_of(graph_, value, "Cast");
    return cast != nullptr && graph_.is_input(cast->inputs[0]);
  }

  // y = scale * f(x) + shift, of f(x) = x * factor + term.
  void before(double factor, double term, size_t c) {
    found_.shift[c] += found_.scale[c] * term;
    found_.scale[c] *= factor;
  }

  bool take(const Node& node, ValueId& value) {
    if (node.is("Transpose")) {
      if (found_.transpose != kNoId ||
          node.attributes.get_ints("perm", {}) != std::vector<int64_t>{0, 3, 1, 2})
        return false;
      found_.transpose = graph_.value(value).producer;
      value = node.inputs[0];
      return true;
    }
    const bool add = node.is("Add"), sub = node.is("Sub"), mul = node.is("Mul"), div = node.is("Div");
    if (!add && !sub && !mul && !div) return false;
    const size_t constant = graph_.is_constant(node.inputs[0]) ? 0 : 1;
    if (div && constant == 0) return false;
    const ValueId other = node.inputs[1 - constant];
    const auto& shape = graph_.value(other).shape;
    const size_t axis = found_.transpose == kNoId ? 1 : 3;
    const auto numbers = numbers_along(graph_, node.inputs[constant], axis, channels_);
    if (!numbers || !shape || shape->size() != 4 || (*shape)[axis] != Dim(channels_)) return false;
    for (size_t c = 0; c < numbers->size(); ++c) {
      const double n = (*numbers)[c];
      if (add) before(1, n, c);
      if (sub) constant == 0 ? before(-1, n, c) : before(1, -n, c);
      if (mul) before(n, 0, c);
      if (div) before(1 / n, 0, c);
    }
    found_.is_canonical = add && constant == 1 && found_.transpose == kNoId && steps_++ == 0;
    value = other;
    return true;
  }

  const Graph& graph_;
  int64_t channels_;
  int steps_ = 0;
  InputScaling found_;
};

bool fold(Graph& graph, NodeId id) {
  const Node conv = graph.node(id);
  if (!graph.is_constant(conv.inputs[1])) return false;
  const Tensor w = *graph.value(conv.inputs[1]).constant;
  const auto shape = graph.value(conv.inputs[0]).shape;
  if (w.dtype() != DType::kFloat32 || w.rank() != 4 || w.count() == 0 || !shape || shape->size() != 4)
    return false;
  const int64_t groups = conv.attributes.get_int("group", 1), of_group = w.shape()[1];
  const auto found = Matcher(graph, of_group * groups).run(conv.inputs[0]);
  if (!found || found->source == conv.inputs[0]) return false;
  const bool scales = std::any_of(found->scale.begin(), found->scale.end(), [](double s) { return s != 1; });
  if (!scales && found->is_canonical) return false;

  ValueId x = found->source;
  if (found->transpose != kNoId) {
    graph.set_input(found->transpose, 0, x);
    x = graph.node(found->transpose).outputs[0];
    graph.value(x).shape.reset();
  }
  Tensor shift(DType::kFloat32, {1, of_group * groups, 1, 1});
  for (size_t c = 0; c < found->shift.size(); ++c)
    shift.as<float>()[c] = static_cast<float>(found->shift[c] / found->scale[c]);
  const auto values = shift.as<float>();
  if (std::any_of(values.begin(), values.end(), [](float v) { return v != 0; })) {
    const std::string name = conv.name + "_input";
    x = graph.add_op("Add", name, {x, graph.add_constant(name + "_shift", std::move(shift))}, name);
  }
  graph.set_input(id, 0, x);
  if (scales) {
    Tensor scaled = w.clone();
    const int64_t rows = w.shape()[0] / groups, taps = w.shape()[2] * w.shape()[3];
    for (int64_t i = 0; i < w.count(); ++i) {
      const int64_t out = i / taps / of_group, in = i / taps % of_group;
      float& v = scaled.as<float>()[i];
      v = static_cast<float>(v * found->scale[static_cast<size_t>(out / rows * of_group + in)]);
    }
    graph.set_input(id, 1, graph.add_constant(graph.value(conv.inputs[1]).name, std::move(scaled)));
  }
  return true;
}

}  // namespace

bool fold_input_scaling(Graph& graph) {
  bool changed = false;
  for (NodeId id : graph.sorted())
    if (graph.node(id).alive && graph.node(id).is("Conv") && fold(graph, id)) changed = true;
  if (changed) infer_shapes(graph);
  return changed;
}

}  // namespace octet
