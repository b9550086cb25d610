// Depthwise convolution over 256-bit vectors: kernel rows are taken D::kRows at a time ("steps"), which a dot
// product `D` multiplies in each dword. Internal linkage: the file of each instruction set has its own copy.
//
// Lane order: bytes of the rows of 32 channels, interleaved by unpacks, give four vectors ("groups") of 8
// dwords: dword 4l + i of group g holds all rows of byte 16l + 4g + i. packs/packus restore the order of the
// bytes. A block of at most 16 channels computes two output rows ("segments") side by side, one in each half.
//
// D has interleave(), which brings rows into that order; copy_weights(), which brings the packed weights of 4
// channels x 4 rows, from the step's first row on; and add(), which adds the products of a step to a vector
// of sums.
#pragma once

#include <utility>

#include "kernels/depthwise/kernels.h"
#include "kernels/depthwise/plan.h"
#include "kernels/simd/function_avx2.h"
#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

constexpr int64_t kBlock = 32;
constexpr int64_t kVector = 32;
constexpr int64_t kPixel = 4 * kVector;
constexpr int64_t kTile = 16;    // outputs of a row whose columns and sums are kept
constexpr int64_t kOutputs = 4;  // of them computed together

// Per-lane constants, kPixel bytes each.
enum Constant : int64_t { kInit, kScale, kBias, kOutScale, kOutZero, kResidualScale, kConstants };

struct Block {
  const ConvCall* call;
  int64_t channel, channels;  // first, and how many of each segment are written
  int64_t steps;              // of kernel rows
  // In scratch memory:
  std::byte* constants;
  std::byte* weights;  // [kernel_w][steps][4 groups][32]
  std::byte* sums;     // [kTile][4 groups][32]
  std::byte* columns;  // [columns of a tile][steps][4 groups][32]
  DepthwiseRow* rows;  // [steps * D::kRows][2 segments]
  // Of the current rows:
  int64_t segments_used;
  int64_t out_pixel[2];  // index of output pixel x = 0 in each segment
};

// body(0) ... body(3). Written out, because GCC 12 keeps arrays that are indexed in a loop in memory.
template <class Body>
OCTET_FORCE_INLINE void for_groups(const Body& body) {
  body(0);
  body(1);
  body(2);
  body(3);
}

OCTET_FORCE_INLINE __m256i load(const std::byte* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}
OCTET_FORCE_INLINE void store(std::byte* p, __m256i v) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), v);
}
OCTET_FORCE_INLINE __m256 load_constant(const Block& b, Constant which, int group) {
  return _mm256_load_ps(reinterpret_cast<const float*>(b.constants + which * kPixel + group * kVector));
}

// 32 bytes: a pixel of each segment's row, at offset[segment].
template <int kSegments>
OCTET_FORCE_INLINE __m256i load_pixel(const uint8_t* first, const uint8_t* second) {
  if constexpr (kSegments == 1) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first));
  const __m256i v = _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(first)));
  return _mm256_inserti128_si256(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(second)), 1);
}

OCTET_FORCE_INLINE void interleave_bytes(__m256i r0, __m256i r1, __m256i r2, __m256i r3, __m256i (&out)[4]) {
  const __m256i low = _mm256_unpacklo_epi8(r0, r1), high = _mm256_unpackhi_epi8(r0, r1);
  const __m256i low2 = _mm256_unpacklo_epi8(r2, r3), high2 = _mm256_unpackhi_epi8(r2, r3);
  out[0] = _mm256_unpacklo_epi16(low, low2);
  out[1] = _mm256_unpackhi_epi16(low, low2);
  out[2] = _mm256_unpacklo_epi16(high, high2);
  out[3] = _mm256_unpackhi_epi16(high, high2);
}

