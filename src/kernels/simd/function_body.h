// The activation functions of an epilogue as one sequence of IEEE operations, written once over a set of
// operations `O` (scalar, AVX2, AVX-512), so that the bits are the same on every instruction set. Everything
// here has internal linkage: each object file that includes it keeps its own copy, compiled for its own
// instruction set.
//
// O has float type F and the static functions set, add, sub, mul, div, fma, min, max (min(a, b) = a < b ? a :
// b and max(a, b) = a > b ? a : b, so that the second operand is returned when either is NaN), exponent (a
// float 2^k from the low bits of a float k + kRoundMagic) and choose_negative(x, negative, other) (x < 0 ?
// negative : other; false for NaN).
//
// NaN gives NaN. Largest errors, against the exact function: exp, sigmoid 3e-7 relative (for |x| <= 87), tanh
// 5e-7 relative, erf 3e-7 absolute, GELU 1e-6 absolute (x < 1), 4e-7 relative (x >= 1).
#pragma once

#include "kernels/epilogue.h"

#define OCTET_FORCE_INLINE static inline __attribute__((always_inline))

namespace octet::kernels {

// Adding it to a float of magnitude below 2^22 rounds to an integer n, and leaves n + 127, the exponent field
// of 2^n, in the low bits of the mantissa.
constexpr float kRoundMagic = 12583039.0f;  // 1.5 * 2^23 + 127
// Arguments of exp beyond it are clamped, which keeps results away from infinity and denormals.
constexpr float kExpLimit = 87.0f;

// exp(x) = 2^n * (1 + m) with |n| <= 126 and m = exp(r) - 1 for a remainder |r| <= ln(2) / 2, in which
// m = r + r^2 * q(r) with a minimax polynomial q (relative error 3e-9, own fit).
template <class O>
struct ExpParts {
  typename O::F power, m;
};

template <class O>
OCTET_FORCE_INLINE ExpParts<O> exp_parts(typename O::F x) {
  const auto c = O::min(O::set(kExpLimit), O::max(O::set(-kExpLimit), x));
  const auto t = O::fma(c, O::set(0x1.715476p+0f), O::set(kRoundMagic));
  const auto n = O::sub(t, O::set(kRoundMagic));
  auto r = O::fma(n, O::set(-0x1.62e4p-1f), c);  // ln 2 in two parts, the first with 17 bits
  r = O::fma(n, O::set(-0x1.7f7d1cp-20f), r);
  auto p = O::set(0.00138145406f);
  p = O::fma(p, r, O::set(0.00836874545f));
  p = O::fma(p, r, O::set(0.0416683890f));
  p = O::fma(p, r, O::set(0.166665211f));
  p = O::fma(p, r, O::set(0.49999994f));
  p = O::fma(p, r, O::set(1.0f));
  return {O::exponent(t), O::mul(p, r)};
}

// exp(min(max(x, -87), 87))
template <class O>
OCTET_FORCE_INLINE typename O::F exp_value(typename O::F x) {
  const auto e = exp_parts<O>(x);
  return O::fma(e.power, e.m, e.power);
}

template <class O>
OCTET_FORCE_INLINE typename O::F sigmoid_value(typename O::F x) {
  const auto e = exp_value<O>(x);
  return O::div(e, O::add(e, O::set(1.0f)));
}

// (exp(2x) - 1) / (exp(2x) + 1), without cancellation near 0.
template <class O>
OCTET_FORCE_INLINE typename O::F tanh_value(typename O::F x) {
  const auto e = exp_parts<O>(O::add(x, x));
  const auto m = O::fma(e.power, e.m, O::sub(e.power, O::set(1.0f)));
  return O::div(m, O::add(m, O::set(2.0f)));
}

// x * P(x^2) / Q(x^2) on [-3.9, 3.9], a minimax fit of our own (absolute error 1.5e-8); +-1 outside.
template <class O>
OCTET_FORCE_INLINE typename O::F erf_value(typename O::F x) {
  const auto c = O::min(O::set(3.9f), O::max(O::set(-3.9f), x));
  const auto z = O::mul(c, c);
  auto p = O::set(2.05038623e-06f);
  p = O::fma(p, z, O::set(0.00028745798f));
  p = O::fma(p, z, O::set(0.00383689883f));
  p = O::fma(p, z, O::set(0.0529669859f));
  p = O::fma(p, z, O::set(0.1919415f));
  p = O::fma(p, z, O::set(1.12837899f));
  auto q = O::set(3.82307699e-05f);
  q = O::fma(q, z, O::set(0.00118174043f));
  q = O::fma(q, z, O::set(0.0151092485f));
  q = O::fma(q, z, O::set(0.11475841f));
  q = O::fma(q, z, O::set(0.503435493f));
  q = O::fma(q, z, O::set(1.0f));
  const auto y = O::div(O::mul(c, p), q);
  return O::min(O::set(1.0f), O::max(O::set(-1.0f), y));
}

template <class O>
OCTET_FORCE_INLINE typename O::F hard_sigmoid_value(typename O::F x, float alpha, float beta) {
  return O::max(O::set(0.0f), O::min(O::set(1.0f), O::fma(O::set(alpha), x, O::set(beta))));
}

// One function, known when compiled. Where a factor tends to 0 for negative x, the other is limited too, so
// that large negative x gives (nearly) 0.
template <class O, Function kFunction>
OCTET_FORCE_INLINE typename O::F value_of(float alpha, float beta, typename O::F x) {
  if constexpr (kFunction == Function::kLeakyRelu) return O::choose_negative(x, O::mul(O::set(alpha), x), x);
  if constexpr (kFunction == Function::kSigmoid) return sigmoid_value<O>(x);
  if constexpr (kFunction == Function::kSilu)
    return O::mul(O::max(O::set(-kExpLimit), x), sigmoid_value<O>(x));
  if constexpr (kFunction == Function::kHardSigmoid) return hard_sigmoid_value<O>(x, alpha, beta);
  if constexpr (kFunction == Function::kHardSwish)
    return O::mul(O::max(O::set(-3.5f), x), hard_sigmoid_value<O>(x, 1.0f / 6.0f, 0.5f));
  if constexpr (kFunction == Function::kGelu) {
    const auto e = erf_value<O>(O::mul(x, O::set(0.707106781f)));
    return O::mul(O::mul(O::max(O::set(-6.0f), x), O::set(0.5f)), O::add(e, O::set(1.0f)));
  }
  if constexpr (kFunction == Function::kGeluTanh) {
    // 0.5 x (1 + tanh(u)) = x sigmoid(2u) with 2u = sqrt(8 / pi) (x + 0.044715 x^3)
    const auto c = O::max(O::set(-10.0f), x);
    const auto w = O::fma(O::mul(c, c), O::set(0.0713548162726f), O::set(1.59576912161f));
    return O::mul(c, sigmoid_value<O>(O::mul(c, w)));
  }
  if constexpr (kFunction == Function::kTanh) return tanh_value<O>(x);
  if constexpr (kFunction == Function::kRelu) return O::max(O::set(0.0f), x);
  if constexpr (kFunction == Function::kClip) return O::min(O::set(beta), O::max(O::set(alpha), x));
  return x;
}

template <class O, Function kFunction, int kCount>
OCTET_FORCE_INLINE void replace_values(float alpha, float beta, typename O::F (&v)[kCount]) {
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) v[i] = value_of<O, kFunction>(alpha, beta, v[i]);
}

