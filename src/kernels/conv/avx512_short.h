// Tiles of eight, nine or twelve vectors of sums, with the epilogue behind the multiplications of each. An
// AVX-512 core multiplies, converts and permutes in different units: with so few sums a tile's epilogue is
// still under way when the next tile's multiplications begin, so both run side by side. Larger tiles load
// less, but their two phases follow each other. Two multiplications a cycle that take five each need ten sums
// under way; one a cycle is busy with eight. Internal linkage; only for files compiled for this instruction
// set.
#pragma once

#include <cstdint>

#include "kernels/conv/avx512_epilogue.h"

namespace octet::kernels {
namespace {

struct ShortArgs {
  // Run r of pixel p: pointers[r] + p * input_stride where neighbouring pixels are `input_stride` bytes
  // apart, else, with 0 in its place, pointers[r * pointer_stride + p]; `offset` bytes behind that.
  const uint8_t* const* pointers;
  int64_t input_stride, pointer_stride;
  int64_t offset;
  int64_t runs, run_bytes;
  const int8_t* weights;
  int64_t block_bytes;
  const Channels* channels;
  Target target;  // bounded
  int64_t pixels;
};

// Pixels of a tile with B blocks of 16 output channels: of eight or nine sums, and of twelve.
template <int B>
constexpr int kShortPixels = B == 3 ? 3 : 8 / B;
template <int B>
constexpr int kWidePixels = 12 / B;

// One run of K: `bytes` from x[p] on.
template <int P, int B, class Input>
inline __attribute__((always_inline)) void short_run(const Input& x, int64_t bytes, const int8_t* w,
                                                     int64_t block_bytes, __m512i (&acc)[P][B]) {
#pragma GCC unroll 1
  for (int64_t k = 0; k < bytes; k += 4, w += 64) {
    asm("" : "+r"(k));  // GCC steps each pointer by itself otherwise
    __m512i weights[B];
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) {
      weights[j] = _mm512_load_si512(w + j * block_bytes);
      asm("" : "+v"(weights[j]));  // GCC loads them again for every pixel otherwise
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      int32_t dword;
      std::memcpy(&dword, x(p) + k, 4);
      const __m512i inputs = _mm512_set1_epi32(dword);
#pragma GCC unroll 4
      for (int j = 0; j < B; ++j) dot(acc[p][j], inputs, weights[j]);
    }
  }
}

// The dword at x + n * stride, n from 0 to 3, in every lane. In assembly: GCC keeps such addresses in vector
// registers otherwise, whose units have enough to do.
inline __attribute__((always_inline)) __m512i broadcast_step(const uint8_t* x, int64_t stride,
                                                             int64_t stride3, int n) {
  __m512i v;
  const auto& read = *reinterpret_cast<const uint8_t(*)[1 << 30]>(x);  // of unknown size
  switch (n) {  // NOLINT(bugprone-branch-clone): the assembly differs
    case 0:
      asm("vpbroadcastd (%1), %0" : "=v"(v) : "r"(x), "m"(read));
      break;
    case 1:
      asm("vpbroadcastd (%1,%2), %0" : "=v"(v) : "r"(x), "r"(stride), "m"(read));
      break;
    case 2:
      asm("vpbroadcastd (%1,%2,2), %0" : "=v"(v) : "r"(x), "r"(stride), "m"(read));
      break;
    default:
      asm("vpbroadcastd (%1,%2), %0" : "=v"(v) : "r"(x), "r"(stride3), "m"(read));
  }
  return v;
}

// The same for pixels `stride` bytes apart. The tiles of eight or nine sums are assembly, for GCC moves their
// sums between registers.
template <int P, int B>
inline __attribute__((always_inline)) void short_run_steps(const uint8_t* x, int64_t stride, int64_t bytes,
                                                           const int8_t* w, int64_t block_bytes,
                                                           __m512i (&acc)[P][B]) {
#define OCTET_LOOP(body) "1:\n\t" body "add $4, %[x]\n\tadd $64, %[w]\n\tsub $4, %[n]\n\tjg 1b"
#define OCTET_WEIGHTS(at, reg) "vmovdqa64 " at ", %%zmm" reg "\n\t"
#define OCTET_INPUT(at) "vpbroadcastd " at ", %%zmm28\n\t"
#define OCTET_DOT(reg, to) "vpdpbusd %%zmm" reg ", %%zmm28, %[" to "]\n\t"
#define OCTET_CLOBBERS "zmm27", "zmm28", "zmm29", "zmm30", "zmm31", "cc", "memory"
  if constexpr (P == 8 && B == 1) {
    const uint8_t* far = x + 4 * stride;
    asm(OCTET_LOOP(OCTET_WEIGHTS("(%[w])", "31")                       //
                   OCTET_INPUT("(%[x])") OCTET_DOT("31", "a0")         //
                   OCTET_INPUT("(%[x],%[s])") OCTET_DOT("31", "a1")    //
                   OCTET_INPUT("(%[x],%[s],2)") OCTET_DOT("31", "a2")  //
                   OCTET_INPUT("(%[x],%[t])") OCTET_DOT("31", "a3")    //
                   OCTET_INPUT("(%[y])") OCTET_DOT("31", "a4")         //
                   OCTET_INPUT("(%[y],%[s])") OCTET_DOT("31", "a5")    //
                   OCTET_INPUT("(%[y],%[s],2)") OCTET_DOT("31", "a6")  //
                   OCTET_INPUT("(%[y],%[t])") OCTET_DOT("31", "a7")    //
                   "add $4, %[y]\n\t")
        : [a0] "+v"(acc[0][0]), [a1] "+v"(acc[1][0]), [a2] "+v"(acc[2][0]), [a3] "+v"(acc[3][0]),
          [a4] "+v"(acc[4][0]), [a5] "+v"(acc[5][0]), [a6] "+v"(acc[6][0]), [a7] "+v"(acc[7][0]), [x] "+r"(x),
          [y] "+r"(far), [w] "+r"(w), [n] "+r"(bytes)
        : [s] "r"(stride), [t] "r"(3 * stride)
        : OCTET_CLOBBERS);
  } else if constexpr (P == 4 && B == 2) {
    asm(OCTET_LOOP(OCTET_WEIGHTS("(%[w])", "31") OCTET_WEIGHTS("(%[w],%[b])", "30")          //
                   OCTET_INPUT("(%[x])") OCTET_DOT("31", "a0") OCTET_DOT("30", "b0")         //
                   OCTET_INPUT("(%[x],%[s])") OCTET_DOT("31", "a1") OCTET_DOT("30", "b1")    //
                   OCTET_INPUT("(%[x],%[s],2)") OCTET_DOT("31", "a2") OCTET_DOT("30", "b2")  //
                   OCTET_INPUT("(%[x],%[t])") OCTET_DOT("31", "a3") OCTET_DOT("30", "b3"))
        : [a0] "+v"(acc[0][0]), [b0] "+v"(acc[0][1]), [a1] "+v"(acc[1][0]), [b1] "+v"(acc[1][1]),
          [a2] "+v"(acc[2][0]), [b2] "+v"(acc[2][1]), [a3] "+v"(acc[3][0]), [b3] "+v"(acc[3][1]), [x] "+r"(x),
          [w] "+r"(w), [n] "+r"(bytes)
        : [s] "r"(stride), [t] "r"(3 * stride), [b] "r"(block_bytes)
        : OCTET_CLOBBERS);
  } else if constexpr (P == 3 && B == 3) {
    asm(OCTET_LOOP(OCTET_WEIGHTS("(%[w])", "31") OCTET_WEIGHTS("(%[w],%[b])", "30")
                       OCTET_WEIGHTS("(%[w],%[b],2)", "29")  //
                   OCTET_INPUT("(%[x])") OCTET_DOT("31", "a0") OCTET_DOT("30", "b0") OCTET_DOT("29", "c0")
                       OCTET_INPUT("(%[x],%[s])") OCTET_DOT("31", "a1") OCTET_DOT("30", "b1")
                           OCTET_DOT("29", "c1") OCTET_INPUT("(%[x],%[s],2)") OCTET_DOT("31", "a2")
                               OCTET_DOT("30", "b2") OCTET_DOT("29", "c2"))
        : [a0] "+v"(acc[0][0]), [b0] "+v"(acc[0][1]), [c0] "+v"(acc[0][2]), [a1] "+v"(acc[1][0]),
          [b1] "+v"(acc[1][1]), [c1] "+v"(acc[1][2]), [a2] "+v"(acc[2][0]), [b2] "+v"(acc[2][1]),
          [c2] "+v"(acc[2][2]), [x] "+r"(x), [w] "+r"(w), [n] "+r"(bytes)
        : [s] "r"(stride), [b] "r"(block_bytes)
        : OCTET_CLOBBERS);
  } else if constexpr (P == 2 && B == 4) {
    const int8_t* w3 = w + 3 * block_bytes;
    asm(OCTET_LOOP(OCTET_WEIGHTS("(%[w])", "31") OCTET_WEIGHTS("(%[w],%[b])", "30")
                       OCTET_WEIGHTS("(%[w],%[b],2)", "29") OCTET_WEIGHTS("(%[v])", "27")  //
                   OCTET_INPUT("(%[x])") OCTET_DOT("31", "a0") OCTET_DOT("30", "b0") OCTET_DOT("29", "c0")
                       OCTET_DOT("27", "d0") OCTET_INPUT("(%[x],%[s])") OCTET_DOT("31", "a1") OCTET_DOT(
                           "30", "b1") OCTET_DOT("29", "c1") OCTET_DOT("27", "d1") "add $64, %[v]\n\t")
        : [a0] "+v"(acc[0][0]), [b0] "+v"(acc[0][1]), [c0] "+v"(acc[0][2]), [d0] "+v"(acc[0][3]),
          [a1] "+v"(acc[1][0]), [b1] "+v"(acc[1][1]), [c1] "+v"(acc[1][2]), [d1] "+v"(acc[1][3]), [x] "+r"(x),
          [w] "+r"(w), [v] "+r"(w3), [n] "+r"(bytes)
        : [s] "r"(stride), [b] "r"(block_bytes)
        : OCTET_CLOBBERS);
  } else {
    const int64_t stride3 = 3 * stride;
    const uint8_t* bases[(P + 3) / 4];
#pragma GCC unroll 4
    for (int i = 0; i < (P + 3) / 4; ++i) bases[i] = x + 4 * i * stride;
#pragma GCC unroll 1
    for (; bytes > 0; bytes -= 4, w += 64) {
      asm("" : "+r"(bytes));  // GCC compares with an end on the stack otherwise
      __m512i weights[B];
#pragma GCC unroll 4
      for (int j = 0; j < B; ++j) {
        weights[j] = _mm512_load_si512(w + j * block_bytes);
        asm("" : "+v"(weights[j]));
      }
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const __m512i inputs = broadcast_step(bases[p / 4], stride, stride3, p % 4);
#pragma GCC unroll 4
        for (int j = 0; j < B; ++j) dot(acc[p][j], inputs, weights[j]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < (P + 3) / 4; ++i) {
        bases[i] += 4;
        asm("" : "+r"(bases[i]));
      }
    }
  }
#undef OCTET_LOOP
#undef OCTET_WEIGHTS
#undef OCTET_INPUT
#undef OCTET_DOT
#undef OCTET_CLOBBERS
}

// The sums of P pixels, the first of which is `pixel`.
template <bool kSteps, int P, int B>
inline __attribute__((always_inline)) void short_sums(const ShortArgs& a, int64_t pixel, int64_t pixel_bytes,
                                                      __m512i (&acc)[P][B]) {
#pragma GCC unroll 4
  for (int j = 0; j < B; ++j) {
    const __m512i init = _mm512_load_si512(a.channels->init + 16 * j);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) acc[p][j] = init;
  }
  const int8_t* w = a.weights;
  const uint8_t* const* pointers = kSteps ? a.pointers : a.pointers + pixel;
  for (int64_t run = a.runs; run > 0; --run, w += a.run_bytes * 16) {
    if constexpr (kSteps) {
      short_run_steps<P, B>(*pointers++ + pixel_bytes, a.input_stride, a.run_bytes, w, a.block_bytes, acc);
    } else {
      const uint8_t* x[P];
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) x[p] = pointers[p] + a.offset;
      short_run<P, B>(
          [&](int p) __attribute__((always_inline)) { return x[p]; }, a.run_bytes, w, a.block_bytes, acc);
      pointers += a.pointer_stride;
    }
  }
}

