// Conversion without a change of layout: rows of elements, over the vectors `S` of simd/vector_*.h. Internal
// linkage.
#pragma once

#include "kernels/convert/convert.h"
#include "kernels/simd/function_body.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {
namespace {

// Parameters of quantization for S::kFloats channels.
template <class S>
struct QuantizeParameters {
  typename S::F scale, offset, low, high;
  typename S::I zero;

  // Channel c for all lanes, or channels from c.
  template <bool kVary>
  OCTET_FORCE_INLINE QuantizeParameters load(const ConvertCall& call, int64_t c) {
    QuantizeParameters p;
    if constexpr (kVary) {
      p.scale = S::load(call.scale + c);
      p.offset = S::load(call.offset + c);
      p.zero = S::load_int(call.zero_point + c);
    } else {
      p.scale = S::set(call.scale[c]);
      p.offset = S::set(call.offset[c]);
      p.zero = S::set_int(call.zero_point[c]);
    }
    p.low = S::to_float(S::sub_int(S::set_int(call.low), p.zero));
    p.high = S::to_float(S::sub_int(S::set_int(call.high), p.zero));
    return p;
  }

  __attribute__((always_inline)) typename S::I quantize(typename S::F x) const {
    return S::add_int(S::round(S::max(S::div(S::add(x, offset), scale), low), high), zero);
  }
};

// One row of `count` elements whose parameters begin at channel k: a different one for each element if kVary.
template <class S, bool kVary>
struct ConvertRow {
  using B = typename S::B;
  using I = typename S::I;
  static constexpr int n = S::kFloats;

  OCTET_FORCE_INLINE void quantize(const ConvertCall& call, const float* in, uint8_t* out, int64_t count,
                                   int64_t k) {
    using P = QuantizeParameters<S>;
    const B flip = S::set_bytes(call.flip_sign ? 0x80 : 0);
    const P uniform = P::template load<false>(call, k);
    const auto value = [&](int64_t c, int64_t valid) __attribute__((always_inline)) {
      const auto x = valid >= n ? S::load(in + c) : S::load_some(in + c, valid);
      if constexpr (kVary) return P::template load<true>(call, k + c).quantize(x);
      return uniform.quantize(x);
    };
    int64_t c = 0;
    for (; c + S::kBytes <= count; c += S::kBytes) {
      const B v = S::pack(value(c, n), value(c + n, n), value(c + 2 * n, n), value(c + 3 * n, n));
      S::store_bytes(out + c, S::xor_bytes(v, flip));
    }
    const int64_t rest = count - c;
    if (rest == 0) return;
    I q[4] = {S::zero_int(), S::zero_int(), S::zero_int(), S::zero_int()};
    for (int i = 0; i < 4; ++i)
      if (rest > i * n) q[i] = value(c + i * n, rest - i * n);
    S::store_bytes_some(out + c, S::xor_bytes(S::pack(q[0], q[1], q[2], q[3]), flip), rest);
  }

  OCTET_FORCE_INLINE void dequantize(const ConvertCall& call, const uint8_t* in, float* out, int64_t count,
                                     int64_t k, bool exact) {
    const I zero = S::set_int(call.zero_point[k]), flip = S::set_int(call.flip_sign ? 0x80 : 0);
    const auto scale = S::set(call.scale[k]);
    const auto value = [&](I q, int64_t c) __attribute__((always_inline)) {
      q = S::xor_bytes(q, flip);
      if constexpr (kVary)
        return S::mul(S::to_float(S::sub_int(q, S::load_int(call.zero_point + k + c))),
                      S::load(call.scale + k + c));
      return S::mul(S::to_float(S::sub_int(q, zero)), scale);
    };
    int64_t c = 0;
    for (; c + n <= count; c += n) S::store(out + c, value(S::widen(in + c), c));
    if (c == count) return;
    uint8_t last[16] = {};
    const uint8_t* from = in + c;
    if (exact) {
      for (int64_t i = 0; i < count - c; ++i) last[i] = in[c + i];
      from = last;
    }
    S::store_some(out + c, value(S::widen(from), c), count - c);
  }

  OCTET_FORCE_INLINE void copy8(const ConvertCall& call, const uint8_t* in, uint8_t* out, int64_t count,
                                bool exact) {
    const B flip = S::set_bytes(call.flip_sign ? 0x80 : 0);
    int64_t c = 0;
    for (; c + S::kBytes <= count; c += S::kBytes)
      S::store_bytes(out + c, S::xor_bytes(S::load_bytes(in + c), flip));
    if (c == count) return;
    const B v = exact ? S::load_bytes_some(in + c, count - c) : S::load_bytes(in + c);
    S::store_bytes_some(out + c, S::xor_bytes(v, flip), count - c);
  }

  OCTET_FORCE_INLINE void copy32(const float* in, float* out, int64_t count) {
    int64_t c = 0;
    for (; c + n <= count; c += n) S::store(out + c, S::load(in + c));
    if (c < count) S::store_some(out + c, S::load_some(in + c, count - c), count - c);
  }

  // `from` and `to` count elements. `exact`: nothing behind the row may be read.
  static void run(const ConvertCall& call, int64_t from, int64_t to, int64_t count, int64_t k, bool exact) {
    switch (call.op) {
      case ConvertOp::kQuantize:
        return quantize(call, static_cast<const float*>(call.input) + from,
                        static_cast<uint8_t*>(call.output) + to, count, k);
      case ConvertOp::kDequantize:
        return dequantize(call, static_cast<const uint8_t*>(call.input) + from,
                          static_cast<float*>(call.output) + to, count, k, exact);
      case ConvertOp::kCopy8:
        return copy8(call, static_cast<const uint8_t*>(call.input) + from,
                     static_cast<uint8_t*>(call.output) + to, count, exact);
      case ConvertOp::kCopy32:
        return copy32(static_cast<const float*>(call.input) + from, static_cast<float*>(call.output) + to,
                      count);
    }
  }
};

}  // namespace
}  // namespace octet::kernels
