// The activation functions of an epilogue as one sequence of IEEE operations, written once over a set of
// operations `O` (scalar, AVX2, AVX-512), so that the bits are the same on every instruction set. Everything
// here has internal linkage: each object file that includes it keeps its own copy, compiled for its own
// instruction set.
//
// O has float type F and the static functions set, add, sub, mul, div, fma, min, max (min(a, b) = a < b ? a :
// b and max(a, b) = a > b ? a : b, so that the second operand is returned when either is NaN), abs,
// min_abs(a, b) (min(abs(a), b), b for NaN), exponent (a float 2^k from the low bits of a float k +
// kRoundMagic), choose_negative(x, negative, other) (x < 0 ? negative : other; false for NaN), index (the
// bits of a float, an Index) and lookup(table, index) (one of 32 floats, by the lowest five bits).
//
// NaN gives NaN. Largest errors, against the exact function: exp, sigmoid 3e-7 relative (for |x| <= 87), tanh
// 5e-7 relative, erf 3e-7 absolute, GELU 1e-6 absolute (x < 1), 4e-7 relative (x >= 1). For
// results that are rounded to 8 bits SiLU and GELU have cheaper forms: 8e-4 absolute, less near 0.
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

// Whether the function's results are nowhere larger than 1 and its argument.
static constexpr bool is_contained(Function f) {
  return f == Function::kSilu || f == Function::kGelu || f == Function::kGeluTanh ||
         f == Function::kHardSwish;
}

// SiLU and GELU as f(x) = max(0, x) + |x| t(|x|), with t, a negative probability, linear in each of 32
// segments: two registers hold 16 of its offsets and slopes each. The sum |x| + magic passes a power of two
// in the middle, where the distance of two floats doubles: so its rounding makes 16 short segments and 16 of
// twice their length, whose numbers are the lowest five bits. Beyond `limit` the second summand is what it is
// there, nearly 0. Minimax fits of our own to |x| t(|x|), segment by segment.
struct Curve {
  float magic, limit;
  alignas(64) float offset[32], slope[32];
};
alignas(64) constexpr Curve kSiluCurve = {
    4194300.0f,
    11.7399998f,
    {-0.0848258212f,   -0.0603615344f,   -0.0402662233f,   -0.0265917592f,   -0.0174238961f,  -0.011345081f,
     -0.00734876096f,  -0.00473946054f,  -0.0030452197f,   -0.00195023662f,  -0.00124539982f, -0.0007932593f,
     -0.000504096039f, -0.000319672428f, -0.000202333918f, -0.000128381187f, -0.499972165f,   -0.49921605f,
     -0.494890183f,    -0.484096259f,    -0.465452045f,    -0.439053088f,    -0.406201869f,   -0.368909508f,
     -0.329389244f,    -0.289672196f,    -0.251381934f,    -0.215663582f,    -0.183212787f,   -0.154349089f,
     -0.129112199f,    -0.107352339f},
    {0.016681755f,    0.0109351557f,   0.00669412455f,  0.00408338569f,  0.00248546829f,  0.00151084224f,
     0.000917638186f, 0.000557070831f, 0.000338077225f, 0.000205132063f, 0.000124452403f, 7.54989451e-05f,
     4.57986571e-05f, 2.77814415e-05f, 1.685188e-05f,   1.02694366e-05f, 0.249476746f,    0.245222241f,
     0.234277084f,    0.217304438f,    0.196161181f,    0.172785312f,    0.148939222f,    0.126009807f,
     0.104937531f,    0.0862447992f,   0.0701167658f,   0.0565029532f,   0.045209121f,    0.0359668992f,
     0.0284844022f,   0.0224776939f}};
alignas(64) constexpr Curve kGeluCurve = {2097150.0f,
                                          4.98999977f,
                                          {-0.124559782f,
                                           -0.0843923092f,
                                           -0.0506290793f,
                                           -0.0284147598f,
                                           -0.014923051f,
                                           -0.0073362519f,
                                           -0.00337696471f,
                                           -0.00145593099f,
                                           -0.000588069495f,
                                           -0.000222586968f,
                                           -7.89700061e-05f,
                                           -2.62661088e-05f,
                                           -1.07918086e-05f,
                                           0.0f,
                                           0.0f,
                                           0.0f,
                                           -0.499988884f,
                                           -0.49968344f,
                                           -0.497890085f,
                                           -0.493190438f,
                                           -0.484478891f,
                                           -0.471000701f,
                                           -0.452412933f,
                                           -0.428796321f,
                                           -0.400624156f,
                                           -0.368695647f,
                                           -0.33404389f,
                                           -0.297830731f,
                                           -0.261241585f,
                                           -0.22539109f,
                                           -0.191247627f,
                                           -0.159582451f},
                                          {0.0508154631f,
                                           0.0319505781f,
                                           0.017699169f,
                                           0.00921344757f,
                                           0.00450698659f,
                                           0.00207178411f,
                                           0.000894944533f,
                                           0.000363279221f,
                                           0.000138570584f,
                                           4.96694956e-05f,
                                           1.67304333e-05f,
                                           5.29558702e-06f,
                                           2.1038793e-06f,
                                           0.0f,
                                           0.0f,
                                           0.0f,
                                           0.398524255f,
                                           0.395092219f,
                                           0.386031389f,
                                           0.371274084f,
                                           0.351544321f,
                                           0.327707112f,
                                           0.30075556f,
                                           0.271746516f,
                                           0.24173364f,
                                           0.211705953f,
                                           0.182537451f,
                                           0.154950812f,
                                           0.129496709f,
                                           0.106548332f,
                                           0.086309284f,
                                           0.068832159f}};