// Scales and biases of a tile, in registers where those suffice: loads are what binds such a tile.
template <bool kHeld, int B>
class ShortScales {
 public:
  explicit ShortScales(const Channels& c) : channels_(c) {
    if constexpr (kHeld) {
#pragma GCC unroll 4
      for (int j = 0; j < B; ++j) {
        scale_[j] = _mm512_load_ps(c.scale + 16 * j);
        bias_[j] = _mm512_load_ps(c.bias + 16 * j);
        asm("" : "+v"(scale_[j]), "+v"(bias_[j]));
      }
    }
  }
  inline __attribute__((always_inline)) __m512 scale(int j) const {
    return kHeld ? scale_[j] : _mm512_load_ps(channels_.scale + 16 * j);
  }
  inline __attribute__((always_inline)) __m512 bias(int j) const {
    return kHeld ? bias_[j] : _mm512_load_ps(channels_.bias + 16 * j);
  }

 private:
  const Channels& channels_;
  __m512 scale_[B], bias_[B];
};

// The epilogue of kStep<B> vectors at a time, as in finish_bytes.
template <Function F, int P, int B, bool kResidual>
inline __attribute__((always_inline)) uint8_t* short_finish(
    const Epilogue& e, const Channels& c, const ShortScales<F == Function::kNone, B>& scales, const Target& t,
    const __m512i (&acc)[P][B], uint8_t* out, const uint8_t* residual, __m512i low, __m512i high) {
  constexpr int kVectors = P * B < kStep<B> ? P * B : kStep<B>;
#pragma GCC unroll 16
  for (int i = 0; i < P * B; i += kVectors) {
    __m512 v[kVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n)
      v[n] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[(i + n) / B][(i + n) % B]), scales.scale(n % B),
                             scales.bias(n % B));
    if constexpr (F != Function::kNone) {
      evaluate_byte_functions(F, e.alpha, e.beta, v);
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n)
        v[n] = _mm512_fmadd_ps(v[n], _mm512_load_ps(c.out_scale + n % B * 16),
                               _mm512_load_ps(c.out_zero + n % B * 16));
    }
    if constexpr (kResidual) {
#pragma GCC unroll 4
      for (int n = 0; n < kVectors; ++n)
        v[n] = _mm512_fmadd_ps(load_residual(residual + (i + n) / B * t.residual_stride + n % B * 16),
                               _mm512_load_ps(c.residual_scale + n % B * 16), v[n]);
    }
    __m512i rounded[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                          _mm512_setzero_si512()};
