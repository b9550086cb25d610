// The activation functions of an epilogue as one sequence of IEEE operations, written once over a set of
// operations `O` (scalar, AVX2, AVX-512), so that the bits are the same on every instruction set. Everything
// here has internal linkage: each object file that includes it keeps its own copy, compiled for its own
// instruction set.
//
// O has float type F and the static functions set, add, sub, mul, div, fma, min, max (min(a, b) = a < b ? a :
// b and max(a, b) = a > b ? a : b, so that the second operand is returned when either is NaN), abs, exponent
// (a float 2^k from the low bits of a float k + kRoundMagic), choose_negative(x, negative, other) (x < 0 ?
// negative : other; false for NaN), index (the bits of a float, an Index) and lookup(table, index) (one of 32
// floats, by the lowest five bits).
//
// NaN gives NaN. Largest errors, against the exact function: exp, sigmoid 3e-7 relative (for |x| <= 87), tanh
// 5e-7 relative, erf 3e-7 absolute, GELU 1e-6 absolute (x < 1), 4e-7 relative (x >= 1). For
// results that are rounded to 8 bits SiLU and GELU have cheaper forms: 3e-6 and 1e-6 absolute.
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

// The part of SiLU and GELU that is not max(0, x): f(x) = max(0, x) - g(|x|), in 32 segments of third degree,
// which two registers of 16 floats hold. The sum |x| * step + (2^23 - 8) passes 2^23, where the distance of
// two floats grows from 1/2 to 1: so its rounding makes 16 short segments and 16 of twice their length, whose
// numbers are the lowest five bits. Beyond `limit` g is what it is there, nearly 0. Minimax fits of our own.
constexpr float kSegmentMagic = 8388600.0f;  // 2^23 - 8
struct Curve {
  float step, limit;
  alignas(64) float coefficients[4][32];  // of |x|^0 to |x|^3
};
alignas(64) constexpr Curve kSiluCurve = {
    1.40625f,
    15.992f,
    {{0.5615962f,     0.46010163f,   0.34708276f,   0.25057077f,    0.17466152f,   0.118289135f,
      0.07819321f,    0.050628368f,  0.032197207f,  0.020156125f,   0.0124437725f, 0.0075877393f,
      0.0045755524f,  0.0027316087f, 0.0016160089f, 4.5014065e-07f, 0.0f,          -0.00021897638f,
      -0.0028395825f, -0.005657376f, 0.006345066f,  0.05231424f,    0.13966669f,   0.25844127f,
      0.38801262f,    0.5072509f,    0.60115033f,   0.66261995f,    0.691194f,     0.69067955f,
      0.666972f,      0.6264684f},
     {-0.21961816f,   -0.16948421f,    -0.11916006f,    -0.080264375f,  -0.05232956f,  -0.033244446f,
      -0.020676274f,  -0.012632666f,   -0.0076018497f,  -0.0045147347f, -0.002650611f, -0.0015404335f,
      -0.0008871698f, -0.00050680886f, -0.00028740946f, 2.813379e-08f,  0.5000127f,    0.50288516f,
      0.51763946f,    0.52797544f,     0.50009346f,     0.41461653f,    0.28079402f,   0.1263882f,
      -0.019802919f,  -0.13861209f,    -0.22238944f,    -0.2720669f,    -0.29322115f,  -0.29298952f,
      -0.27823457f,   -0.2546924f},
     {0.029697515f,   0.02143935f,    0.013966614f,   0.008739496f,   0.005311735f,   0.0031573882f,
      0.0018439189f,  0.0010613744f,  0.00060357375f, 0.0003397077f,  0.00018949769f, 0.00010488542f,
      5.7655187e-05f, 3.149958e-05f,  1.7115606e-05f, 1.7583619e-09f, -0.2505717f,    -0.2636244f,
      -0.29183862f,   -0.3044861f,    -0.28285766f,   -0.22977531f,   -0.16134436f,   -0.094369926f,
      -0.03934855f,   0.00013444568f, 0.025061099f,   0.038448356f,   0.04367004f,    0.04364399f,
      0.040582336f,   0.036020257f},
     {-0.0013803797f,  -0.0009267516f,  -0.00055670313f, -0.00032246215f, -0.00018221707f, -0.000101134414f,
      -5.536841e-05f,  -2.9986204e-05f, -1.6097358e-05f, -8.578406e-06f,  -4.5432644e-06f, -2.3934347e-06f,
      -1.2550836e-06f, -6.554945e-07f,  -3.41126e-07f,   1.0989762e-10f,  0.006449418f,    0.027636008f,
      0.045948766f,    0.05110934f,     0.04550596f,     0.034496028f,    0.022815952f,    0.01312297f,
      0.006215204f,    0.0018390407f,   -0.0006342371f,  -0.0018372072f,  -0.00226695f,    -0.002266954f,
      -0.0020551463f,  -0.001760404f}}};