alignas(64) constexpr Curve kGeluTanhCurve = {2097150.0f,
                                              4.98999977f,
                                              {-0.125298157f,
                                               -0.0848425254f,
                                               -0.0506221578f,
                                               -0.0280031934f,
                                               -0.0142960744f,
                                               -0.00669990154f,
                                               -0.00286579598f,
                                               -0.00111197087f,
                                               -0.000388935994f,
                                               -0.000121854202f,
                                               -3.39800754e-05f,
                                               -8.3801342e-06f,
                                               -2.57382885e-06f,
                                               0.0f,
                                               0.0f,
                                               0.0f,
                                               -0.499988824f,
                                               -0.49968189f,
                                               -0.497880429f,
                                               -0.493162066f,
                                               -0.484422773f,
                                               -0.470915616f,
                                               -0.452310473f,
                                               -0.428703099f,
                                               -0.40057987f,
                                               -0.368746638f,
                                               -0.334233284f,
                                               -0.298187584f,
                                               -0.261771828f,
                                               -0.22607252f,
                                               -0.192030802f,
                                               -0.160397232f},
                                              {0.0512088351f,
                                               0.032209374f,
                                               0.0177656189f,
                                               0.00912542641f,
                                               0.00434362562f,
                                               0.00190513488f,
                                               0.000765267643f,
                                               0.000279725908f,
                                               9.24345586e-05f,
                                               2.7432101e-05f,
                                               7.26375356e-06f,
                                               1.70483167e-06f,
                                               5.06486515e-07f,
                                               0.0f,
                                               0.0f,
                                               0.0f,
                                               0.398522198f,
                                               0.395073563f,
                                               0.385971546f,
                                               0.371155143f,
                                               0.351362288f,
                                               0.327473432f,
                                               0.30049628f,
                                               0.271498233f,
                                               0.241537169f,
                                               0.211598814f,
                                               0.182546645f,
                                               0.155087531f,
                                               0.129754066f,
                                               0.10690257f,
                                               0.0867239833f,
                                               0.069264479f}};

// v[i] = function(v[i]); step by step for all i, which hides latencies.
template <class O, int kCount>
OCTET_FORCE_INLINE void curve_values(const Curve& curve, typename O::F (&v)[kCount]) {
  typename O::F a[kCount], t[kCount];
  typename O::Index segment[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) a[i] = O::min_abs(v[i], O::set(curve.limit));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) segment[i] = O::index(O::add(a[i], O::set(curve.magic)));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) t[i] = O::lookup(curve.slope, segment[i]);
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) t[i] = O::fma(t[i], a[i], O::lookup(curve.offset, segment[i]));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) v[i] = O::fma(t[i], a[i], O::max(O::set(0.0f), v[i]));
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

// The same as value_of, step by step for all i.
template <class O, int kCount>
OCTET_FORCE_INLINE void hard_swish_values(typename O::F (&v)[kCount]) {
  typename O::F w[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) w[i] = O::fma(O::set(1.0f / 6.0f), v[i], O::set(0.5f));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) w[i] = O::max(O::set(0.0f), O::min(O::set(1.0f), w[i]));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) v[i] = O::mul(O::max(O::set(-3.5f), v[i]), w[i]);
}

// With kBytes what an epilogue that rounds to 8 bits computes instead.
template <class O, bool kBytes, Function kFunction, int kCount>
OCTET_FORCE_INLINE void replace_values(float alpha, float beta, typename O::F (&v)[kCount]) {
  if constexpr (kBytes && kFunction == Function::kSilu) return curve_values<O>(kSiluCurve, v);
  if constexpr (kBytes && kFunction == Function::kGelu) return curve_values<O>(kGeluCurve, v);
  if constexpr (kBytes && kFunction == Function::kGeluTanh) return curve_values<O>(kGeluTanhCurve, v);
  if constexpr (kFunction == Function::kHardSwish) return hard_swish_values<O>(v);
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) v[i] = value_of<O, kFunction>(alpha, beta, v[i]);
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
