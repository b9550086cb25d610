// Convolution over 256-bit vectors: register tiles of output pixels x 16 output channels. Internal linkage:
// the file of each instruction set has its own copy, with dot products of its own.
//
// A dot product `D` has the pixels of its largest tile, D::kPixels; the sets of sums among which the steps of
// K take turns where those of P pixels would wait for each other, D::kSets<P>; what becomes of a dword of
// inputs and of a vector of weights before they meet, D::inputs() and D::weights(); D::add(), which adds
// their products to a vector of sums; and whether the weights have been clipped, D::kClipped: then there is
// D::add_excess(), too.
#pragma once

#include <array>
#include <cstring>
#include <utility>

#include "kernels/conv/avx2_clip.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/plan.h"
#include "kernels/conv/taps.h"
#include "kernels/simd/function_avx2.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {

namespace {

constexpr int kMostPixels = 6;
constexpr int64_t kLargestPixels = 4;  // fewer do not repay the search for their largest inputs,
constexpr int64_t kClipPixels = 12;    // nor the clipping of the weights
constexpr ConvTiles kTiles = {1, {kMostPixels, 0, 0, 0}};

// The per-channel arrays of a block, copied so that every load is aligned and inside of its array.
struct alignas(64) Channels {
  int32_t init[16];
  float scale[16], bias[16], out_scale[16], out_zero[16], residual_scale[16];
};

// Where a tile's results go.
struct Target {
  uint8_t* bytes;  // output of the first pixel and channel
  int64_t stride;  // elements
  const uint8_t* residual;
  int64_t residual_stride;
  int64_t width;  // channels that exist
  float high;     // of bytes
  int8_t low;     // its bits are those of an unsigned byte
};

void store_bytes(uint8_t* out, __m128i bytes, int64_t count) {
  if (count >= 16) return _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
  alignas(16) uint8_t buffer[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(buffer), bytes);
  for (int64_t i = 0; i < count; ++i) out[i] = buffer[i];
}

// 16 channels of a pixel as int16, in the order of _mm256_packs_epi32. Beyond `high`, they are `high`;
// packing them to bytes clips the rest (and makes NaN 0).
OCTET_FORCE_INLINE __m256i round_pixel(const __m256 (&v)[2], __m256 high) {
  return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_min_ps(high, v[0])),
                            _mm256_cvtps_epi32(_mm256_min_ps(high, v[1])));
}

// Stores the bytes of `Count` pixels, 1 or 2, from `pixel` on, which are `v` without the residual.
template <bool kResidual, int kCount>
OCTET_FORCE_INLINE void store_pixels(const Channels& c, const Target& t, int64_t pixel,
                                     __m256 (&v)[kCount][2]) {
  const __m256 high = _mm256_set1_ps(t.high);
  __m256i words[2];
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) {
    if constexpr (kResidual) {
      const auto* r = reinterpret_cast<const __m128i*>(t.residual + (pixel + i) * t.residual_stride);
      const __m128i bytes = _mm_loadu_si128(r);
      const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
      const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes)));
      v[i][0] = _mm256_fmadd_ps(first, _mm256_load_ps(c.residual_scale), v[i][0]);
      v[i][1] = _mm256_fmadd_ps(second, _mm256_load_ps(c.residual_scale + 8), v[i][1]);
    }
    words[i] = round_pixel(v[i], high);
  }
  // Dwords of both pixels: 0 and 4 are the first channels of the first.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i bytes = _mm256_packus_epi16(words[0], words[kCount - 1]);
  bytes = _mm256_permutevar8x32_epi32(_mm256_max_epu8(bytes, _mm256_set1_epi8(t.low)), order);
  store_bytes(t.bytes + pixel * t.stride, _mm256_castsi256_si128(bytes), t.width);
  if (kCount > 1) store_bytes(t.bytes + (pixel + 1) * t.stride, _mm256_extracti128_si256(bytes, 1), t.width);
}

// Those of P pixels, whose sums are `acc`.
template <bool kResidual, int P>
OCTET_FORCE_INLINE void store_sums(const Channels& c, const Target& t, const __m256i (&acc)[P][2]) {
  const auto scaled = [&](int p, __m256(&v)[2]) __attribute__((always_inline)) {
    v[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[p][0]), _mm256_load_ps(c.scale), _mm256_load_ps(c.bias));
    v[1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[p][1]), _mm256_load_ps(c.scale + 8),
                           _mm256_load_ps(c.bias + 8));
  };
