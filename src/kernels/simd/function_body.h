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
// results that are rounded to 8 bits SiLU and GELU have cheaper forms: 2.5e-5 and 6e-6 absolute.
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

// The part of SiLU and GELU that is not max(0, x): f(x) = max(0, x) - g(|x|), in 16 segments of third degree.
// Segments are equally long in |x| up to 1 / step, and twice as long from there to 3 / step; beyond `limit` g
// is what it is there, nearly 0. Minimax fits of our own.
struct Curve {
  float step, limit;
  alignas(64) float coefficients[4][16];  // of |x|^0 to |x|^3, by the four bits that segment() finds
};
alignas(64) constexpr Curve kSiluCurve = {
    0.22f,
    13.6f,
    {{0.653541923f, 0.487468213f, 0.309710562f, 0.17723614f, 0.0941106677f, 0.0472055972f, 0.0226341709f,
      0.0105813509f, 0.0f, -0.00410914188f, 0.0060216072f, 0.0975213125f, 0.279924005f, 0.480754852f,
      0.62679565f, 0.689934075f},
     {-0.269944161f, -0.182283789f, -0.10353379f, -0.0531735085f, -0.0255249571f, -0.0116622327f,
      -0.00512920879f, -0.00221599592f, 0.500629246f, 0.522907495f, 0.500327528f, 0.341569304f, 0.100071318f,
      -0.113815524f, -0.243843794f, -0.292359203f},
     {0.0388804898f, 0.0234325267f, 0.0117901256f, 0.00540338783f, 0.00233607041f, 0.000969704939f,
      0.00039048132f, 0.000155697096f, -0.256871283f, -0.299020618f, -0.28270334f, -0.190500498f,
      -0.0836462155f, -0.00759195304f, 0.0310400166f, 0.0434737802f},
     {-0.0019389661f, -0.00103009364f, -0.000455719273f, -0.000185511803f, -7.20139797e-05f, -2.71011413e-05f,
      -9.97642837e-06f, -3.66720087e-06f, 0.0215163436f, 0.0491666757f, 0.0453957021f, 0.0274693128f,
      0.011669457f, 0.00264061359f, -0.00118928193f, -0.00225207722f}}};
alignas(64) constexpr Curve kGeluCurve = {
    0.6f,
    4.95f,
    {{0.349069864f, 0.557658672f, 0.576998293f, 0.423621088f, 0.231762454f, 0.0973559543f, 0.0320295319f,
      0.0090263309f, 0.0f, -0.000481975818f, -0.00296928757f, -0.00656267256f, -0.00390424184f, 0.0184339695f,
      0.073888801f, 0.167333096f},
     {-0.174324244f, -0.479751229f, -0.506640315f, -0.349701583f, -0.176355943f, -0.0680659264f,
      -0.020617554f, -0.00539494818f, 0.500107944f, 0.506651759f, 0.524552882f, 0.542272449f, 0.533511221f,
      0.470046103f, 0.337597936f, 0.145605892f},
     {-0.0107088694f, 0.138580248f, 0.150831491f, 0.0972634479f, 0.0450242423f, 0.0159275196f, 0.00443559f,
      0.00107684708f, -0.402100086f, -0.432947248f, -0.476344347f, -0.505587339f, -0.496022373f,
      -0.435832173f, -0.330268115f, -0.198667675f},
     {0.0109886834f, -0.0133684138f, -0.0152045321f, -0.00910506863f, -0.00385422283f, -0.00124696887f,
      -0.000318857463f, -7.17713483e-05f, 0.0263100062f, 0.0769476518f, 0.112378791f, 0.128525406f,
      0.125070512f, 0.106014132f, 0.0779368803f, 0.0478431769f}}};
alignas(64) constexpr Curve kGeluTanhCurve = {
    0.6f,
    4.95f,
    {{0.343622863f, 0.555389285f, 0.588430345f, 0.438338131f, 0.233417317f, 0.0882166326f, 0.0232646503f,
      0.00461720023f, 0.0f, -0.000482974836f, -0.00295838038f, -0.00645685988f, -0.00357248541f,
      0.0188899003f, 0.0737476125f, 0.165355682f},
     {-0.164708495f, -0.474399298f, -0.517769575f, -0.364460111f, -0.179407641f, -0.0623863302f,
      -0.0151553284f, -0.00279278262f, 0.500108421f, 0.506667614f, 0.524490714f, 0.541763783f, 0.53218776f,
      0.46834591f, 0.33730191f, 0.149069384f},
     {-0.0158792716f, 0.135309145f, 0.15417552f, 0.101938948f, 0.0462004505f, 0.0147485808f, 0.00329623884f,
      0.000563661044f, -0.402114749f, -0.433044016f, -0.476270556f, -0.504810512f, -0.494263798f,
      -0.433692932f, -0.329230309f, -0.200197697f},
     {0.0118385907f, -0.0127991866f, -0.0155212563f, -0.0095840795f, -0.00398438098f, -0.00116528885f,
      -0.000239334069f, -3.79571102e-05f, 0.0264349282f, 0.0772236437f, 0.11253047f, 0.128306568f,
      0.124456353f, 0.105271891f, 0.0774828419f, 0.0479742363f}}};

template <class O>
OCTET_FORCE_INLINE typename O::F curve_value(const Curve& curve, typename O::F x) {
  const auto a = O::min(O::abs(x), O::set(curve.limit));
  const auto segment = O::segment(O::fma(a, O::set(curve.step), O::set(1.0f)));
  auto g = O::lookup(curve.coefficients[3], segment);
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
