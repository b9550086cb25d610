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
// results that are rounded to 8 bits SiLU and GELU have cheaper forms: 5e-5 and 8e-6 absolute.
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

// The part of SiLU and GELU that is not max(0, x): f(x) = max(0, x) - g(|x|), in 32 segments of second
// degree, which two registers of 16 floats hold. The sum |x| + magic passes a power of two in the middle,
// where the distance of two floats doubles: so its rounding makes 16 short segments and 16 of twice their
// length, whose numbers are the lowest five bits. Beyond `limit` g is what it is there, nearly 0. Minimax
// fits of our own.
struct Curve {
  float magic, limit;
  alignas(64) float coefficients[3][32];  // of |x|^0 to |x|^2
};
alignas(64) constexpr Curve kSiluCurve = {
    4194300.0f,
    11.7399998f,
    {{0.538590074f,   0.484757572f,  0.410795212f,  0.335390538f,   0.265939265f,  0.205961287f,
      0.156442165f,   0.116903409f,  0.0861454681f, 0.0627155229f,  0.0451752096f, 0.0322354957f,
      0.0228094179f,  0.0160179492f, 0.0111718476f, 0.00772371562f, 0.0f,          0.00020206139f,
      0.00344889821f, 0.0161337778f, 0.0448429771f, 0.0929013267f,  0.158774838f,  0.236680686f,
      0.318576217f,   0.396365106f,  0.463510841f,  0.515793502f,   0.551342487f,  0.570229888f,
      0.573895633f,   0.564570665f},
     {-0.180627331f,   -0.155455098f,   -0.124289505f,   -0.0955197737f,  -0.0713183805f,  -0.0520880856f,
      -0.0373869501f,  -0.02645858f,    -0.018506052f,   -0.0128156589f,  -0.00879934523f, -0.00599678652f,
      -0.00406004349f, -0.00273277075f, -0.00182978611f, -0.00122412981f, 0.499972165f,    0.497495443f,
      0.480813086f,    0.440663248f,    0.375266701f,    0.289861113f,    0.193937168f,    0.0978664234f,
      0.0102975536f,   -0.063120611f,   -0.119841196f,   -0.159816787f,   -0.184652448f,   -0.19681555f,
      -0.199038297f,   -0.193924963f},
     {0.0159916934f,   0.0130484728f,   0.00976465456f,  0.00701995939f,  0.00491129421f, 0.00336967572f,
      0.00227844319f,  0.00152323022f,  0.00100915134f,  0.000663621759f, 0.00043369655f, 0.00028193905f,
      0.000182449847f, 0.000117598742f, 7.55331494e-05f, 4.85704113e-05f, -0.249476686f,  -0.241939172f,
      -0.220343828f,   -0.188472316f,   -0.151168317f,   -0.11318545f,    -0.0782408193f, -0.0486085936f,
      -0.0251912419f,  -0.00786311273f, 0.00411807233f,  0.0117608206f,   0.0160991829f,  0.0180575773f,
      0.0183943938f,   0.017693378f}}};
alignas(64) constexpr Curve kGeluCurve = {
    2097150.0f,
    4.98999977f,
    {{0.430799633f,    0.406295806f,   0.342764139f,  0.260972679f,   0.180590883f,   0.114186838f,
      0.0662455484f,   0.0353789516f,  0.017439371f,  0.00795160234f, 0.00335965911f, 0.00131736044f,
      0.000618635793f, 0.0f,           0.0f,          0.0f,           0.0f,           4.09568165e-05f,
      0.000726097787f, 0.00361042237f, 0.0108822584f, 0.0248478372f,  0.0473698042f,  0.0793753862f,
      0.120532818f,    0.169157371f,   0.22236003f,   0.276403874f,   0.32719627f,    0.370823979f,
      0.404039502f,    0.424623311f},
     {-0.300069273f,
      -0.277365804f,
      -0.22398901f,
      -0.161637664f,
      -0.105618827f,
      -0.063012898f,
      -0.0345183313f,
      -0.017432088f,
      -0.00814010855f,
      -0.00352284312f,
      -0.00141556119f,
      -0.000528898381f,
      -0.000240400812f,
      0.0f,
      0.0f,
      0.0f,
      0.499988884f,
      0.498986214f,
      0.491964519f,
      0.47375679f,
      0.440718561f,
      0.391211599f,
      0.325782031f,
      0.24702996f,
      0.159206212f,
      0.0676135793f,
      -0.0220863633f,
      -0.104553729f,
      -0.175343931f,
      -0.231307581f,
      -0.270783991f,
      -0.29359135f},
     {0.0537099168f,
      0.048450917f,
      0.0372372121f,
      0.0253520757f,
      0.0155905597f,
      0.00875552278f,
      0.00452103326f,
      0.00215629162f,
      0.000952980947f,
      0.000391190726f,
      0.000149414554f,
      5.3173786e-05f,
      2.33620558e-05f,
      0.0f,
      0.0f,
      0.0f,
      -0.398524255f,
      -0.392432302f,
      -0.374304414f,
      -0.345479548f,
      -0.307891607f,
      -0.263972342f,
      -0.216419265f,
      -0.167951643f,
      -0.121083692f,
      -0.0779387355f,
      -0.0401214212f,
      -0.00865560398f,
      0.0160135869f,
      0.0339628048f,
      0.0456934348f,
      0.0520117357f}}};
