// RNN, GRU and LSTM: one sequence after the other, one step after the other, in float32.
#include <cmath>
#include <optional>

#include "kernels/generic/dot.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"

namespace octet::kernels::generic {
namespace {

double sigmoid(double x) {
  return 1 / (1 + exp_exact(-x));
}

double tangent(double x) {
  const double e = exp_exact(-2 * std::fabs(x));
  return std::copysign((1 - e) / (1 + e), x);
}

// An activation by its ONNX name with the defaults of its parameters.
struct Activation {
  std::string_view name;
  double (*function)(double x, double alpha, double beta);
  int parameters = 0;
  float alpha = 0, beta = 0;

  float operator()(float x) const { return static_cast<float>(function(x, alpha, beta)); }
};

constexpr Activation kActivations[] = {
    {"Affine", [](double x, double a, double b) { return a * x + b; }, 2, 1, 0},
    {"Elu", [](double x, double a, double) { return x < 0 ? a * (exp_exact(x) - 1) : x; }, 1, 1},
    {"HardSigmoid", [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); }, 2, 0.2f,
     0.5f},
    {"LeakyRelu", [](double x, double a, double) { return x < 0 ? a * x : x; }, 1, 0.01f},
    {"Relu", [](double x, double, double) { return x > 0 ? x : 0; }},
    {"ScaledTanh", [](double x, double a, double b) { return a * tangent(b * x); }, 2, 1, 1},
    {"Sigmoid", [](double x, double, double) { return sigmoid(x); }},
    {"Softplus", [](double x, double, double) { return x > 30 ? x : log_exact(1 + exp_exact(x)); }},
    {"Softsign", [](double x, double, double) { return x / (1 + std::fabs(x)); }},
    {"Tanh", [](double x, double, double) { return tangent(x); }},
    {"ThresholdedRelu", [](double x, double a, double) { return x > a ? x : 0; }, 1, 1},
};

bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

// `each` per direction; parameters are given in order to those that take any.
std::vector<Activation> read_activations(const Attributes& attributes,
                                         const std::vector<std::string>& defaults, int64_t directions) {
  std::vector<std::string> names;
  if (const Attribute* given = attributes.find("activations"); given != nullptr)
    if (const auto* list = std::get_if<std::vector<std::string>>(given)) names = *list;
  if (names.empty())
    for (int64_t d = 0; d < directions; ++d) names.insert(names.end(), defaults.begin(), defaults.end());
  expect(names.size() == defaults.size() * static_cast<size_t>(directions),
         "'activations' has the wrong length");
  const std::vector<float> alphas = attributes.get_floats("activation_alpha"),
                           betas = attributes.get_floats("activation_beta");
  size_t next_alpha = 0, next_beta = 0;
  std::vector<Activation> result;
  for (const std::string& name : names) {
    const auto found = std::find_if(std::begin(kActivations), std::end(kActivations),
                                    [&](const auto& a) { return same_name(a.name, name); });
    if (found == std::end(kActivations)) fail(ErrorCode::kUnsupported, "unknown activation '{}'", name);
    Activation own = *found;
    if (own.parameters > 0 && next_alpha < alphas.size()) own.alpha = alphas[next_alpha++];
    if (own.parameters > 1 && next_beta < betas.size()) own.beta = betas[next_beta++];
    result.push_back(own);
  }
  return result;
}

// What the three have in common.
struct Layer {
  int64_t gates, steps, batch, inputs, hidden, directions;
  bool batch_first, linear_before_reset, input_forget;
  std::string direction;
  float clip;
  std::vector<Activation> activations;
  std::vector<int64_t> lengths;

