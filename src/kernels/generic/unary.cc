// Functions of one element. The float32 forms of exp, sigmoid, tanh and erf are the kernels'
// (simd/function_body.h); the rest is exact or goes through math.h. Formulas: the ONNX specification.
#include <cmath>

#include "base/cpu.h"
#include "kernels/generic/math.h"
#include "kernels/generic/ops.h"
#include "kernels/simd/function.h"
#include "kernels/simd/function_scalar.h"

namespace octet::kernels::generic {
namespace {

void expect_map(Inputs inputs, Outputs outputs, size_t max_inputs = 1) {
  expect_arity(inputs, 1, max_inputs, outputs);
  expect_shape(outputs[0], inputs[0].shape());
  expect_dtype(outputs[0], inputs[0].dtype());
}

template <typename T, typename F>
void map(Inputs inputs, Outputs outputs, F f) {
  const T* x = data<T>(inputs[0]);
  T* y = data<T>(outputs[0]);
  for (int64_t i = 0; i < inputs[0].count(); ++i) y[i] = f(x[i]);
}

// `f32` in float32, `f64` (with libm) in double.
template <typename F32, typename F64>
void map_float(Inputs inputs, Outputs outputs, F32 f32, F64 f64) {
  expect_map(inputs, outputs);
  if (inputs[0].dtype() == DType::kFloat32) return map<float>(inputs, outputs, f32);
  if (inputs[0].dtype() == DType::kFloat64) return map<double>(inputs, outputs, f64);
  unsupported_dtype(inputs[0].dtype());
}

// One of the kernels' functions; vectorized, the same bits as scalar.
template <typename F64>
void map_function(Inputs inputs, Outputs outputs, Function function, float alpha, float beta, F64 f64) {
  expect_map(inputs, outputs);
  if (inputs[0].dtype() == DType::kFloat32)
    return choose_function(current_isa())(function, alpha, beta, data<float>(inputs[0]),
                                          data<float>(outputs[0]), inputs[0].count());
  if (inputs[0].dtype() == DType::kFloat64) return map<double>(inputs, outputs, f64);
  unsupported_dtype(inputs[0].dtype());
}

template <typename F>
void map_number(Inputs inputs, Outputs outputs, F f) {
  expect_map(inputs, outputs);
  visit_number(inputs[0].dtype(), [&](auto type) { map<typename decltype(type)::type>(inputs, outputs, f); });
}

// exp with its whole range: the kernels' clamps at 87.
float exp_full(float x) {
  if (x >= -kExpLimit && x <= kExpLimit) return evaluate_exp(x);
  return static_cast<float>(exp_exact(x));
}

// exp(x) - 1
float expm1_value(float x) {
  if (x < -kExpLimit) return -1.0f;
  if (x > kExpLimit) return exp_full(x);
  const auto e = exp_parts<ScalarOps>(x);
  return __builtin_fmaf(e.power, e.m, e.power - 1.0f);
}

}  // namespace

void run_relu(const Attributes&, Inputs inputs, Outputs outputs) {
  map_number(inputs, outputs, []<typename T>(T x) { return T{0} > x ? T{0} : x; });
}

void run_leaky_relu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const float alpha = attributes.get_float("alpha", 0.01f);
  map_function(inputs, outputs, Function::kLeakyRelu, alpha, 0,
               [=](double x) { return x < 0 ? alpha * x : x; });
}

void run_sigmoid(const Attributes&, Inputs inputs, Outputs outputs) {
  map_function(inputs, outputs, Function::kSigmoid, 0, 0, [](double x) { return 1 / (1 + std::exp(-x)); });
}

void run_silu(const Attributes&, Inputs inputs, Outputs outputs) {
  map_function(inputs, outputs, Function::kSilu, 0, 0, [](double x) { return x / (1 + std::exp(-x)); });
}

void run_hard_sigmoid(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const float alpha = attributes.get_float("alpha", 0.2f), beta = attributes.get_float("beta", 0.5f);
  map_function(inputs, outputs, Function::kHardSigmoid, alpha, beta,
               [=](double x) { return std::max(0.0, std::min(1.0, alpha * x + beta)); });
}

void run_hard_swish(const Attributes&, Inputs inputs, Outputs outputs) {
  map_function(inputs, outputs, Function::kHardSwish, 0, 0,
               [](double x) { return x * std::max(0.0, std::min(1.0, x / 6 + 0.5)); });
}

void run_tanh(const Attributes&, Inputs inputs, Outputs outputs) {
  map_function(inputs, outputs, Function::kTanh, 0, 0, [](double x) { return std::tanh(x); });
}

void run_erf(const Attributes&, Inputs inputs, Outputs outputs) {
  map_float(
      inputs, outputs, [](float x) { return erf_value<ScalarOps>(x); }, [](double x) { return std::erf(x); });
}

void run_gelu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const std::string approximate = attributes.get_string("approximate", "none");
  expect(approximate == "none" || approximate == "tanh", "'approximate' must be none or tanh");
  if (approximate == "none")
    map_function(inputs, outputs, Function::kGelu, 0, 0,
                 [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); });
  else
    map_function(inputs, outputs, Function::kGeluTanh, 0, 0, [](double x) {
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    });
}

void run_softplus(const Attributes&, Inputs inputs, Outputs outputs) {
  map_float(
      inputs, outputs,
      [](float x) {
        if (x > 30) return x;
        return static_cast<float>(log_exact(1.0 + exp_exact(x)));
      },
      [](double x) { return x > 40 ? x : std::log1p(std::exp(x)); });
}