alignas(64) constexpr Curve kGeluTanhCurve = {
    2097150.0f,
    4.98999977f,
    {{0.43258518f,     0.410530955f,   0.348570347f,  0.265858531f,  0.182468116f,   0.112589873f,
      0.0622876436f,   0.0307754278f,  0.0135178203f, 0.0052520344f, 0.00179545756f, 0.000537140062f,
      0.000195383094f, 0.0f,           0.0f,          0.0f,          0.0f,           4.11524379e-05f,
      0.000729264284f, 0.00362370349f, 0.0109121744f, 0.0248878058f, 0.0473847091f,  0.0792920366f,
      0.120246246f,    0.168558791f,   0.221383765f,  0.275080383f,  0.325691015f,   0.36944297f,
      0.403190136f,    0.424734056f},
     {-0.301089108f,
      -0.280683368f,
      -0.228646353f,
      -0.165607765f,
      -0.107500434f,
      -0.0626673177f,
      -0.0327670351f,
      -0.0153194135f,
      -0.00637715217f,
      -0.00235227915f,
      -0.000764831319f,
      -0.000218019137f,
      -7.67165257e-05f,
      0.0f,
      0.0f,
      0.0f,
      0.499988824f,
      0.498981357f,
      0.491928995f,
      0.473656863f,
      0.440542042f,
      0.390997946f,
      0.325639427f,
      0.24712722f,
      0.159735531f,
      0.0687296316f,
      -0.0203336552f,
      -0.102270164f,
      -0.172804981f,
      -0.228924856f,
      -0.269028842f,
      -0.292893916f},
     {0.0537488908f,
      0.0490288287f,
      0.0381007828f,
      0.0260873791f,
      0.0159633718f,
      0.00877134223f,
      0.00432759197f,
      0.00191228627f,
      0.000753811444f,
      0.000263821217f,
      8.15511521e-05f,
      2.21431819e-05f,
      7.53229779e-06f,
      0.0f,
      0.0f,
      0.0f,
      -0.398522198f,
      -0.39240092f,
      -0.374193341f,
      -0.345265567f,
      -0.307589322f,
      -0.263635844f,
      -0.216133058f,
      -0.167811915f,
      -0.12117368f,
      -0.0783046409f,
      -0.0407556929f,
      -0.00949279312f,
      0.0150866769f,
      0.0330849998f,
      0.0450008474f,
      0.0516104735f}}};

// v[i] = function(v[i]); step by step for all i, which hides latencies.
template <class O, int kCount>
OCTET_FORCE_INLINE void curve_values(const Curve& curve, typename O::F (&v)[kCount]) {
  typename O::F a[kCount], g[kCount];
  typename O::Index segment[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) a[i] = O::min_abs(v[i], O::set(curve.limit));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) segment[i] = O::index(O::add(a[i], O::set(curve.magic)));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) g[i] = O::lookup(curve.coefficients[2], segment[i]);
#pragma GCC unroll 4
  for (int c = 1; c >= 0; --c)
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) g[i] = O::fma(g[i], a[i], O::lookup(curve.coefficients[c], segment[i]));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) v[i] = O::sub(O::max(O::set(0.0f), v[i]), g[i]);
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