  Layer(const Attributes& attributes, Inputs in, int64_t gate_count, const std::vector<std::string>& defaults)
      : gates(gate_count) {
    const Tensor &x = input(in, 0), &w = input(in, 1), &r = input(in, 2);
    for (size_t i = 0; i < in.size(); ++i)
      if (i != 4 && has(in, i)) expect_dtype(in[i], DType::kFloat32);
    expect(x.rank() == 3 && w.rank() == 3 && r.rank() == 3, "X, W and R must have rank 3");
    batch_first = attributes.get_int("layout", 0) != 0;
    steps = x.shape()[batch_first ? 1 : 0];
    batch = x.shape()[batch_first ? 0 : 1];
    inputs = x.shape()[2];
    directions = w.shape()[0];
    hidden = r.shape()[2];
    direction = attributes.get_string("direction", "forward");
    expect(directions == (direction == "bidirectional" ? 2 : 1), "W does not fit the direction");
    expect(attributes.get_int("hidden_size", hidden) == hidden, "R does not fit hidden_size");
    expect_shape(w, {directions, gates * hidden, inputs});
    expect_shape(r, {directions, gates * hidden, hidden});
    if (has(in, 3)) expect_shape(in[3], {directions, 2 * gates * hidden});
    if (has(in, 4)) {
      lengths = to_int64(in[4]);
      expect(static_cast<int64_t>(lengths.size()) == batch, "sequence_lens must have one entry per sequence");
      for (int64_t n : lengths) expect(n >= 0 && n <= steps, "a sequence is longer than X");
    }
    for (size_t i = 5; i < 7; ++i)
      if (has(in, i)) expect_shape(in[i], state_shape());
    linear_before_reset = attributes.get_int("linear_before_reset", 0) != 0;
    input_forget = attributes.get_int("input_forget", 0) != 0;
    clip = attributes.get_float("clip", 0.0f);
    activations = read_activations(attributes, defaults, directions);
  }

  Shape state_shape() const {
    return batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
  }
  Shape output_shape() const {
    return batch_first ? Shape{batch, steps, directions, hidden} : Shape{steps, directions, batch, hidden};
  }
  int64_t state_at(int64_t d, int64_t b) const {
    return (batch_first ? b * directions + d : d * batch + b) * hidden;
  }
  int64_t output_at(int64_t t, int64_t d, int64_t b) const {
    return (batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b) * hidden;
  }
  const float* x_at(const Tensor& x, int64_t t, int64_t b) const {
    return data<float>(x) + (batch_first ? b * steps + t : t * batch + b) * inputs;
  }
  bool reversed(int64_t d) const { return direction == "reverse" || d == 1; }
  const Activation& activation(int64_t d, int64_t i) const {
    return activations[static_cast<size_t>(d * static_cast<int64_t>(activations.size()) / directions + i)];
  }
  float clipped(float v) const { return clip > 0 ? std::clamp(v, -clip, clip) : v; }
};

// One direction's weights.
struct Weights {
  const float *w, *r, *b;  // b: null, or of the input and of the state
  int64_t gates, hidden, inputs;

  Weights(const Layer& layer, Inputs in, int64_t d)
      : w(data<float>(in[1]) + d * layer.gates * layer.hidden * layer.inputs),
        r(data<float>(in[2]) + d * layer.gates * layer.hidden * layer.hidden),
        b(has(in, 3) ? data<float>(in[3]) + d * 2 * layer.gates * layer.hidden : nullptr),
        gates(layer.gates),
        hidden(layer.hidden),
        inputs(layer.inputs) {}

  float from_input(int64_t gate, int64_t i, const float* x) const {
    const int64_t row = gate * hidden + i;
    return dot_lanes(w + row * inputs, x, inputs) + (b != nullptr ? b[row] : 0.0f);
  }
  float from_state(int64_t gate, int64_t i, const float* h) const {
    const int64_t row = gate * hidden + i;
    return dot_lanes(r + row * hidden, h, hidden) + (b != nullptr ? b[gates * hidden + row] : 0.0f);
  }
};

// Runs `step(direction, x, h, c)`, which changes the states, over every sequence.
template <typename Step>
void run_layer(const Layer& layer, Inputs in, Outputs outputs, Step step) {
  const auto present = [&](size_t i) { return outputs.size() > i && outputs[i].count() >= 0; };
  for (size_t i = 0; i < outputs.size(); ++i)
    if (present(i)) {
      expect_dtype(outputs[i], DType::kFloat32);
      expect_shape(outputs[i], i == 0 ? layer.output_shape() : layer.state_shape());
      std::fill_n(data<float>(outputs[i]), outputs[i].count(), 0.0f);
    }
  std::vector<float> h(static_cast<size_t>(layer.hidden)), c(h);
  for (int64_t d = 0; d < layer.directions; ++d) {
    const Weights weights(layer, in, d);
    for (int64_t b = 0; b < layer.batch; ++b) {
      const int64_t at = layer.state_at(d, b);
      for (size_t s = 0; s < 2; ++s) {
        std::vector<float>& state = s == 0 ? h : c;
        std::fill(state.begin(), state.end(), 0.0f);
        if (has(in, 5 + s)) std::copy_n(data<float>(in[5 + s]) + at, layer.hidden, state.begin());
      }
      const int64_t n = layer.lengths.empty() ? layer.steps : layer.lengths[static_cast<size_t>(b)];
      for (int64_t i = 0; i < n; ++i) {
        const int64_t t = layer.reversed(d) ? n - 1 - i : i;
        step(d, weights, layer.x_at(in[0], t, b), h, c);
        if (present(0)) std::copy(h.begin(), h.end(), data<float>(outputs[0]) + layer.output_at(t, d, b));
      }
      if (present(1)) std::copy(h.begin(), h.end(), data<float>(outputs[1]) + at);
      if (present(2)) std::copy(c.begin(), c.end(), data<float>(outputs[2]) + at);
    }
  }
}

void expect_layer_arity(Inputs inputs, size_t max_inputs, Outputs outputs, size_t max_outputs) {
  expect(inputs.size() >= 3 && inputs.size() <= max_inputs, "a wrong number of inputs");
  expect(!outputs.empty() && outputs.size() <= max_outputs, "a wrong number of outputs");
}

using State = std::vector<float>;

}  // namespace