#pragma GCC unroll 4
    for (int n = 0; n < kVectors; ++n) rounded[n] = _mm512_cvtps_epi32(v[n]);
    out = store_group<B>(t, out, rounded, kVectors / B, low, high);
  }
  return out;
}

template <Function F, int B, bool kResidual, bool kSteps>
__attribute__((noinline)) void short_tiles(const Epilogue& epilogue, const ShortArgs& args) {
  constexpr int P = kShortPixels<B>;
  const Epilogue e = epilogue;
  const ShortArgs a = args;
  const Target& t = a.target;
  const __m512i low = _mm512_set1_epi8(static_cast<char>(t.low)),
                high = _mm512_set1_epi8(static_cast<char>(t.high));
  const ShortScales<F == Function::kNone, B> scales(*a.channels);
  uint8_t* out = t.bytes;
  int64_t at = a.offset;
  const uint8_t* residual = t.residual;
  int64_t p = 0;
  for (; p + P <= a.pixels; p += P) {
    __m512i acc[P][B];
    short_sums<kSteps, P, B>(a, p, at, acc);
    out = short_finish<F, P, B, kResidual>(e, *a.channels, scales, t, acc, out, residual, low, high);
    at += P * a.input_stride;
    if constexpr (kResidual) residual += P * t.residual_stride;
  }
  for (; p < a.pixels; ++p) {
    __m512i acc[1][B];
    short_sums<kSteps, 1, B>(a, p, at, acc);
    out = short_finish<F, 1, B, kResidual>(e, *a.channels, scales, t, acc, out, residual, low, high);
    at += a.input_stride;
    if constexpr (kResidual) residual += t.residual_stride;
  }
}

