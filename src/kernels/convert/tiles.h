// Conversion from plain to NHWC and back: tiles that are transposed in registers, over the vectors `S` of
// simd/vector_*.h. Internal linkage.
#pragma once

#include "kernels/convert/rows.h"
#include "kernels/simd/transpose.h"

namespace octet::kernels {
namespace {

// Pixels of a tile.
constexpr int64_t kTile = 16;

template <class S>
struct ConvertTiles {
  using I = typename S::I;

  // Whether pixels become four bytes without gaps: an image with three channels.
  static bool four_bytes(const ConvertCall& call) {
    return call.in_layout == Layout::kPlain && call.out_layout == Layout::kNhwc && call.out_stride == 4 &&
           larger(call.channels, call.fill) == 4 &&
           (call.op == ConvertOp::kCopy8 || call.op == ConvertOp::kQuantize);
  }

  // Whole tiles, from pixel `first` of one image on. Returns the first pixel that is left.
  template <bool kQuantize>
  static int64_t run_four_bytes(const ConvertCall& call, int64_t image, int64_t first, int64_t last) {
    using P = QuantizeParameters<S>;
    constexpr int kSize = kQuantize ? 4 : 1;
    const __m128i flip = _mm_set1_epi8(static_cast<char>(call.flip_sign ? 0x80 : 0));
    const uint8_t* plane[4];
    P p[4];
    for (int64_t k = 0; k < 4; ++k) {
      const int64_t c = smaller(k, call.channels - 1);
      plane[k] = static_cast<const uint8_t*>(call.input) + (image * call.channels + c) * call.pixels * kSize;
      if constexpr (kQuantize) p[k] = P::template load<false>(call, c);
    }
    // Planes that are missing become zero.
    const auto keep = [&](int64_t k) { return _mm_set1_epi8(k < call.channels ? -1 : 0); };
    const __m128i keep1 = keep(1), keep2 = keep(2), keep3 = keep(3);
    const auto bytes = [&](int k, int64_t at) __attribute__((always_inline)) {
      if constexpr (kQuantize) {
        I q[S::kParts];
        for (int i = 0; i < S::kParts; ++i)
          q[i] = p[k].quantize(S::load(reinterpret_cast<const float*>(plane[k]) + at + i * S::kFloats));
        return _mm_xor_si128(S::narrow(q), flip);
      } else {
        return _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(plane[k] + at)), flip);
      }
    };
    auto* out = static_cast<uint8_t*>(call.output) + image * call.pixels * 4;
    for (; first + kTile <= last; first += kTile) {
      const __m128i a = bytes(0, first), b = _mm_and_si128(bytes(1, first), keep1);
      const __m128i c = _mm_and_si128(bytes(2, first), keep2);
      const __m128i d = call.channels > 3 ? bytes(3, first) : keep3;
      const __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
      const __m128i ab_high = _mm_unpackhi_epi8(a, b), cd_high = _mm_unpackhi_epi8(c, d);
      auto* to = reinterpret_cast<__m128i*>(out + first * 4);
      _mm_storeu_si128(to, _mm_unpacklo_epi16(ab, cd));
      _mm_storeu_si128(to + 1, _mm_unpackhi_epi16(ab, cd));
      _mm_storeu_si128(to + 2, _mm_unpacklo_epi16(ab_high, cd_high));
      _mm_storeu_si128(to + 3, _mm_unpackhi_epi16(ab_high, cd_high));
    }
    return first;
  }

  // Pixels [first, last) of one image; first is a multiple of a tile.
  static void run(const ConvertCall& call, int64_t image, int64_t first, int64_t last) {
    if (four_bytes(call))
      first = call.op == ConvertOp::kQuantize ? run_four_bytes<true>(call, image, first, last)
                                              : run_four_bytes<false>(call, image, first, last);
    if (call.op == ConvertOp::kCopy32 && call.out_layout == Layout::kPlain)
      return copy32(call, image, first, last);
    for (; first < last; first += kTile) {
      if (call.op == ConvertOp::kCopy32)
        copy32(call, image, first, smaller(last, first + kTile));
      else if (call.out_layout == Layout::kNhwc)
        call.op == ConvertOp::kDequantize ? dequantize_to_nhwc(call, image, first)
                                          : plain_to_nhwc8(call, image, first);
      else
        call.op == ConvertOp::kQuantize ? quantize_to_plain(call, image, first)
                                        : nhwc_to_plain8(call, image, first);
    }
  }

