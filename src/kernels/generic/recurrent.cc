// RNN, GRU and LSTM, in float32: each direction of each sequence is a part, one step after the other. What
// the inputs give is computed for many steps at once.
#include <cmath>
#include <optional>

#include "kernels/float/kernels.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/parts.h"
#include "kernels/simd/function.h"

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
  std::optional<Function> vectors = {};  // the form that epilogues have

  // In place.
  void run(float* values, int64_t count) const {
    if (vectors)
      choose_function(current_isa())(*vectors, 0, 0, values, values, count);
    else
      for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(function(values[i], alpha, beta));
  }
};

constexpr Activation kActivations[] = {
    {"Affine", [](double x, double a, double b) { return a * x + b; }, 2, 1, 0},
    {"Elu", [](double x, double a, double) { return x < 0 ? a * (exp_exact(x) - 1) : x; }, 1, 1},
    {"HardSigmoid", [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); }, 2, 0.2f,
     0.5f},
    {"LeakyRelu", [](double x, double a, double) { return x < 0 ? a * x : x; }, 1, 0.01f},
    {"Relu", [](double x, double, double) { return x > 0 ? x : 0; }},
    {"ScaledTanh", [](double x, double a, double b) { return a * tangent(b * x); }, 2, 1, 1},
    {"Sigmoid", [](double x, double, double) { return sigmoid(x); }, 0, 0, 0, Function::kSigmoid},
    {"Softplus", [](double x, double, double) { return x > 30 ? x : log_exact(1 + exp_exact(x)); }},
    {"Softsign", [](double x, double, double) { return x / (1 + std::fabs(x)); }},
    {"Tanh", [](double x, double, double) { return tangent(x); }, 0, 0, 0, Function::kTanh},
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
  void clip_all(float* values, int64_t count) const {
    for (int64_t i = 0; clip > 0 && i < count; ++i) values[i] = std::clamp(values[i], -clip, clip);
  }
};

// Steps whose inputs' products are computed together.
constexpr int64_t kStepBlock = 32;

// One direction's weights.
struct Weights {
  const float *w, *r, *b;  // b: null, or of the input and of the state
  int64_t gates, hidden, inputs;
  DotRows dots;

  Weights(const Layer& layer, Inputs in, int64_t d)
      : w(data<float>(in[1]) + d * layer.gates * layer.hidden * layer.inputs),
        r(data<float>(in[2]) + d * layer.gates * layer.hidden * layer.hidden),
        b(has(in, 3) ? data<float>(in[3]) + d * 2 * layer.gates * layer.hidden : nullptr),
        gates(layer.gates),
        hidden(layer.hidden),
        inputs(layer.inputs),
        dots(float_kernels(current_isa()).dot_rows) {}

  // Every gate of `count` inputs.
  void from_input(const float* x, int64_t count, int64_t x_stride, float* y) const {
    const int64_t rows = gates * hidden;
    dots(w, rows, inputs, x, count, x_stride, y, rows);
    for (int64_t step = 0; b != nullptr && step < count; ++step)
      for (int64_t i = 0; i < rows; ++i) y[step * rows + i] += b[i];
  }
  // `count` gates of one state, from `gate` on.
  void from_state(int64_t gate, int64_t count, const float* h, float* y) const {
    const int64_t rows = count * hidden;
    dots(r + gate * hidden * hidden, rows, hidden, h, 1, hidden, y, rows);
    for (int64_t i = 0; b != nullptr && i < rows; ++i) y[i] += b[(gates + gate) * hidden + i];
  }
};

using State = std::vector<float>;

int64_t sequences(const Layer& layer) {
  return layer.directions * layer.batch;
}