// Tiles of twelve sums, then the pixels that are left in those of eight.
template <int B, bool kResidual, bool kSteps>
__attribute__((noinline)) void wide_tiles(const Epilogue& epilogue, const ShortArgs& args) {
  constexpr int P = kWidePixels<B>;
  const Epilogue e = epilogue;
  ShortArgs a = args;
  Target& t = a.target;
  const __m512i low = _mm512_set1_epi8(static_cast<char>(t.low)),
                high = _mm512_set1_epi8(static_cast<char>(t.high));
  const ShortScales<true, B> scales(*a.channels);
  for (; a.pixels >= P; a.pixels -= P) {
    __m512i acc[P][B];
    short_sums<kSteps, P, B>(a, 0, a.offset, acc);
    t.bytes = short_finish<Function::kNone, P, B, kResidual>(e, *a.channels, scales, t, acc, t.bytes,
                                                             t.residual, low, high);
    a.offset += P * a.input_stride;
    if constexpr (!kSteps) a.pointers += P;
    if constexpr (kResidual) t.residual += P * t.residual_stride;
  }
  if (a.pixels > 0) short_tiles<Function::kNone, B, kResidual, kSteps>(e, a);
}

// kWide: tiles of twelve sums, for epilogues without a function. (Where a pointer leads to each pixel, those
// of twelve pixels find no registers.)
template <Function F, bool kWide, int B, bool kResidual, bool kSteps>
void short_tiles(const Epilogue& e, const ShortArgs& a) {
  if constexpr (kWide && (kSteps || B > 1))
    wide_tiles<B, kResidual, kSteps>(e, a);
  else
    short_tiles<F, B, kResidual, kSteps>(e, a);
}

