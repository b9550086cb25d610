// The vector kernel, over the vectors `S` of simd/vector_*.h. Internal linkage: each instruction set's file
// has its own copy.
#pragma once

#include "kernels/eltwise/eltwise.h"
#include "kernels/eltwise/gate.h"
#include "kernels/eltwise/pieces.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {
namespace {

// The operand of a row that depends on the channel alone. Vector number i of a row uses entries from `step` *
// i modulo `period`.
struct EltwiseArrays {
  const float *scale, *b_scale, *bias, *out_scale, *out_zero;
  const int32_t *a_zero, *b_zero;
  const uint8_t* b;  // kImage
  int64_t step = 0;
  int64_t period = INT64_MAX;
};

// Pixels without gaps are one row whose arrays repeat; these hold one period and what a vector reads beyond
// its end.
struct EltwisePeriod {
  static constexpr int64_t kLongest = 256;
  alignas(64) float scale[kLongest + 16], b_scale[kLongest + 16], bias[kLongest + 16];
  float out_scale[kLongest + 16], out_zero[kLongest + 16];
  int32_t a_zero[kLongest + 16], b_zero[kLongest + 16];
  uint8_t b[kLongest + 16];

  template <class T>
  static void repeat(const T* from, T* to, int64_t channels) {
    if (from == nullptr) return;
    for (int64_t i = 0; i < channels; ++i) to[i] = from[i];
    for (int64_t i = channels; i < channels + 16; ++i) to[i] = to[i - channels];
  }
};

template <class S, EltwiseOp kOp, Broadcast kBroadcast, bool kFunction, bool kFloat>
struct EltwiseBody {
  using F = typename S::F;
  using I = typename S::I;
  static constexpr int n = S::kFloats;

  const EltwiseCall& call;
  const Epilogue& e;

  struct Factors {
    F scale, b_scale, bias;
    I a_zero, b_zero;  // kMul
  };

  __attribute__((always_inline)) static Factors factors(const EltwiseArrays& t, int64_t k) {
    Factors f;
    f.scale = S::load(t.scale + k);
    f.bias = S::load(t.bias + k);
    if constexpr (kOp == EltwiseOp::kAdd) {
      f.b_scale = S::load(t.b_scale + k);
    } else {
      f.a_zero = S::load_int(t.a_zero + k);
      f.b_zero = S::load_int(t.b_zero + k);
    }
    return f;
  }

  // Before the function: channels [c, c + n) of a row whose entries of the arrays begin at k.
  __attribute__((always_inline)) F sum(const EltwiseArrays& t, const Factors& f, const uint8_t* a,
                                       const uint8_t* b, int64_t c, int64_t k) const {
    const I x = S::widen(a + c);
    I y;
    if constexpr (kBroadcast == Broadcast::kPixel)
      y = S::set_int(*b);
    else if constexpr (kBroadcast == Broadcast::kImage)
      y = S::widen(t.b + k);
    else
      y = S::widen(b + c);
    if constexpr (kOp == EltwiseOp::kAdd)
      return S::fma(S::to_float(x), f.scale, S::fma(S::to_float(y), f.b_scale, f.bias));
    else
      return S::fma(S::to_float(S::mul_int(S::sub_int(x, f.a_zero), S::sub_int(y, f.b_zero))), f.scale,
                    f.bias);
  }