// Interleaves `count` input columns from `first` on. R: 0 ... D::kRows - 1; a loop over them would keep the
// arrays in memory.
template <class D, int kSegments, size_t... R>
void load_columns(const Block& b, int64_t first, int64_t count, std::index_sequence<R...>) {
  const int64_t in_w = b.call->shape.in_w, pitch = b.call->in_pixel_stride, column_bytes = b.steps * kPixel;
  const uint8_t* pad = b.call->pad_pixel + b.channel;
  for (int64_t step = 0; step < b.steps; ++step) {
    const DepthwiseRow* from = b.rows + step * D::kRows * 2;
    const DepthwiseRow rows[D::kRows][2] = {{from[2 * R], from[2 * R + 1]}...};  // by segment
    std::byte* out = b.columns + step * kPixel;
    for (int64_t column = first; column < first + count; ++column, out += column_bytes) {
      __m256i groups[4];
      if (static_cast<uint64_t>(column) < static_cast<uint64_t>(in_w)) {
        const int64_t at = column * pitch;
        const auto pixel = [&](const DepthwiseRow& row) { return row.base + (at & row.mask); };
        D::interleave({load_pixel<kSegments>(pixel(rows[R][0]), pixel(rows[R][1]))...}, groups);
      } else {
        const __m256i v = load_pixel<kSegments>(pad, pad);
        D::interleave({(static_cast<void>(R), v)...}, groups);
      }
      for_groups([&](int g) __attribute__((always_inline)) { store(out + g * kVector, groups[g]); });
    }
  }
}

// Sums of kOutputs outputs from `first` on.
template <class D>
void multiply(const Block& b, int64_t first) {
  const ConvShape& s = b.call->shape;
  const int64_t column_bytes = b.steps * kPixel, output_step = s.stride_w * column_bytes;
  for (int64_t g = 0; g < 4; g += 2) {
    const __m256i init0 = load(b.constants + kInit * kPixel + g * kVector);
    const __m256i init1 = load(b.constants + kInit * kPixel + (g + 1) * kVector);
    __m256i a0 = init0, a1 = init1, b0 = init0, b1 = init1, c0 = init0, c1 = init1, d0 = init0, d1 = init1;
    const std::byte* weights = b.weights + g * kVector;
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const std::byte* column =
          b.columns + (first * s.stride_w + kx * s.dilation_w) * column_bytes + g * kVector;
      for (int64_t step = 0; step < b.steps; ++step, column += kPixel, weights += kPixel) {
        const __m256i w0 = load(weights), w1 = load(weights + kVector);
        const auto add = [&](int64_t output, __m256i& sum0, __m256i& sum1) {
          const std::byte* u = column + output * output_step;
          D::add(sum0, load(u), w0);
          D::add(sum1, load(u + kVector), w1);
        };
        add(0, a0, a1);
        add(1, b0, b1);
        add(2, c0, c1);
        add(3, d0, d1);
      }
    }
    std::byte* out = b.sums + first * kPixel + g * kVector;
    const __m256i sums[kOutputs][2] = {{a0, a1}, {b0, b1}, {c0, c1}, {d0, d1}};
    for (int i = 0; i < kOutputs; ++i) {
      store(out + i * kPixel, sums[i][0]);
      store(out + i * kPixel + kVector, sums[i][1]);
    }
  }
}