#pragma GCC unroll 8
  for (int p = 0; p + 1 < P; p += 2) {
    __m256 v[2][2];
    scaled(p, v[0]);
    scaled(p + 1, v[1]);
    store_pixels<kResidual, 2>(c, t, p, v);
  }
  if constexpr (P % 2 == 1) {
    __m256 v[1][2];
    scaled(P - 1, v[0]);
    store_pixels<kResidual, 1>(c, t, P - 1, v);
  }
}

struct TileArgs {
  const uint8_t* const* pointers;  // of the first pixel in the first run
  int64_t pointer_stride;
  const uint8_t* silent;  // runs of nothing else are skipped
  int64_t runs, run_bytes;
  int64_t offset;  // of the group's first channel
  const __m256i* weights;
  const Excess* excess;  // null, or of both halves of the block
  const Channels* channels;
  Target target;
  int32_t* accumulators;  // [pixels][16], or null: the tile stores bytes
};

inline __attribute__((always_inline)) __m256i broadcast(const uint8_t* p) {
  int32_t dword;
  std::memcpy(&dword, p, 4);
  return _mm256_set1_epi32(dword);
}

template <class D, int P>
__attribute__((noinline)) void tile(const TileArgs& a) {
  constexpr int kSets = D::template kSets<P>;
  __m256i acc[kSets][P][2];
  const auto* init = reinterpret_cast<const __m256i*>(a.channels->init);
#pragma GCC unroll 8
  for (int s = 0; s < kSets; ++s)
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      acc[s][p][0] = s == 0 ? _mm256_load_si256(init) : _mm256_setzero_si256();
      acc[s][p][1] = s == 0 ? _mm256_load_si256(init + 1) : _mm256_setzero_si256();
    }
  const __m256i* w = a.weights;
  const int64_t first = a.offset, last = a.offset + a.run_bytes;
  const uint8_t* const* pointers = a.pointers;
  for (int64_t run = a.runs; run > 0; --run, pointers += a.pointer_stride) {
    if (a.silent != nullptr && all_padding(pointers, P, a.silent)) {
      w += a.run_bytes / 2;
      continue;
    }
    const uint8_t* x[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) x[p] = pointers[p];
    const auto step = [&](int64_t k, __m256i(&sums)[P][2]) __attribute__((always_inline)) {
      const auto w0 = D::weights(_mm256_load_si256(w)), w1 = D::weights(_mm256_load_si256(w + 1));
      w += 2;
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const auto inputs = D::inputs(broadcast(x[p] + k));
        D::add(sums[p][0], inputs, w0);
        D::add(sums[p][1], inputs, w1);
      }
    };
    int64_t k = first;
    if constexpr (kSets > 1) {
#pragma GCC unroll 1
      for (; k + 4 * kSets <= last; k += 4 * kSets)
#pragma GCC unroll 8
        for (int s = 0; s < kSets; ++s) step(k + 4 * s, acc[s]);
    }
#pragma GCC unroll 1
    for (; k < last; k += 4) step(k, acc[0]);
    if constexpr (D::kClipped) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const Excess& e = a.excess[h];
        const int64_t index = a.runs - run;
        const int64_t end = e.ends[index];
#pragma GCC unroll 1
        for (int64_t i = index == 0 ? 0 : e.ends[index - 1]; i < end; ++i) {
          const __m256i excess = _mm256_load_si256(e.values + i);
#pragma GCC unroll 8
          for (int p = 0; p < P; ++p) D::add_excess(acc[0][p][h], broadcast(x[p] + e.offsets[i]), excess);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int s = 1; s < kSets; ++s)
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      acc[0][p][0] = _mm256_add_epi32(acc[0][p][0], acc[s][p][0]);
      acc[0][p][1] = _mm256_add_epi32(acc[0][p][1], acc[s][p][1]);
    }
  if (a.accumulators == nullptr) {
    const Channels& c = *a.channels;
    const Target t = a.target;  // a copy, which the stores of bytes cannot change
    if (t.residual == nullptr)
      store_sums<false, P>(c, t, acc[0]);
    else
      store_sums<true, P>(c, t, acc[0]);
    return;
  }
  auto* out = reinterpret_cast<__m256i*>(a.accumulators);
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    _mm256_store_si256(out + 2 * p, acc[0][p][0]);
    _mm256_store_si256(out + 2 * p + 1, acc[0][p][1]);
  }
}