// Runs `step(direction, weights, gates of the input, h, c)`, which changes the states, over sequences
// [begin, end) of sequences().
template <typename Step>
void run_layer(const Layer& layer, Inputs in, Outputs outputs, int64_t begin, int64_t end, Step step) {
  const auto present = [&](size_t i) { return outputs.size() > i && outputs[i].count() >= 0; };
  for (size_t i = 0; i < outputs.size(); ++i)
    if (present(i)) {
      expect_dtype(outputs[i], DType::kFloat32);
      expect_shape(outputs[i], i == 0 ? layer.output_shape() : layer.state_shape());
    }
  const int64_t rows = layer.gates * layer.hidden;
  const int64_t x_stride = (layer.batch_first ? 1 : layer.batch) * layer.inputs;
  State h(static_cast<size_t>(layer.hidden)), c(h);
  State given(static_cast<size_t>(std::min(kStepBlock, layer.steps) * rows));
  for (int64_t sequence = begin; sequence < end; ++sequence) {
    const int64_t d = sequence / layer.batch, b = sequence % layer.batch;
    const Weights weights(layer, in, d);
    const int64_t at = layer.state_at(d, b);
    for (size_t s = 0; s < 2; ++s) {
      State& state = s == 0 ? h : c;
      std::fill(state.begin(), state.end(), 0.0f);
      if (has(in, 5 + s)) std::copy_n(data<float>(in[5 + s]) + at, layer.hidden, state.begin());
    }
    const int64_t n = layer.lengths.empty() ? layer.steps : layer.lengths[static_cast<size_t>(b)];
    for (int64_t first = 0; first < n; first += kStepBlock) {
      const int64_t count = std::min(kStepBlock, n - first);
      const int64_t lowest = layer.reversed(d) ? n - first - count : first;
      weights.from_input(layer.x_at(in[0], lowest, b), count, x_stride, given.data());
      for (int64_t i = 0; i < count; ++i) {
        const int64_t t = layer.reversed(d) ? lowest + count - 1 - i : lowest + i;
        step(d, weights, given.data() + (t - lowest) * rows, h, c);
        if (present(0)) std::copy(h.begin(), h.end(), data<float>(outputs[0]) + layer.output_at(t, d, b));
      }
    }
    for (int64_t t = n; present(0) && t < layer.steps; ++t)
      std::fill_n(data<float>(outputs[0]) + layer.output_at(t, d, b), layer.hidden, 0.0f);
    if (present(1)) std::copy(h.begin(), h.end(), data<float>(outputs[1]) + at);
    if (present(2)) std::copy(c.begin(), c.end(), data<float>(outputs[2]) + at);
  }
}

void expect_layer_arity(Inputs inputs, size_t max_inputs, Outputs outputs, size_t max_outputs) {
  expect(inputs.size() >= 3 && inputs.size() <= max_inputs, "a wrong number of inputs");
  expect(!outputs.empty() && outputs.size() <= max_outputs, "a wrong number of outputs");
}

Layer rnn_layer(const Attributes& attributes, Inputs inputs) {
  return {attributes, inputs, 1, {"Tanh"}};
}
Layer gru_layer(const Attributes& attributes, Inputs inputs) {
  return {attributes, inputs, 3, {"Sigmoid", "Tanh"}};
}
Layer lstm_layer(const Attributes& attributes, Inputs inputs) {
  return {attributes, inputs, 4, {"Sigmoid", "Tanh", "Tanh"}};
}

// The shapes decide: directions times sequences.
int64_t layer_parts(const Attributes& attributes, Inputs inputs) {
  if (inputs.size() < 3 || inputs[0].rank() != 3 || inputs[1].rank() != 3) return 1;
  const int64_t batch = inputs[0].shape()[attributes.get_int("layout", 0) != 0 ? 0 : 1];
  return std::max<int64_t>(batch * inputs[1].shape()[0], 1);
}

}  // namespace

int64_t rnn_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> /*outputs*/) {
  return layer_parts(attributes, inputs);
}
int64_t gru_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> /*outputs*/) {
  return layer_parts(attributes, inputs);
}
int64_t lstm_parts(const Attributes& attributes, Inputs inputs, std::span<const Tensor> /*outputs*/) {
  return layer_parts(attributes, inputs);
}

void run_rnn(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_layer_arity(inputs, 6, outputs, 2);
  run_rnn_parts(attributes, inputs, outputs, 0, sequences(rnn_layer(attributes, inputs)));
}

void run_gru(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_layer_arity(inputs, 6, outputs, 2);
  run_gru_parts(attributes, inputs, outputs, 0, sequences(gru_layer(attributes, inputs)));
}