  // Up to 16 pixels from `first` (of one image), all channels.
  static void plain_to_nhwc8(const ConvertCall& call, int64_t image, int64_t first) {
    const int64_t count = smaller(kTile, call.pixels - first), written = larger(call.channels, call.fill);
    uint8_t* out = static_cast<uint8_t*>(call.output) + (image * call.pixels + first) * call.out_stride;
    const __m128i flip = _mm_set1_epi8(static_cast<char>(call.flip_sign ? 0x80 : 0));
    const auto plane = [&](int64_t c) __attribute__((always_inline)) {
      const int64_t at = (image * call.channels + c) * call.pixels + first;
      if (call.op == ConvertOp::kCopy8)
        return _mm_xor_si128(S::load16_some(static_cast<const uint8_t*>(call.input) + at, count), flip);
      const auto p = QuantizeParameters<S>::template load<false>(call, c);
      const float* in = static_cast<const float*>(call.input) + at;
      I q[S::kParts];
      for (int i = 0; i < S::kParts; ++i) {
        const int64_t valid = count - i * S::kFloats;
        q[i] = p.quantize(valid >= S::kFloats ? S::load(in + i * S::kFloats)
                                              : S::load_some(in + i * S::kFloats, larger(0, valid)));
      }
      return _mm_xor_si128(S::narrow(q), flip);
    };
    const __m128i none = _mm_setzero_si128();
    for (int64_t c = 0; c < written; c += 16) {
      __m128i r[16];
      for (int64_t i = 0; i < 16; ++i) r[i] = c + i < call.channels ? plane(c + i) : none;
      transpose_16x16(r);
      for (int64_t i = 0; i < count; ++i) S::store16_some(out + i * call.out_stride + c, r[i], written - c);
    }
  }