using TileFunction = void (*)(const TileArgs&);

template <class D, size_t... P>
constexpr std::array<TileFunction, kMostPixels + 1> tile_row(std::index_sequence<P...>) {
  return {nullptr, tile<D, static_cast<int>(P) + 1>...};
}

template <class D>
constexpr auto kTileTable = tile_row<D>(std::make_index_sequence<D::kPixels>());

void load_channels(const ConvCall& call, int64_t channel, int64_t width, Channels& c) {
  const Epilogue& e = call.epilogue;
  const auto copy = [&](const auto* from, auto* to) {
    if (from != nullptr) std::memcpy(to, from + channel, static_cast<size_t>(width) * sizeof(*to));
  };
  std::memset(&c, 0, sizeof c);
  copy(call.acc_init, c.init);
  copy(e.scale, c.scale);
  copy(e.bias, c.bias);
  copy(e.out_scale, c.out_scale);
  copy(e.out_zero, c.out_zero);
  copy(e.residual_scale, c.residual_scale);
}

void store_floats(float* out, __m256 v, int64_t count) {
  if (count >= 8) return _mm256_storeu_ps(out, v);
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(out, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane), v);
}

template <Function F>
void finish_function(const ConvCall& call, const Channels& c, const Target& t, const int32_t* accumulators,
                     int64_t pixels) {
  const Epilogue& e = call.epilogue;
  for (int64_t p = 0; p < pixels; ++p, accumulators += 16) {
    __m256 pixel[1][2];
    __m256(&v)[2] = pixel[0];
    for (int h = 0; h < 2; ++h) {
      const int i = 8 * h;
      v[h] = _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(accumulators + i)));
      v[h] = _mm256_fmadd_ps(v[h], _mm256_load_ps(c.scale + i), _mm256_load_ps(c.bias + i));
    }
    if (call.float_output) {
      evaluate_functions(F, e.alpha, e.beta, v);
      float* out = reinterpret_cast<float*>(t.bytes) + p * t.stride;
      store_floats(out, v[0], t.width);
      if (t.width > 8) store_floats(out + 8, v[1], t.width - 8);
      continue;
    }
    evaluate_byte_functions(F, e.alpha, e.beta, v);
    if constexpr (F != Function::kNone)
      for (int h = 0; h < 2; ++h)
        v[h] = _mm256_fmadd_ps(v[h], _mm256_load_ps(c.out_scale + 8 * h), _mm256_load_ps(c.out_zero + 8 * h));
    if (t.residual == nullptr)
      store_pixels<false>(c, t, p, pixel);
    else
      store_pixels<true>(c, t, p, pixel);
  }
}

void finish_tile(const ConvCall& call, const Channels& c, const Target& t, const int32_t* accumulators,
                 int64_t pixels) {
  switch (call.epilogue.function) {
#define OCTET_CASE(name) \
  case Function::name:   \
    return finish_function<Function::name>(call, c, t, accumulators, pixels);
    OCTET_CASE(kNone)
    OCTET_CASE(kLeakyRelu)
    OCTET_CASE(kSigmoid)
    OCTET_CASE(kSilu)
    OCTET_CASE(kHardSigmoid)
    OCTET_CASE(kHardSwish)
    OCTET_CASE(kGelu)
    OCTET_CASE(kGeluTanh)
    OCTET_CASE(kTanh)
    OCTET_CASE(kRelu)
    OCTET_CASE(kClip)
#undef OCTET_CASE
  }
}