void run_lstm(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_layer_arity(inputs, 8, outputs, 3);
  run_lstm_parts(attributes, inputs, outputs, 0, sequences(lstm_layer(attributes, inputs)));
}

void run_rnn_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin, int64_t end) {
  expect_layer_arity(inputs, 6, outputs, 2);
  const Layer layer = rnn_layer(attributes, inputs);
  State next(static_cast<size_t>(layer.hidden));
  run_layer(layer, inputs, outputs, begin, end,
            [&](int64_t d, const Weights& w, const float* x, State& h, State&) {
              w.from_state(0, 1, h.data(), next.data());
              for (size_t i = 0; i < next.size(); ++i) next[i] += x[i];
              layer.clip_all(next.data(), layer.hidden);
              layer.activation(d, 0).run(next.data(), layer.hidden);
              h.swap(next);
            });
}

void run_gru_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin, int64_t end) {
  expect_layer_arity(inputs, 6, outputs, 2);
  const Layer layer = gru_layer(attributes, inputs);
  const int64_t n = layer.hidden;
  State gates(static_cast<size_t>(3 * n)), kept(static_cast<size_t>(n));
  run_layer(layer, inputs, outputs, begin, end,
            [&](int64_t d, const Weights& w, const float* x, State& h, State&) {
              float *update = gates.data(), *reset = update + n, *candidate = reset + n;
              const bool late = layer.linear_before_reset;
              w.from_state(0, late ? 3 : 2, h.data(), update);
              for (int64_t i = 0; i < 2 * n; ++i) update[i] += x[i];
              layer.clip_all(update, 2 * n);
              layer.activation(d, 0).run(update, 2 * n);
              if (late) {
                for (int64_t i = 0; i < n; ++i) candidate[i] *= reset[i];
              } else {
                for (int64_t i = 0; i < n; ++i) kept[i] = reset[i] * h[i];
                w.from_state(2, 1, kept.data(), candidate);
              }
              for (int64_t i = 0; i < n; ++i) candidate[i] += x[2 * n + i];
              layer.clip_all(candidate, n);
              layer.activation(d, 1).run(candidate, n);
              for (int64_t i = 0; i < n; ++i) h[i] = (1 - update[i]) * candidate[i] + update[i] * h[i];
            });
}

void run_lstm_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                    int64_t end) {
  expect_layer_arity(inputs, 8, outputs, 3);
  const Layer layer = lstm_layer(attributes, inputs);
  const int64_t n = layer.hidden;
  if (has(inputs, 7)) expect_shape(inputs[7], {layer.directions, 3 * n});
  State gates(static_cast<size_t>(4 * n));
  run_layer(layer, inputs, outputs, begin, end,
            [&](int64_t d, const Weights& w, const float* x, State& h, State& c) {
              const Activation& f = layer.activation(d, 0);
              const float* peep =
                  has(inputs, 7) ? data<float>(inputs[7]) + d * 3 * n : nullptr;  // of input, output, forget
              float *in = gates.data(), *shown = in + n, *forget = shown + n, *candidate = forget + n;
              w.from_state(0, 4, h.data(), in);
              for (int64_t i = 0; i < 4 * n; ++i) in[i] += x[i];
              for (int64_t i = 0; peep != nullptr && i < n; ++i) {
                in[i] += peep[i] * c[i];
                forget[i] += peep[2 * n + i] * c[i];
              }
              layer.clip_all(in, n);
              f.run(in, n);
              if (layer.input_forget) {
                for (int64_t i = 0; i < n; ++i) forget[i] = 1 - in[i];
              } else {
                layer.clip_all(forget, n);
                f.run(forget, n);
              }
              layer.clip_all(candidate, n);
              layer.activation(d, 1).run(candidate, n);
              for (int64_t i = 0; i < n; ++i) c[i] = forget[i] * c[i] + in[i] * candidate[i];
              for (int64_t i = 0; peep != nullptr && i < n; ++i) shown[i] += peep[n + i] * c[i];
              layer.clip_all(shown, n);
              f.run(shown, n);
              std::copy(c.begin(), c.end(), h.begin());
              layer.activation(d, 2).run(h.data(), n);
              for (int64_t i = 0; i < n; ++i) h[i] *= shown[i];
            });
}

}  // namespace octet::kernels::generic