  static void nhwc_to_plain8(const ConvertCall& call, int64_t image, int64_t first) {
    const int64_t count = smaller(kTile, call.pixels - first);
    const uint8_t* in =
        static_cast<const uint8_t*>(call.input) + (image * call.pixels + first) * call.in_stride;
    const __m128i flip = _mm_set1_epi8(static_cast<char>(call.flip_sign ? 0x80 : 0));
    for (int64_t c = 0; c < call.channels; c += 16) {
      __m128i r[16];
      for (int64_t i = 0; i < 16; ++i)
        r[i] = i < count ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i * call.in_stride + c))
                         : _mm_setzero_si128();
      transpose_16x16(r);
      const int64_t planes = smaller(16, call.channels - c);
      for (int64_t i = 0; i < planes; ++i) {
        const int64_t at = (image * call.channels + c + i) * call.pixels + first;
        const __m128i v = _mm_xor_si128(r[i], flip);
        if (call.op == ConvertOp::kCopy8) {
          S::store16_some(static_cast<uint8_t*>(call.output) + at, v, count);
          continue;
        }
        const I zero = S::set_int(call.zero_point[c + i]);
        const auto scale = S::set(call.scale[c + i]);
        float* out = static_cast<float*>(call.output) + at;
        for (int part = 0; part < S::kParts; ++part) {
          const int64_t valid = count - part * S::kFloats;
          if (valid <= 0) break;
          const auto x = S::mul(S::to_float(S::sub_int(S::widen_part(v, part), zero)), scale);
          if (valid >= S::kFloats)
            S::store(out + part * S::kFloats, x);
          else
            S::store_some(out + part * S::kFloats, x, valid);
        }
      }
    }
  }

  // The two rare directions: a tile of channels goes through the stack.
  static void quantize_to_plain(const ConvertCall& c, int64_t image, int64_t first) {
    const int64_t count = smaller(kTile, c.pixels - first);
    uint8_t tile[kTile * 64 + 64];
    for (int64_t k = 0; k < c.channels; k += 64) {
      const int64_t planes = smaller(64, c.channels - k);
      const float* in = static_cast<const float*>(c.input) + (image * c.pixels + first) * c.in_stride + k;
      for (int64_t p = 0; p < count; ++p)
        ConvertRow<S, true>::quantize(c, in + p * c.in_stride, tile + p * 64, planes, k);
      auto* out = static_cast<uint8_t*>(c.output) + (image * c.channels + k) * c.pixels + first;
      for (int64_t i = 0; i < planes; ++i)
        for (int64_t p = 0; p < count; ++p) out[i * c.pixels + p] = tile[p * 64 + i];
    }
  }

  static void dequantize_to_nhwc(const ConvertCall& c, int64_t image, int64_t first) {
    const int64_t count = smaller(kTile, c.pixels - first);
    float tile[kTile];
    auto* out = static_cast<float*>(c.output) + (image * c.pixels + first) * c.out_stride;
    for (int64_t k = 0; k < c.channels; ++k) {
      const uint8_t* in = static_cast<const uint8_t*>(c.input) + (image * c.channels + k) * c.pixels + first;
      ConvertRow<S, false>::dequantize(c, in, tile, count, k, true);
      for (int64_t p = 0; p < count; ++p) out[p * c.out_stride + k] = tile[p];
    }
  }

  OCTET_FORCE_INLINE __m256i mask8(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  // `rows` rows of `columns` floats, both at most 8.
  OCTET_FORCE_INLINE void transpose32(const float* in, int64_t in_step, float* out, int64_t out_step,
                                      int64_t rows, int64_t columns) {
    __m256 r[8];
    if (rows >= 8 && columns >= 8) {
      for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(in + i * in_step);
      transpose_8x8(r);
      for (int i = 0; i < 8; ++i) _mm256_storeu_ps(out + i * out_step, r[i]);
      return;
    }
    const __m256i load = mask8(columns), store = mask8(rows);
    for (int i = 0; i < 8; ++i)
      r[i] = i < rows ? _mm256_maskload_ps(in + i * in_step, load) : _mm256_setzero_ps();
    transpose_8x8(r);
    for (int i = 0; i < 8; ++i)
      if (i < columns) _mm256_maskstore_ps(out + i * out_step, store, r[i]);
  }

  // Too few channels for a transpose in registers.
  static void interleave32(const ConvertCall& call, int64_t image, int64_t first, int64_t last) {
    const auto* in = static_cast<const uint32_t*>(call.input) + image * call.channels * call.pixels;
    auto* out = static_cast<uint32_t*>(call.output) + image * call.pixels * call.out_stride;
    for (int64_t c = 0; c < call.channels; ++c)
      for (int64_t p = first; p < last; ++p) out[p * call.out_stride + c] = in[c * call.pixels + p];
  }

  // To planes, `last - first` should be large: whole cache lines of one plane after the other.
  static void copy32(const ConvertCall& call, int64_t image, int64_t first, int64_t last) {
    const bool to_nhwc = call.out_layout == Layout::kNhwc;
    const int64_t stride = to_nhwc ? call.out_stride : call.in_stride;
    const int64_t plane = call.out_plane_stride > 0 ? call.out_plane_stride : call.pixels;
    if (to_nhwc && call.channels < 8) return interleave32(call, image, first, last);
    for (int64_t c = 0; c < call.channels; c += 8) {
      for (int64_t p = first; p < last; p += 8) {
        const int64_t plain = (image * call.channels + c) * plane + p;
        const int64_t nhwc = (image * call.pixels + p) * stride + c;
        const int64_t planes = smaller(8, call.channels - c), pixels = smaller(8, last - p);
        const auto* in = static_cast<const float*>(call.input);
        auto* out = static_cast<float*>(call.output);
        if (to_nhwc)
          transpose32(in + plain, plane, out + nhwc, stride, planes, pixels);
        else
          transpose32(in + nhwc, stride, out + plain, plane, pixels, planes);
      }
    }
  }
};

}  // namespace
}  // namespace octet::kernels