// All pixels of a block for one block of output channels.
template <class D>
void run_block(const ConvCall& call, const ConvPlan& plan, const Taps& taps, int64_t group, int64_t block,
               int64_t pixel, int64_t count, const __m256i* weights, const Excess* excess) {
  const PackedConv& packed = plan.packed;
  const int64_t left = packed.out_c - block * 16;
  const int64_t channel = group * packed.out_c + block * 16;
  alignas(64) int32_t accumulators[kMostPixels * 16];
  TileArgs a{};
  Target& target = a.target;
  target.stride = call.out_pixel_stride;
  target.residual_stride = call.residual_pixel_stride;
  target.width = left < 16 ? left : 16;
  target.low = static_cast<int8_t>(call.epilogue.low);
  target.high = call.epilogue.high;
  Channels channels;
  load_channels(call, channel, target.width, channels);
  a.pointer_stride = plan.block_pixels;
  a.silent = taps.silent;
  a.runs = plan.runs;
  a.run_bytes = plan.run_bytes;
  a.offset = group * packed.in_c;
  a.weights = weights;
  a.excess = excess;
  a.channels = &channels;
  const bool plain = call.epilogue.function == Function::kNone && !call.float_output;
  a.accumulators = plain ? nullptr : accumulators;

  const int64_t tiles = (count + D::kPixels - 1) / D::kPixels;
  const int64_t element = call.float_output ? 4 : 1;
  for (int64_t i = 0, p = 0; i < tiles; ++i) {
    const int64_t n = count / tiles + (i < count % tiles ? 1 : 0);
    a.pointers = taps.pointers + p;
    target.bytes =
        static_cast<uint8_t*>(call.output) + ((pixel + p) * call.out_pixel_stride + channel) * element;
    if (call.epilogue.residual_scale != nullptr)
      target.residual = call.residual + (pixel + p) * call.residual_pixel_stride + channel;
    kTileTable<D>[static_cast<size_t>(n)](a);
    if (!plain) finish_tile(call, channels, target, accumulators, n);
    p += n;
  }
}

int64_t pieces(const ConvCall& call) {
  return plan_conv(call, kTiles).pieces;
}

PixelRange pixels(const ConvCall& call, int64_t piece) {
  return piece_pixels(plan_conv(call, kTiles), piece);
}

// Where clipped weights begin in a thread's scratch memory.
int64_t clipped_offset(const ConvPlan& plan) {
  return round_up(plan.scratch_bytes, 64);
}

template <class Clipped>
int64_t scratch_bytes(const ConvCall& call) {
  const ConvPlan plan = plan_conv(call, kTiles);
  const bool clips = Clipped::kClipped && plan.pixels >= kLargestPixels;
  return clips ? clipped_offset(plan) + clipped_bytes(plan) : plan.scratch_bytes;
}

// `Proven` serves the blocks whose pairs of products cannot leave int16 (a flag of the packing, or the
// largest inputs say so), `Clipped` others with many pixels and `Any` the rest.
template <class Proven, class Clipped, class Any>
void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept {
  const ConvPlan plan = plan_conv(call, kTiles);
  const Taps taps = start_taps(call, plan, scratch);
  int64_t filled = -1;    // first pixel of the block whose pointers are in `taps`
  int64_t searched = -1;  // group whose largest inputs of this block are in `clipped`
  ClippedWeights clipped{};
  if constexpr (Clipped::kClipped) clipped = place_clipped(plan, scratch + clipped_offset(plan));
  for (int64_t index = begin; index < end; ++index) {
    const ConvPiece piece = conv_piece(plan, index);
    for (int64_t pixel = piece.first_pixel; pixel < piece.last_pixel; pixel += plan.block_pixels) {
      const int64_t left = piece.last_pixel - pixel;
      const int64_t count = left < plan.block_pixels ? left : plan.block_pixels;
      if (pixel != filled) {
        fill_taps(call, plan, taps, pixel, count);
        filled = pixel;
        searched = -1;
      }
      for (int64_t t = piece.first_tile; t < piece.last_tile; ++t) {
        const int64_t group = t / plan.tiles, block = t % plan.tiles;
        const auto* weights = reinterpret_cast<const __m256i*>(call.weights + t * plan.packed.block_bytes);
        bool proven = call.weights[plan.packed.flags_offset + t] != std::byte{0};
        if (Clipped::kClipped && !proven && count >= kLargestPixels) {
          const int64_t offset = group * plan.packed.in_c;
          if (group != searched) find_largest(call, plan, taps.pointers, pixel, count, offset, clipped);
          searched = group;
          proven = !may_saturate(plan, clipped.largest, weights);
          if (!proven && count >= kClipPixels) {
            clip_weights(plan, offset, weights, clipped);
            run_block<Clipped>(call, plan, taps, group, block, pixel, count, clipped.weights, clipped.excess);
            continue;
          }
        }
        if (proven)
          run_block<Proven>(call, plan, taps, group, block, pixel, count, weights, nullptr);
        else
          run_block<Any>(call, plan, taps, group, block, pixel, count, weights, nullptr);
      }
    }
  }
}

}  // namespace

}  // namespace octet::kernels