  // `count` elements; writes exactly those. kUniform: all vectors use the first entries of the arrays.
  template <bool kUniform>
  __attribute__((always_inline)) void row(const EltwiseArrays& t, const uint8_t* a, const uint8_t* b,
                                          void* output, int64_t count) const {
    const F high = S::set(e.high);
    const auto low = S::set_bytes(e.low);
    const Factors uniform = factors(t, 0);
    const auto value = [&](const uint8_t* x, const uint8_t* y, int64_t c, int64_t k)
        __attribute__((always_inline)) {
      return sum(t, kUniform ? uniform : factors(t, k), x, y, c, k);
    };
    int64_t k = 0;
    for (int64_t c = 0; c < count; c += 4 * n) {
      const int64_t rest = count - c;
      F v[4];
      int64_t at[4];
      for (int i = 0; i < 4; ++i) {
        at[i] = k;
        if constexpr (!kUniform) k += t.step;
        if (k >= t.period) k -= t.period;
      }
      if (rest > 3 * n) {
        for (int i = 0; i < 4; ++i) v[i] = value(a, b, c + i * n, at[i]);
      } else {
        v[0] = value(a, b, c, at[0]);
        v[1] = rest > n ? value(a, b, c + n, at[1]) : v[0];
        v[2] = rest > 2 * n ? value(a, b, c + 2 * n, at[2]) : v[0];
        v[3] = v[0];
      }
      if constexpr (kFunction) {
        if constexpr (kFloat) {
          evaluate_functions(e.function, e.alpha, e.beta, v);
        } else {
          evaluate_byte_functions(e.function, e.alpha, e.beta, v);
          for (int i = 0; i < 4; ++i)
            v[i] = S::fma(v[i], S::load(t.out_scale + at[i]), S::load(t.out_zero + at[i]));
        }
      }
      if constexpr (kFloat) {
        auto* out = static_cast<float*>(output) + c;
        for (int i = 0; i < 4; ++i) {
          if (rest >= (i + 1) * n)
            S::store(out + i * n, v[i]);
          else if (rest > i * n)
            S::store_some(out + i * n, v[i], rest - i * n);
        }
      } else {
        auto* out = static_cast<uint8_t*>(output) + c;
        const auto bytes = S::max_bytes(
            S::pack(S::round(v[0], high), S::round(v[1], high), S::round(v[2], high), S::round(v[3], high)),
            low);
        if (rest >= S::kBytes)
          S::store_bytes(out, bytes);
        else
          S::store_bytes_some(out, bytes, rest);
      }
    }
  }

  EltwiseArrays arrays() const {
    return {e.scale, call.b_scale, e.bias, e.out_scale, e.out_zero, call.a_zero, call.b_zero, nullptr, n};
  }

  bool periodic() const {
    return call.channels <= EltwisePeriod::kLongest && call.a_stride == call.channels &&
           call.out_stride == call.channels &&
           (kBroadcast == Broadcast::kImage ||
            (kBroadcast == Broadcast::kNone && call.b_stride == call.channels));
  }

  // Pixels [first, last), in rows of whole images (kImage) or one row.
  void run_periodic(int64_t first, int64_t last) const {
    EltwisePeriod p;
    EltwisePeriod::repeat(e.scale, p.scale, call.channels);
    EltwisePeriod::repeat(call.b_scale, p.b_scale, call.channels);
    EltwisePeriod::repeat(e.bias, p.bias, call.channels);
    EltwisePeriod::repeat(e.out_scale, p.out_scale, call.channels);
    EltwisePeriod::repeat(e.out_zero, p.out_zero, call.channels);
    if constexpr (kOp == EltwiseOp::kMul) {
      EltwisePeriod::repeat(call.a_zero, p.a_zero, call.channels);
      EltwisePeriod::repeat(call.b_zero, p.b_zero, call.channels);
    }
    const EltwiseArrays t = {p.scale,  p.b_scale, p.bias, p.out_scale,       p.out_zero,
                             p.a_zero, p.b_zero,  p.b,    n % call.channels, call.channels};
    while (first < last) {
      int64_t stop = last;
      if (kBroadcast == Broadcast::kImage) {
        const int64_t image = first / call.pixels;
        stop = smaller(last, (image + 1) * call.pixels);
        EltwisePeriod::repeat(call.b + image * call.b_stride, p.b, call.channels);
      }
      row<false>(t, call.a + first * call.channels, call.b + first * call.b_stride,
                 output(first * call.channels), (stop - first) * call.channels);
      first = stop;
    }
  }

