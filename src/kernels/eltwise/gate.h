// Multiplication of a tensor of bytes by one value per channel and image (squeeze-and-excite), over the
// vectors `S` of simd/vector_*.h. With b known, (a - a_zero) * (b - b_zero) is an integer below 2^16 in
// magnitude, so that one fma of floats makes it exactly. Channels are the outer loop: their factors stay in
// registers. Internal linkage.
#pragma once

#include "kernels/eltwise/eltwise.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {
namespace {

template <class S>
struct EltwiseGate {
  using F = typename S::F;
  using I = typename S::I;
  static constexpr int n = S::kFloats;
  static constexpr int64_t kStep = 4 * n;        // channels of a vector of bytes
  static constexpr int64_t kMostEntries = 2048;  // of a row's arrays

  // Where pixels have no gaps, as many form one row as make whole vectors.
  static int64_t pixels_per_row(const EltwiseCall& call) {
    if (call.a_stride != call.channels || call.out_stride != call.channels) return 1;
    for (int64_t m = 1; m <= 8; m *= 2)
      if (m * call.channels % kStep == 0 && m * call.channels <= kMostEntries) return m;
    return 1;
  }

  // Rows that are mostly one vector are left to others.
  static bool takes(const EltwiseCall& call) {
    const int64_t row = call.channels * pixels_per_row(call);
    return call.op == EltwiseOp::kMul && call.broadcast == Broadcast::kImage && !call.float_output &&
           call.epilogue.function == Function::kNone && row <= kMostEntries &&
           (row % kStep == 0 || row > 2 * kStep);
  }

  alignas(64) float factor[kMostEntries + kStep], offset[kMostEntries + kStep], scale[kMostEntries + kStep],
      bias[kMostEntries + kStep];

  // The arrays for one image; entries behind the last are anything.
  void load(const EltwiseCall& call, const uint8_t* b, int64_t pixels) {
    for (int64_t p = 0; p < pixels; ++p) {  // a pixel overwrites what the one before wrote too far
      for (int64_t c = 0; c < call.channels; c += n) {
        const int64_t to = p * call.channels + c;
        const F f = S::to_float(S::sub_int(S::widen(b + c), S::load_int(call.b_zero + c)));
        S::store(factor + to, f);
        S::store(offset + to, S::sub(S::set(0.0f), S::mul(S::to_float(S::load_int(call.a_zero + c)), f)));
        S::store(scale + to, S::load(call.epilogue.scale + c));
        S::store(bias + to, S::load(call.epilogue.bias + c));
      }
    }
  }

  // `rows` rows of `length` elements.
  void run(const EltwiseCall& call, const uint8_t* a, uint8_t* out, int64_t rows, int64_t length,
           int64_t a_step, int64_t out_step) const {
    const F high = S::set(call.epilogue.high);
    const auto low = S::set_bytes(call.epilogue.low);
    for (int64_t c = 0; c < length; c += kStep) {
      const int64_t rest = length - c;
      F f[4], o[4], s[4], t[4];
      for (int i = 0; i < 4; ++i) {
        f[i] = S::load(factor + c + i * n);
        o[i] = S::load(offset + c + i * n);
        s[i] = S::load(scale + c + i * n);
        t[i] = S::load(bias + c + i * n);
      }
      const uint8_t* from = a + c;
      uint8_t* to = out + c;
      for (int64_t r = 0; r < rows; ++r, from += a_step, to += out_step) {
        I v[4];
        for (int i = 0; i < 4; ++i) {
          const F product = S::fma(S::to_float(S::widen(from + i * n)), f[i], o[i]);
          v[i] = S::round(S::fma(product, s[i], t[i]), high);
        }
        const auto bytes = S::max_bytes(S::pack(v[0], v[1], v[2], v[3]), low);
        if (rest >= S::kBytes)
          S::store_bytes(to, bytes);
        else
          S::store_bytes_some(to, bytes, rest);
      }
    }
  }
};

}  // namespace
}  // namespace octet::kernels