// The same for kernels three wide whose rows take as many steps as four do: each column is loaded once for
// all outputs that need it.
template <class D, int kStride>
void multiply_3x3(const Block& b, int64_t first) {
  constexpr int kSteps = 4 / D::kRows, kLast = kSteps - 1;
  for (int64_t g = 0; g < 4; ++g) {
    const std::byte* weights = b.weights + g * kVector;
    const auto weight = [&](int kx, int step) { return load(weights + (kx * kSteps + step) * kPixel); };
    const __m256i w[3][2] = {
        {weight(0, 0), weight(0, kLast)}, {weight(1, 0), weight(1, kLast)}, {weight(2, 0), weight(2, kLast)}};
    const std::byte* columns = b.columns + first * kStride * kSteps * kPixel + g * kVector;
    __m256i s0 = load(b.constants + kInit * kPixel + g * kVector), s1 = s0, s2 = s0, s3 = s0;
    const auto add = [&]<int kX>(__m256i u0, __m256i u1, __m256i & sum) __attribute__((always_inline)) {
      if constexpr (kX >= 0 && kX < 3) {
        D::add(sum, u0, w[kX][0]);
        if constexpr (kSteps == 2) D::add(sum, u1, w[kX][1]);
      }
    };
    const auto column = [&]<int kColumn>() __attribute__((always_inline)) {
      const __m256i u0 = load(columns + kColumn * kSteps * kPixel),
                    u1 = load(columns + (kColumn * kSteps + kLast) * kPixel);
      add.template operator()<kColumn>(u0, u1, s0);
      add.template operator()<kColumn - kStride>(u0, u1, s1);
      add.template operator()<kColumn - 2 * kStride>(u0, u1, s2);
      add.template operator()<kColumn - 3 * kStride>(u0, u1, s3);
    };
    column.template operator()<0>();
    column.template operator()<1>();
    column.template operator()<2>();
    column.template operator()<3>();
    column.template operator()<4>();
    column.template operator()<5>();
    if constexpr (kStride == 2) {
      column.template operator()<6>();
      column.template operator()<7>();
      column.template operator()<8>();
    }
    std::byte* out = b.sums + first * kPixel + g * kVector;
    store(out, s0);
    store(out + kPixel, s1);
    store(out + 2 * kPixel, s2);
    store(out + 3 * kPixel, s3);
  }
}

template <class D>
int64_t steps_of(const ConvShape& s) {
  return (s.kernel_h + D::kRows - 1) / D::kRows;
}

using Multiply = void (*)(const Block& b, int64_t first);

template <class D>
Multiply choose_multiply(const ConvShape& s) {
  if (s.kernel_w != 3 || steps_of<D>(s) != 4 / D::kRows || s.dilation_w != 1) return multiply<D>;
  if (s.stride_w == 1) return multiply_3x3<D, 1>;
  return s.stride_w == 2 ? multiply_3x3<D, 2> : multiply<D>;
}

// `bytes` bytes of v, at most 32; 16 and 32 without a loop.
void store_bytes(uint8_t* out, __m256i v, int64_t bytes) {
  if (bytes == 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), v);
  } else if (bytes == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(v));
  } else {
    alignas(32) uint8_t buffer[32];
    _mm256_store_si256(reinterpret_cast<__m256i*>(buffer), v);
    __builtin_memcpy(out, buffer, static_cast<size_t>(bytes));
  }
}

template <int kSegments>
void store_f32(const Block& b, int64_t x, const __m256 (&v)[4]) {
  alignas(32) float buffer[2][16];  // by half
  for (int g = 0; g < 4; ++g) {
    _mm_store_ps(buffer[0] + g * 4, _mm256_castps256_ps128(v[g]));
    _mm_store_ps(buffer[1] + g * 4, _mm256_extractf128_ps(v[g], 1));
  }
  for (int64_t segment = 0; segment < b.segments_used; ++segment) {
    float* out = static_cast<float*>(b.call->output) + (b.out_pixel[segment] + x) * b.call->out_pixel_stride;
    __builtin_memcpy(out + b.channel, buffer[segment], static_cast<size_t>(b.channels) * sizeof(float));
  }
}