template <Function F, bool kWide, bool kResidual, bool kSteps>
void short_tiles(const Epilogue& e, const ShortArgs& a, int blocks) {
  if (blocks == 4) return short_tiles<F, kWide, 4, kResidual, kSteps>(e, a);
  if (blocks == 3) return short_tiles<F, kWide, 3, kResidual, kSteps>(e, a);
  if (blocks == 2) return short_tiles<F, kWide, 2, kResidual, kSteps>(e, a);
  short_tiles<F, kWide, 1, kResidual, kSteps>(e, a);
}

template <Function F, bool kWide = false>
void short_tiles(const Epilogue& e, const ShortArgs& a, int blocks) {
  const bool residual = a.target.residual != nullptr, steps = a.input_stride > 0;
  if (residual)
    steps ? short_tiles<F, kWide, true, true>(e, a, blocks)
          : short_tiles<F, kWide, true, false>(e, a, blocks);
  else
    steps ? short_tiles<F, kWide, false, true>(e, a, blocks)
          : short_tiles<F, kWide, false, false>(e, a, blocks);
}

constexpr bool has_short_tiles(Function f) {
  return f == Function::kNone || f == Function::kSilu || f == Function::kHardSwish;
}

// `wide`: tiles of twelve sums where the epilogue has no function.
inline void run_short_tiles(const Epilogue& e, const ShortArgs& a, int blocks, bool wide) {
  if (e.function == Function::kSilu) return short_tiles<Function::kSilu>(e, a, blocks);
  if (e.function == Function::kHardSwish) return short_tiles<Function::kHardSwish>(e, a, blocks);
  wide ? short_tiles<Function::kNone, true>(e, a, blocks) : short_tiles<Function::kNone>(e, a, blocks);
}

}  // namespace
}  // namespace octet::kernels