alignas(64) constexpr Curve kGeluCurve = {
    4.245283f,
    5.29735f,
    {{0.37916315f,     0.493602f,      0.57900447f,    0.5956181f,     0.5460691f,     0.45125276f,
      0.33888227f,     0.23272052f,    0.14685145f,    0.08547728f,    0.04603688f,    0.023001574f,
      0.010684003f,    0.00462187f,    0.0018649828f,  2.795284e-06f,  0.0f,           -9.474362e-06f,
      -0.00017602464f, -0.0008267348f, -0.0022403572f, -0.0043384577f, -0.0064072106f, -0.0069502546f,
      -0.0037406967f,  0.0059056273f,  0.024682645f,   0.054751605f,   0.09722326f,    0.15177658f,
      0.21650031f,     0.2879969f},
     {-0.22055529f,   -0.3915897f,   -0.5070064f,    -0.52786237f,   -0.47337776f,  -0.37688285f,
      -0.2708036f,    -0.17741188f,  -0.10670538f,   -0.059212845f,  -0.030428855f, -0.01452272f,
      -0.0064520943f, -0.002673346f, -0.0010346241f, 1.8545424e-07f, 0.5000015f,    0.50037235f,
      0.50311464f,    0.5096941f,    0.51997817f,    0.5319012f,     0.5415765f,    0.54383683f,
      0.53309155f,    0.5043454f,    0.45414844f,    0.3813259f,     0.28733638f,   0.1762084f,
      0.054079764f,   -0.07156586f},
     {0.012911058f,  0.098153494f,  0.15016784f,    0.15888886f,     0.13891336f,  0.10617048f,
      0.07278285f,   0.045391563f,  0.025981152f,   0.013729109f,    0.006725912f, 0.0030643658f,
      0.0013015257f, 0.0005163096f, 0.00019159161f, -2.9528978e-08f, -0.3991438f,  -0.40415427f,
      -0.4194732f,   -0.4417963f,   -0.4668201f,    -0.4894516f,     -0.5045546f,  -0.5076832f,
      -0.49568555f,  -0.4671155f,   -0.4223645f,    -0.36355412f,    -0.29419965f, -0.21872176f,
      -0.1418885f,   -0.068272166f},
     {0.0069754454f,  -0.007191991f,  -0.015008811f,   -0.016223583f,   -0.01378179f,    -0.01007736f,
      -0.0065737367f, -0.0038953088f, -0.002118821f,   -0.001065078f,   -0.00049704034f, -0.00021604891f,
      -8.768531e-05f, -3.329156e-05f, -1.1841835e-05f, -1.7745155e-08f, 0.0068466044f,   0.030963894f,
      0.0600204f,     0.085435405f,   0.105800785f,    0.120148964f,    0.12801737f,     0.1294577f,
      0.124989964f,   0.115519755f,   0.10221512f,     0.086377725f,    0.06931359f,     0.052220903f,
      0.036104847f,   0.02172463f}}};
alignas(64) constexpr Curve kGeluTanhCurve = {
    4.245283f,
    5.29735f,
    {{0.37324068f,    0.4881058f,    0.57855064f,    0.603465f,      0.56074136f,   0.46700972f,
      0.34929582f,    0.23448822f,   0.14098975f,    0.07569629f,    0.03616075f,   0.0153108565f,
      0.005722699f,   0.0018802737f, 0.00054074073f, 3.4081964e-07f, 0.0f,          -9.517332e-06f,
      -0.0001766192f, -0.000827831f, -0.002236229f,  -0.004309841f,  -0.006316695f, -0.0067496723f,
      -0.0033978769f, 0.0063632173f, 0.025119629f,   0.05489715f,    0.09668996f,   0.15014082f,
      0.21343674f,    0.2834344f},
     {-0.2102019f,    -0.38182965f,   -0.5039629f,     -0.53488964f,   -0.4880041f,   -0.3926613f,
      -0.28156736f,   -0.18058117f,   -0.103589416f,   -0.053053908f,  -0.024189753f, -0.00978477f,
      -0.0034979112f, -0.0011006084f, -0.00030350874f, 2.2296629e-08f, 0.5000015f,    0.5003741f,
      0.50312567f,    0.5097109f,     0.5199583f,      0.53174454f,    0.54113483f,   0.5429645f,
      0.53173524f,    0.5026423f,     0.45249605f,     0.38037518f,    0.28788438f,   0.1789999f,
      0.059565052f,   -0.06344447f},
     {0.0073598986f, 0.09287631f,    0.147874f,     0.16066934f,     0.14351472f,   0.111179225f,
      0.07622257f,   0.046607196f,   0.025470534f,  0.012430862f,    0.0054055606f, 0.0020877637f,
      0.0007135497f, 0.00021494411f, 5.682509e-05f, -3.7193089e-09f, -0.39914477f,  -0.40417844f,
      -0.41955096f,  -0.44189608f,   -0.46683407f,  -0.48921034f,    -0.50387526f,  -0.50644165f,
      -0.49389467f,  -0.4649751f,    -0.4202654f,   -0.36201835f,    -0.29376715f,  -0.21981147f,
      -0.14467268f,  -0.07260199f},
     {0.007890742f,    -0.0063186316f,  -0.014577345f,   -0.016341763f,   -0.014249115f,   -0.010592641f,
      -0.006925345f,   -0.0040297634f,  -0.0020952101f,  -0.0009735035f,  -0.00040346317f, -0.00014871302f,
      -4.8575515e-05f, -1.4004841e-05f, -3.5487953e-06f, -2.1972695e-09f, 0.006880392f,    0.031110745f,
      0.060271665f,    0.085714504f,    0.106012784f,    0.12020195f,     0.12784557f,     0.12904103f,
      0.1243653f,      0.11477765f,     0.10148411f,     0.08579751f,     0.06900418f,     0.052255858f,
      0.03649517f,     0.022417104f}}};

// v[i] = function(v[i]); step by step for all i, which hides latencies.
template <class O, int kCount>
OCTET_FORCE_INLINE void curve_values(const Curve& curve, typename O::F (&v)[kCount]) {
  typename O::F a[kCount], g[kCount];
  typename O::Index segment[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) a[i] = O::min(O::abs(v[i]), O::set(curve.limit));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i)
    segment[i] = O::index(O::fma(a[i], O::set(curve.step), O::set(kSegmentMagic)));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) g[i] = O::lookup(curve.coefficients[3], segment[i]);
#pragma GCC unroll 4
  for (int c = 2; c >= 0; --c)
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