// v[i] = function(v[i])
template <class O, int kCount>
OCTET_FORCE_INLINE void function_values(Function function, float alpha, float beta,
                                        typename O::F (&v)[kCount]) {
  switch (function) {
    case Function::kLeakyRelu:
      return replace_values<O, Function::kLeakyRelu>(alpha, beta, v);
    case Function::kSigmoid:
      return replace_values<O, Function::kSigmoid>(alpha, beta, v);
    case Function::kSilu:
      return replace_values<O, Function::kSilu>(alpha, beta, v);
    case Function::kHardSigmoid:
      return replace_values<O, Function::kHardSigmoid>(alpha, beta, v);
    case Function::kHardSwish:
      return replace_values<O, Function::kHardSwish>(alpha, beta, v);
    case Function::kGelu:
      return replace_values<O, Function::kGelu>(alpha, beta, v);
    case Function::kGeluTanh:
      return replace_values<O, Function::kGeluTanh>(alpha, beta, v);
    case Function::kTanh:
      return replace_values<O, Function::kTanh>(alpha, beta, v);
    case Function::kRelu:
      return replace_values<O, Function::kRelu>(alpha, beta, v);
    case Function::kClip:
      return replace_values<O, Function::kClip>(alpha, beta, v);
    case Function::kNone:
      return;
  }
}

template <class O>
OCTET_FORCE_INLINE typename O::F function_value(Function function, float alpha, float beta, typename O::F x) {
  typename O::F v[1] = {x};
  function_values<O>(function, alpha, beta, v);
  return v[0];
}

}  // namespace octet::kernels