void run_softsign(const Attributes&, Inputs inputs, Outputs outputs) {
  const auto f = [](auto x) { return x / (1 + std::fabs(x)); };
  map_float(inputs, outputs, f, f);
}

void run_exp(const Attributes&, Inputs inputs, Outputs outputs) {
  if (inputs.size() == 1 && inputs[0].dtype() == DType::kFloat32) {
    expect_map(inputs, outputs);
    const float* x = data<float>(inputs[0]);
    float* y = data<float>(outputs[0]);
    choose_exp(current_isa())(x, y, inputs[0].count());
    for (int64_t i = 0; i < inputs[0].count(); ++i)
      if (!(std::fabs(x[i]) <= kExpLimit)) y[i] = exp_full(x[i]);
    return;
  }
  map_float(inputs, outputs, exp_full, [](double x) { return std::exp(x); });
}

void run_log(const Attributes&, Inputs inputs, Outputs outputs) {
  map_float(
      inputs, outputs, [](float x) { return static_cast<float>(log_exact(x)); },
      [](double x) { return std::log(x); });
}

void run_sqrt(const Attributes&, Inputs inputs, Outputs outputs) {
  const auto f = [](auto x) { return std::sqrt(x); };
  map_float(inputs, outputs, f, f);
}

void run_reciprocal(const Attributes&, Inputs inputs, Outputs outputs) {
  const auto f = [](auto x) { return 1 / x; };
  map_float(inputs, outputs, f, f);
}

void run_abs(const Attributes&, Inputs inputs, Outputs outputs) {
  map_number(inputs, outputs, [](auto x) { return magnitude(x); });
}

void run_neg(const Attributes&, Inputs inputs, Outputs outputs) {
  map_number(inputs, outputs, []<typename T>(T x) {
    if constexpr (std::is_floating_point_v<T>)
      return -x;
    else
      return static_cast<T>(std::make_unsigned_t<T>(0) - static_cast<std::make_unsigned_t<T>>(x));
  });
}

void run_sign(const Attributes&, Inputs inputs, Outputs outputs) {
  map_number(inputs, outputs, []<typename T>(T x) { return static_cast<T>(int{x > T{0}} - int{x < T{0}}); });
}

void run_floor(const Attributes&, Inputs inputs, Outputs outputs) {
  const auto f = [](auto x) { return std::floor(x); };
  map_float(inputs, outputs, f, f);
}

void run_ceil(const Attributes&, Inputs inputs, Outputs outputs) {
  const auto f = [](auto x) { return std::ceil(x); };
  map_float(inputs, outputs, f, f);
}

void run_round(const Attributes&, Inputs inputs, Outputs outputs) {
  const auto f = [](auto x) { return std::nearbyint(x); };  // half to even in the default mode
  map_float(inputs, outputs, f, f);
}

void run_elu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const float alpha = attributes.get_float("alpha", 1.0f);
  map_float(
      inputs, outputs, [=](float x) { return x < 0 ? alpha * expm1_value(x) : x; },
      [=](double x) { return x < 0 ? alpha * std::expm1(x) : x; });
}

void run_selu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const float alpha = attributes.get_float("alpha", 1.67326319217681884765625f);
  const float gamma = attributes.get_float("gamma", 1.05070102214813232421875f);
  map_float(
      inputs, outputs, [=](float x) { return gamma * (x <= 0 ? alpha * expm1_value(x) : x); },
      [=](double x) { return gamma * (x <= 0 ? alpha * std::expm1(x) : x); });
}

void run_celu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const float alpha = attributes.get_float("alpha", 1.0f);
  expect(alpha != 0, "alpha must not be 0");
  map_float(
      inputs, outputs,
      [=](float x) { return std::max(0.0f, x) + std::min(0.0f, alpha * expm1_value(x / alpha)); },
      [=](double x) { return std::max(0.0, x) + std::min(0.0, alpha * std::expm1(x / alpha)); });
}

void run_thresholded_relu(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const float alpha = attributes.get_float("alpha", 1.0f);
  const auto f = [=]<typename T>(T x) { return x > static_cast<T>(alpha) ? x : T{0}; };
  map_float(inputs, outputs, f, f);
}

void run_sin(const Attributes&, Inputs inputs, Outputs outputs) {
  map_float(
      inputs, outputs, [](float x) { return static_cast<float>(sin_exact(x)); },
      [](double x) { return std::sin(x); });
}

void run_cos(const Attributes&, Inputs inputs, Outputs outputs) {
  map_float(
      inputs, outputs, [](float x) { return static_cast<float>(cos_exact(x)); },
      [](double x) { return std::cos(x); });
}

void run_not(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_map(inputs, outputs);
  expect_dtype(inputs[0], DType::kBool);
  map<uint8_t>(inputs, outputs, [](uint8_t x) { return static_cast<uint8_t>(x == 0); });
}

void run_clip(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_map(inputs, outputs, 3);
  for (size_t i = 1; i < 3; ++i)
    if (has(inputs, i)) {
      expect_dtype(inputs[i], inputs[0].dtype());
      expect(inputs[i].count() == 1, "min and max must have one element");
    }
  visit_number(inputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const bool lower = has(inputs, 1), upper = has(inputs, 2);
    const T low = lower ? *data<T>(inputs[1]) : T{}, high = upper ? *data<T>(inputs[2]) : T{};
    map<T>(inputs, outputs, [=](T x) {
      if (lower && low > x) x = low;
      if (upper && high < x) x = high;
      return x;
    });
  });
}

}  // namespace octet::kernels::generic