  void* output(int64_t element) const {
    return static_cast<uint8_t*>(call.output) + element * (kFloat ? 4 : 1);
  }

  // Pixels [first, last), those that make no whole row one by one.
  void run_gate(int64_t first, int64_t last) const {
    EltwiseGate<S> gate;
    EltwiseArrays t = arrays();
    const int64_t pixels = EltwiseGate<S>::pixels_per_row(call);
    while (first < last) {
      const int64_t image = first / call.pixels, stop = smaller(last, (image + 1) * call.pixels);
      const int64_t rows = (stop - first) / pixels;
      const uint8_t* b = call.b + image * call.b_stride;
      gate.load(call, b, pixels);
      gate.run(call, call.a + first * call.a_stride, static_cast<uint8_t*>(output(first * call.out_stride)),
               rows, pixels * call.channels, pixels * call.a_stride, pixels * call.out_stride);
      t.b = b;
      for (first += rows * pixels; first < stop; ++first)
        row<false>(t, call.a + first * call.a_stride, b, output(first * call.out_stride), call.channels);
    }
  }

  static void run(const EltwiseCall& call, int64_t begin, int64_t end) noexcept {
    const EltwiseBody body{call, call.epilogue};
    const int64_t rows = call.images * call.pixels;
    if (eltwise_flat(call)) {
      const int64_t first = begin * kPieceElements;
      const int64_t last = smaller(rows * call.channels, end * kPieceElements);
      body.template row<true>(body.arrays(), call.a + first, call.b + first, body.output(first),
                              last - first);
      return;
    }
    const int64_t step = eltwise_rows_per_piece(call), last = smaller(rows, end * step);
    if constexpr (kOp == EltwiseOp::kMul && kBroadcast == Broadcast::kImage && !kFunction && !kFloat)
      if (EltwiseGate<S>::takes(call)) return body.run_gate(begin * step, last);
    if (body.periodic()) return body.run_periodic(begin * step, last);
    EltwiseArrays t = body.arrays();
    for (int64_t p = begin * step; p < last; ++p) {
      const uint8_t* b = call.b + (kBroadcast == Broadcast::kImage ? p / call.pixels : p) * call.b_stride;
      t.b = b;
      body.template row<false>(t, call.a + p * call.a_stride, b, body.output(p * call.out_stride),
                               call.channels);
    }
  }
};

template <class S, EltwiseOp kOp, Broadcast kBroadcast>
void eltwise_run_op(const EltwiseCall& call, int64_t begin, int64_t end) noexcept {
  const bool function = call.epilogue.function != Function::kNone;
  if (function && call.float_output)
    return EltwiseBody<S, kOp, kBroadcast, true, true>::run(call, begin, end);
  if (function) return EltwiseBody<S, kOp, kBroadcast, true, false>::run(call, begin, end);
  if (call.float_output) return EltwiseBody<S, kOp, kBroadcast, false, true>::run(call, begin, end);
  return EltwiseBody<S, kOp, kBroadcast, false, false>::run(call, begin, end);
}

template <class S, EltwiseOp kOp>
void eltwise_run_broadcast(const EltwiseCall& call, int64_t begin, int64_t end) noexcept {
  switch (call.broadcast) {
    case Broadcast::kNone:
      return eltwise_run_op<S, kOp, Broadcast::kNone>(call, begin, end);
    case Broadcast::kImage:
      return eltwise_run_op<S, kOp, Broadcast::kImage>(call, begin, end);
    case Broadcast::kPixel:
      return eltwise_run_op<S, kOp, Broadcast::kPixel>(call, begin, end);
  }
}

template <class S>
void eltwise_run(const EltwiseCall& call, int64_t begin, int64_t end) noexcept {
  if (call.op == EltwiseOp::kAdd) return eltwise_run_broadcast<S, EltwiseOp::kAdd>(call, begin, end);
  return eltwise_run_broadcast<S, EltwiseOp::kMul>(call, begin, end);
}

}  // namespace
}  // namespace octet::kernels
