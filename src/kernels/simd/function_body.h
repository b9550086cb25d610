// The activation functions of an epilogue as one sequence of IEEE operations, written once over a set of
// operations `O` (scalar, AVX2, AVX-512), so that the bits are the same on every instruction set. Everything
// here has internal linkage: each object file that includes it keeps its own copy, compiled for its own
// instruction set.
//
// O has float type F and the static functions set, add, sub, mul, div, fma, min, max (min(a, b) = a < b ? a :
// b and max(a, b) = a > b ? a : b, so that the second operand is returned when either is NaN), abs, exponent
// (a float 2^k from the low bits of a float k + kRoundMagic), choose_negative(x, negative, other) (x < 0 ?
// negative : other; false for NaN), segment (the four bits of a float in [1, 4) behind its second exponent
// bit) and lookup(table, segment).
//
// NaN gives NaN. Largest errors, against the exact function: exp, sigmoid 3e-7 relative (for |x| <= 87), tanh
// 5e-7 relative, erf 3e-7 absolute, GELU 1e-6 absolute (x < 1), 4e-7 relative (x >= 1). For
// results that are rounded to 8 bits SiLU and GELU have cheaper forms: 2e-6 absolute.
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

// The part of SiLU and GELU that is not max(0, x): f(x) = max(0, x) - g(|x|), in 16 segments of fourth
// degree. Segments are equally long in |x| up to 1 / step, and twice as long from there to 3 / step; beyond
// `limit` g is what it is there, nearly 0. Minimax fits of our own.
struct Curve {
  float step, limit;
  alignas(64) float coefficients[5][16];  // of |x|^0 to |x|^4, by the four bits that segment() finds
};
alignas(64) constexpr Curve kSiluCurve = {
    0.1875f,
    15.96f,
    {{0.77172124f, 0.5763524f, 0.35454088f, 0.19204098f, 0.09487148f, 0.043673772f, 0.019007519f,
      0.007902018f, 0.0f, -0.0043655937f, -0.027810805f, 0.0050407373f, 0.18426552f, 0.44534272f, 0.6664609f,
      0.7833971f},
     {-0.3652582f, -0.24833174f, -0.13662978f, -0.06637916f, -0.029619792f, -0.012409126f, -0.004949678f,
      -0.0018978826f, 0.5000228f, 0.52313805f, 0.59563005f, 0.53569263f, 0.26835877f, -0.0467941f,
      -0.27017957f, -0.37191728f},
     {0.06754099f, 0.041247725f, 0.02012318f, 0.008722582f, 0.003503709f, 0.0013328007f, 0.00048644218f,
      0.00017182756f, -0.25042042f, -0.29780525f, -0.38287655f, -0.34207743f, -0.19208117f, -0.049125653f,
      0.035621207f, 0.068844795f},
     {-0.0057495013f, -0.003116566f, -0.001338527f, -0.0005154053f, -0.0001858437f, -6.406715e-05f,
      -2.1367003e-05f, -6.9461175e-06f, 0.0020041405f, 0.047077123f, 0.091955505f, 0.07969177f, 0.0421705f,
      0.013291389f, -0.001017461f, -0.005843793f},
     {0.00018910525f, 9.004197e-05f, 3.3843353e-05f, 1.1535165e-05f, 3.7250954e-06f, 1.1619495e-06f,
      3.5370718e-07f, 1.0573345e-07f, 0.017818779f, 0.00089714216f, -0.008073818f, -0.0067027705f,
      -0.0031720626f, -0.0009799219f, -7.273268e-05f, 0.00019041255f}}};
alignas(64) constexpr Curve kGeluCurve = {
    0.53571427f,
    5.586f,
    {{0.21427073f, 0.6210811f, 0.8015467f, 0.6214517f, 0.32145357f, 0.11696094f, 0.030914318f, 0.0060642045f,
      0.0f, -7.1911345e-05f, -0.0013940857f, -0.0080056265f, -0.023892237f, -0.04350123f, -0.044418156f,
      0.006183251f},
     {0.13475578f, -0.5680437f, -0.8347082f, -0.61738133f, -0.29482073f, -0.0984587f, -0.023925828f,
      -0.0043318705f, 0.50000066f, 0.501052f, 0.5118879f, 0.5491226f, 0.61712086f, 0.685063f, 0.6890651f,
      0.566643f},
     {-0.27354762f, 0.18266268f, 0.33050248f, 0.23208871f, 0.10192901f, 0.031178486f, 0.0069574895f,
      0.0011618705f, -0.39897522f, -0.40487322f, -0.43853313f, -0.51760155f, -0.6270958f, -0.715548f,
      -0.72132766f, -0.6101621f},
     {0.109402396f, -0.022473797f, -0.05891934f, -0.039098434f, -0.015737088f, -0.0044006626f,
      -0.00090082193f, -0.00013866578f, 0.00044365242f, 0.015658312f, 0.062675424f, 0.13772078f, 0.21633498f,
      0.26761317f, 0.27108195f, 0.22617738f},
     {-0.013706902f, 0.0006160339f, 0.0039867572f, 0.0024886697f, 0.0009150997f, 0.00023353659f,
      4.3810807e-05f, 6.2128256e-06f, 0.06461022f, 0.04921909f, 0.024284458f, -0.0025785551f, -0.023812545f,
      -0.034981277f, -0.035729963f, -0.028921612f}}};