void run_rnn(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_layer_arity(inputs, 6, outputs, 2);
  const Layer layer(attributes, inputs, 1, {"Tanh"});
  State next(static_cast<size_t>(layer.hidden));
  run_layer(layer, inputs, outputs, [&](int64_t d, const Weights& w, const float* x, State& h, State&) {
    for (int64_t i = 0; i < layer.hidden; ++i)
      next[static_cast<size_t>(i)] =
          layer.activation(d, 0)(layer.clipped(w.from_input(0, i, x) + w.from_state(0, i, h.data())));
    h.swap(next);
  });
}

void run_gru(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_layer_arity(inputs, 6, outputs, 2);
  const Layer layer(attributes, inputs, 3, {"Sigmoid", "Tanh"});
  const auto size = static_cast<size_t>(layer.hidden);
  State update(size), reset(size), next(size);
  run_layer(layer, inputs, outputs, [&](int64_t d, const Weights& w, const float* x, State& h, State&) {
    const Activation &f = layer.activation(d, 0), &g = layer.activation(d, 1);
    for (int64_t i = 0; i < layer.hidden; ++i) {
      const auto at = static_cast<size_t>(i);
      update[at] = f(layer.clipped(w.from_input(0, i, x) + w.from_state(0, i, h.data())));
      reset[at] = f(layer.clipped(w.from_input(1, i, x) + w.from_state(1, i, h.data())));
    }
    if (!layer.linear_before_reset)
      for (size_t i = 0; i < size; ++i) next[i] = reset[i] * h[i];
    const State kept = next;  // reset * h
    for (int64_t i = 0; i < layer.hidden; ++i) {
      const auto at = static_cast<size_t>(i);
      const float state = layer.linear_before_reset ? reset[at] * w.from_state(2, i, h.data())
                                                    : w.from_state(2, i, kept.data());
      const float candidate = g(layer.clipped(w.from_input(2, i, x) + state));
      next[at] = (1 - update[at]) * candidate + update[at] * h[at];
    }
    h.swap(next);
  });
}

void run_lstm(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_layer_arity(inputs, 8, outputs, 3);
  const Layer layer(attributes, inputs, 4, {"Sigmoid", "Tanh", "Tanh"});
  const int64_t n = layer.hidden;
  if (has(inputs, 7)) expect_shape(inputs[7], {layer.directions, 3 * n});
  State next(static_cast<size_t>(n));
  run_layer(layer, inputs, outputs, [&](int64_t d, const Weights& w, const float* x, State& h, State& c) {
    const Activation &f = layer.activation(d, 0), &g = layer.activation(d, 1), &out = layer.activation(d, 2);
    const float* peep =
        has(inputs, 7) ? data<float>(inputs[7]) + d * 3 * n : nullptr;  // of input, output, forget
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(i);
      const auto gate = [&](int64_t k) { return w.from_input(k, i, x) + w.from_state(k, i, h.data()); };
      const auto peephole = [&](int64_t k, float cell) {
        return peep != nullptr ? peep[k * n + i] * cell : 0.0f;
      };
      const float in = f(layer.clipped(gate(0) + peephole(0, c[at])));
      const float forget = layer.input_forget ? 1 - in : f(layer.clipped(gate(2) + peephole(2, c[at])));
      const float candidate = g(layer.clipped(gate(3)));
      const float cell = forget * c[at] + in * candidate;
      const float shown = f(layer.clipped(gate(1) + peephole(1, cell)));
      c[at] = cell;
      next[at] = shown * out(cell);
    }
    h.swap(next);
  });
}

}  // namespace octet::kernels::generic