// The epilogue of outputs [x, x + count), whose sums are in b.sums.
template <int kSegments>
OCTET_FORCE_INLINE void finish(const Block& block, int64_t first_x, int64_t count, Function function) {
  const Block b = block;  // copies, which the stores of bytes cannot change
  const ConvCall call = *block.call;
  const Epilogue& e = call.epilogue;
  const __m256 high = _mm256_set1_ps(e.high);
  const __m256i low_bytes = _mm256_set1_epi8(static_cast<char>(e.low));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t x = first_x + i;
    const std::byte* sums = b.sums + i * kPixel;
    __m256 v[4];
    for_groups([&](int g) __attribute__((always_inline)) {
      v[g] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(load(sums + g * kVector)), load_constant(b, kScale, g),
                             load_constant(b, kBias, g));
    });
    if (call.float_output) {
      evaluate_functions(function, e.alpha, e.beta, v);
      store_f32<kSegments>(b, x, v);
      continue;
    }
    evaluate_byte_functions(function, e.alpha, e.beta, v);
    if (function != Function::kNone)
      for_groups([&](int g) __attribute__((always_inline)) {
        v[g] = _mm256_fmadd_ps(v[g], load_constant(b, kOutScale, g), load_constant(b, kOutZero, g));
      });
    if (e.residual_scale != nullptr) {
      const auto pixel = [&](int64_t segment) {
        return call.residual + (b.out_pixel[segment] + x) * call.residual_pixel_stride + b.channel;
      };
      const __m256i r = load_pixel<kSegments>(pixel(0), pixel(b.segments_used - 1));
      const __m256i zero = _mm256_setzero_si256();
      __m256i residual[4];
      interleave_bytes(r, zero, zero, zero, residual);
      for_groups([&](int g) __attribute__((always_inline)) {
        v[g] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(residual[g]), load_constant(b, kResidualScale, g), v[g]);
      });
    }
    // What is NaN or below every int32 becomes INT32_MIN, then `low`.
    __m256i n[4];
    for_groups([&](int g)
                   __attribute__((always_inline)) { n[g] = _mm256_cvtps_epi32(_mm256_min_ps(high, v[g])); });
    const __m256i bytes = _mm256_max_epu8(
        _mm256_packus_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3])), low_bytes);
    uint8_t* out = static_cast<uint8_t*>(call.output) + b.channel;
    store_bytes(out + (b.out_pixel[0] + x) * call.out_pixel_stride, bytes, b.channels);
    if (kSegments == 2 && b.segments_used == 2)
      store_bytes(out + (b.out_pixel[1] + x) * call.out_pixel_stride, _mm256_permute4x64_epi64(bytes, 0xee),
                  b.channels);
  }
}

template <int kSegments>
void finish(const Block& b, int64_t first_x, int64_t count) {
  const Function function = b.call->epilogue.function;
  if (function == Function::kNone) {
    finish<kSegments>(b, first_x, count, Function::kNone);
  } else {
    finish<kSegments>(b, first_x, count, function);
  }
}

int64_t columns_of(const ConvShape& s, int64_t outputs) {
  return (outputs - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
}

// The parts of scratch memory, in bytes.
struct Layout {
  int64_t constants, weights, sums, columns, rows, bytes;
};

template <class D>
Layout layout(const ConvShape& s) {
  Layout l{};
  const auto take = [&](int64_t size) {
    const int64_t at = l.bytes;
    l.bytes += (size + 63) / 64 * 64;
    return at;
  };
  l.constants = take(kConstants * kPixel);
  l.weights = take(s.kernel_w * steps_of<D>(s) * kPixel);
  l.sums = take(kTile * kPixel);
  l.columns = take(columns_of(s, kTile) * steps_of<D>(s) * kPixel);
  l.rows = take(steps_of<D>(s) * D::kRows * 2 * static_cast<int64_t>(sizeof(DepthwiseRow)));
  return l;
}

// Brings weights and constants of a block into lane order.
template <class D>
void load_block(const Block& b, int64_t segments) {
  const ConvCall& call = *b.call;
  const ConvShape& s = call.shape;
  const Epilogue& e = call.epilogue;
  const int64_t quads = (s.kernel_h + 3) / 4, units = (b.channels + 15) / 16;
  const void* const constants[kConstants] = {call.acc_init, e.scale,    e.bias,
                                             e.out_scale,   e.out_zero, e.residual_scale};
  for (int64_t half = 0; half < 2; ++half) {
    const int64_t unit = segments == 1 && half < units ? half : 0;  // lanes without channels: anything
    const std::byte* packed = call.weights + (b.channel / 16 + unit) * s.kernel_w * quads * 64;
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      for (int64_t step = 0; step < b.steps; ++step) {
        const int64_t row = step * D::kRows;
        const std::byte* from = packed + (kx * quads + row / 4) * 64 + row % 4;
        for (int64_t g = 0; g < 4; ++g)
          D::copy_weights(from + g * 16, b.weights + ((kx * b.steps + step) * 4 + g) * kVector + half * 16);
      }
    }
    for (int64_t c = 0; c < kConstants; ++c) {
      if (constants[c] == nullptr) continue;
      const auto* source = static_cast<const std::byte*>(constants[c]) + (b.channel + unit * 16) * 4;
      for (int64_t g = 0; g < 4; ++g)
        __builtin_memcpy(b.constants + c * kPixel + g * kVector + half * 16, source + g * 16, 16);
    }
  }
}