alignas(64) constexpr Curve kGeluTanhCurve = {
    0.53571427f,
    5.586f,
    {{0.20427369f, 0.60499793f, 0.8217954f, 0.6571667f, 0.3230484f, 0.09693537f, 0.017391985f, 0.001818279f,
      0.0f, -7.334837e-05f, -0.0014138253f, -0.008036339f, -0.023620643f, -0.04215708f, -0.04190245f,
      0.0072078267f},
     {0.15309472f, -0.5381475f, -0.85641605f, -0.65897703f, -0.30000114f, -0.08269316f, -0.013637604f,
      -0.0013151028f, 0.50000066f, 0.5010732f, 0.51206225f, 0.5493742f, 0.61611533f, 0.68040067f, 0.6810022f,
      0.5621177f},
     {-0.28495464f, 0.16308656f, 0.33844623f, 0.24961226f, 0.104868405f, 0.026505206f, 0.0040142187f,
      0.00035688188f, -0.39897597f, -0.40499377f, -0.43914014f, -0.51840657f, -0.6259358f, -0.70970345f,
      -0.7117775f, -0.603759f},
     {0.112221666f, -0.017103922f, -0.06008026f, -0.04230828f, -0.016349202f, -0.0037826297f, -0.00052564853f,
      -4.3065225e-05f, 0.0004536538f, 0.015980868f, 0.06369304f, 0.13895883f, 0.21620476f, 0.26481053f,
      0.26648265f, 0.22282238f},
     {-0.013938458f, 8.737407e-05f, 0.0040400117f, 0.0027061144f, 0.00095890934f, 0.00020277571f,
      2.5834985e-05f, 1.9496956e-06f, 0.06489682f, 0.049185466f, 0.023873761f, -0.0030798293f, -0.02395566f,
      -0.034551546f, -0.034973215f, -0.028349351f}}};

template <class O>
OCTET_FORCE_INLINE typename O::F curve_value(const Curve& curve, typename O::F x) {
  const auto a = O::min(O::abs(x), O::set(curve.limit));
  const auto segment = O::segment(O::fma(a, O::set(curve.step), O::set(1.0f)));
  auto g = O::lookup(curve.coefficients[4], segment);
  g = O::fma(g, a, O::lookup(curve.coefficients[3], segment));
  g = O::fma(g, a, O::lookup(curve.coefficients[2], segment));
  g = O::fma(g, a, O::lookup(curve.coefficients[1], segment));
  g = O::fma(g, a, O::lookup(curve.coefficients[0], segment));
  return O::sub(O::max(O::set(0.0f), x), g);
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

// What an epilogue that rounds to 8 bits computes instead.
template <class O, Function kFunction>
OCTET_FORCE_INLINE typename O::F byte_value_of(float alpha, float beta, typename O::F x) {
  if constexpr (kFunction == Function::kSilu) return curve_value<O>(kSiluCurve, x);
  if constexpr (kFunction == Function::kGelu) return curve_value<O>(kGeluCurve, x);
  if constexpr (kFunction == Function::kGeluTanh) return curve_value<O>(kGeluTanhCurve, x);
  return value_of<O, kFunction>(alpha, beta, x);
}

template <class O, bool kBytes, Function kFunction, int kCount>
OCTET_FORCE_INLINE void replace_values(float alpha, float beta, typename O::F (&v)[kCount]) {
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i)
    v[i] =
        kBytes ? byte_value_of<O, kFunction>(alpha, beta, v[i]) : value_of<O, kFunction>(alpha, beta, v[i]);
}

// v[i] = function(v[i]), with kBytes for a result that is rounded to 8 bits
template <class O, bool kBytes, int kCount>
OCTET_FORCE_INLINE void function_values(Function function, float alpha, float beta,
                                        typename O::F (&v)[kCount]) {
  switch (function) {
    case Function::kLeakyRelu:
      return replace_values<O, kBytes, Function::kLeakyRelu>(alpha, beta, v);
    case Function::kSigmoid:
      return replace_values<O, kBytes, Function::kSigmoid>(alpha, beta, v);
    case Function::kSilu:
      return replace_values<O, kBytes, Function::kSilu>(alpha, beta, v);
    case Function::kHardSigmoid:
      return replace_values<O, kBytes, Function::kHardSigmoid>(alpha, beta, v);
    case Function::kHardSwish:
      return replace_values<O, kBytes, Function::kHardSwish>(alpha, beta, v);
    case Function::kGelu:
      return replace_values<O, kBytes, Function::kGelu>(alpha, beta, v);
    case Function::kGeluTanh:
      return replace_values<O, kBytes, Function::kGeluTanh>(alpha, beta, v);
    case Function::kTanh:
      return replace_values<O, kBytes, Function::kTanh>(alpha, beta, v);
    case Function::kRelu:
      return replace_values<O, kBytes, Function::kRelu>(alpha, beta, v);
    case Function::kClip:
      return replace_values<O, kBytes, Function::kClip>(alpha, beta, v);
    case Function::kNone:
      return;
  }
}

template <class O, bool kBytes>
OCTET_FORCE_INLINE typename O::F function_value(Function function, float alpha, float beta, typename O::F x) {
  typename O::F v[1] = {x};
  function_values<O, kBytes>(function, alpha, beta, v);
  return v[0];
}

}  // namespace octet::kernels