template <class D, int kSegments>
void run_block(Block& b, const DepthwisePiece& piece) {
  const ConvCall& call = *b.call;
  const ConvShape& s = call.shape;
  const Multiply multiply_some = choose_multiply<D>(s);
  load_block<D>(b, kSegments);
  for (int64_t y = piece.row_begin; y < piece.row_end; y += kSegments) {
    b.segments_used = piece.row_end - y < kSegments ? piece.row_end - y : kSegments;
    for (int64_t segment = 0; segment < 2; ++segment) {
      const bool used = segment < b.segments_used;
      b.out_pixel[segment] = (piece.image * s.out_h + y + (used ? segment : 0)) * s.out_w;
      depthwise_rows(call, b.channel, piece.image, y + segment, used, b.steps * D::kRows, b.rows + segment,
                     2);
    }
    for (int64_t x = 0; x < s.out_w; x += kTile) {
      const int64_t count = s.out_w - x < kTile ? s.out_w - x : kTile;
      load_columns<D, kSegments>(b, x * s.stride_w - s.pad_left, columns_of(s, count),
                                 std::make_index_sequence<D::kRows>());
      for (int64_t i = 0; i < count; i += kOutputs) multiply_some(b, i);
      finish<kSegments>(b, x, count);
    }
  }
}

template <class D>
void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept {
  const ConvShape& s = call.shape;
  const DepthwisePlan plan = plan_depthwise(call, kBlock);
  const Layout l = layout<D>(s);
  Block b{};
  b.call = &call;
  b.steps = steps_of<D>(s);
  b.constants = scratch + l.constants;
  b.weights = scratch + l.weights;
  b.sums = scratch + l.sums;
  b.columns = scratch + l.columns;
  b.rows = reinterpret_cast<DepthwiseRow*>(scratch + l.rows);
  for (int64_t index = begin; index < end; ++index) {
    const DepthwisePiece piece = depthwise_piece(plan, s, kBlock, index);
    for (int64_t block = piece.block_begin; block < piece.block_end; ++block) {
      b.channel = block * kBlock;
      b.channels = s.out_c - b.channel < kBlock ? s.out_c - b.channel : kBlock;
      if (b.channels <= 16) {
        run_block<D, 2>(b, piece);
      } else {
        run_block<D, 1>(b, piece);
      }
    }
  }
}

bool supports(const ConvShape& s) {
  return s.depthwise();
}

template <class D>
int64_t scratch_bytes(const ConvCall& call) {
  return layout<D>(call.shape).bytes;
}

int64_t pieces(const ConvCall& call) {
  return plan_depthwise(call, kBlock).pieces;
}

PixelRange pixels(const ConvCall& call, int64_t piece) {
  return piece_pixels(plan_depthwise(call, kBlock), call.shape, kBlock, piece);
}

}  // namespace
}  // namespace octet::kernels
