// The vector kernel, over the vectors `S` of simd/vector_*.h and the tiles `T` of an instruction set.
// Internal linkage: each instruction set's file has its own copy.
//
// The right operand is packed as [columns / 16][depth / 4][16][4] bytes with the top bit flipped (s8), so
// that with b' = b - 128 and z' = zero - 128
//
//   acc[m][n] = sum a * b' + (depth * a.zero * z' - a.zero * sum b'[n]) - z' * sum a[m]
//
// of which the parenthesis (`init`) is known per column and the last term per row. Padding is 0 in b'.
//
// T has kRows (rows of a tile) and multiply(rows, row_count, k4, packed, blocks, init, row_terms, out,
// stride).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/matmul/matmul.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {
namespace {

static inline int64_t up(int64_t v, int64_t unit) {
  return divide_up(v, unit) * unit;
}

// Places in scratch memory, 64-byte aligned.
class Bump {
 public:
  explicit Bump(std::byte* base) : at_(base), base_(base) {}
  template <typename E>
  E* take(int64_t count) {
    auto* p = reinterpret_cast<E*>(at_);
    at_ += up(count * static_cast<int64_t>(sizeof(E)), 64);
    return p;
  }
  int64_t used() const { return at_ - base_; }

 private:
  std::byte *at_, *base_;
};

struct PackedRight {
  int8_t* bytes;
  int32_t* init;
  int64_t k4, blocks;
};

static inline PackedRight take_right(Bump& bump, int64_t depth, int64_t columns) {
  PackedRight p{};
  p.k4 = divide_up(depth, 4);
  p.blocks = divide_up(columns, 16);
  p.bytes = bump.take<int8_t>(p.k4 * p.blocks * 64);
  p.init = bump.take<int32_t>(p.blocks * 16);
  return p;
}

// Four rows of 16 columns, column c's bytes together.
static inline void pack_rows(const uint8_t* const (&rows)[4], int8_t* to) {
  __m128i r[4];
  for (int i = 0; i < 4; ++i) r[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  const __m128i flip = _mm_set1_epi8(static_cast<char>(0x80));
  const __m128i low = _mm_xor_si128(_mm_unpacklo_epi8(r[0], r[1]), flip),
                high = _mm_xor_si128(_mm_unpackhi_epi8(r[0], r[1]), flip);
  const __m128i low2 = _mm_xor_si128(_mm_unpacklo_epi8(r[2], r[3]), flip),
                high2 = _mm_xor_si128(_mm_unpackhi_epi8(r[2], r[3]), flip);
  auto* out = reinterpret_cast<__m128i*>(to);
  _mm_storeu_si128(out, _mm_unpacklo_epi16(low, low2));
  _mm_storeu_si128(out + 1, _mm_unpackhi_epi16(low, low2));
  _mm_storeu_si128(out + 2, _mm_unpacklo_epi16(high, high2));
  _mm_storeu_si128(out + 3, _mm_unpackhi_epi16(high, high2));
}

// Four columns of 16 consecutive rows each: a transposition of 4 x 4 dwords into columns c .. c + 3.
static inline void pack_columns(const uint8_t* const (&columns)[4], int8_t* to) {
  __m128i v[4];
  const __m128i flip = _mm_set1_epi8(static_cast<char>(0x80));
  for (int i = 0; i < 4; ++i)
    v[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(columns[i])), flip);
  const __m128i a = _mm_unpacklo_epi32(v[0], v[1]), b = _mm_unpacklo_epi32(v[2], v[3]);
  const __m128i c = _mm_unpackhi_epi32(v[0], v[1]), d = _mm_unpackhi_epi32(v[2], v[3]);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi64(a, b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 64), _mm_unpackhi_epi64(a, b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 128), _mm_unpacklo_epi64(c, d));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 192), _mm_unpackhi_epi64(c, d));
}

// One group of four rows of one block, with any strides and borders.
static inline void pack_some(const ByteMatrix& b, int64_t k, int64_t depth, int64_t column, int64_t columns,
                             int8_t* to) {
  for (int64_t c = 0; c < 16; ++c)
    for (int64_t i = 0; i < 4; ++i) {
      const bool inside = k + i < depth && column + c < columns;
      to[c * 4 + i] =
          inside ? static_cast<int8_t>(b.data[(k + i) * b.row_stride + (column + c) * b.column_stride] ^ 0x80)
                 : 0;
    }
}

// The groups of a block with `count` columns that the fast loads serve; gives the first group that they do
// not. Columns that do not exist become copies of the last: nothing reads their sums.
static inline int64_t pack_fast(const ByteMatrix& b, int64_t depth, int64_t column, int64_t count,
                                int8_t* to) {
  int64_t g = 0;
  if (b.column_stride == 1) {
    for (; 4 * g + 4 <= depth && count == 16; ++g) {
      const uint8_t* row = b.data + 4 * g * b.row_stride + column;
      pack_rows({row, row + b.row_stride, row + 2 * b.row_stride, row + 3 * b.row_stride}, to + g * 64);
    }
  } else if (b.row_stride == 1) {
    for (; 4 * g + 16 <= depth; g += 4) {
      const uint8_t* rows = b.data + 4 * g;
      const auto at = [&](int64_t c) { return rows + (column + smaller(c, count - 1)) * b.column_stride; };
      for (int64_t c = 0; c < 16; c += 4)
        pack_columns({at(c), at(c + 1), at(c + 2), at(c + 3)}, to + g * 64 + c * 4);
    }
  }
  return g;
}

template <class T>
void pack_right(const ByteMatrix& b, int32_t a_zero, int64_t depth, int64_t columns, const PackedRight& p) {
  const int32_t z = b.zero - 128;
  const auto constant = static_cast<int32_t>(depth * a_zero * z);
  for (int64_t block = 0; block < p.blocks; ++block) {
    int8_t* to = p.bytes + block * p.k4 * 64;
    int64_t g = pack_fast(b, depth, block * 16, smaller(columns - block * 16, 16), to);
    for (; g < p.k4; ++g) pack_some(b, 4 * g, depth, block * 16, columns, to + g * 64);
    int32_t sums[16];
    T::column_sums(to, p.k4, sums);
    for (int c = 0; c < 16; ++c) p.init[block * 16 + c] = constant - a_zero * sums[c];
  }
}

template <class S>
static inline int32_t sum_of_bytes(const uint8_t* bytes, int64_t count) {
  __m128i sums = _mm_setzero_si128();
  for (int64_t n = 0; n < count; n += 16)
    sums = _mm_add_epi64(
        sums, _mm_sad_epu8(S::load16_some(bytes + n, smaller(count - n, 16)), _mm_setzero_si128()));
  return _mm_cvtsi128_si32(_mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums)));
}

// Up to T::kRows rows of a left operand, as the tiles read them: whole groups of four bytes.
template <int kRows>
struct LeftRows {
  const uint8_t* rows[kRows];
  int32_t terms[kRows];
};

template <class S, int kRows>
static inline void take_left(const ByteMatrix& a, int32_t b_zero, int64_t first, int64_t count, int64_t depth,
                             uint8_t* copy, LeftRows<kRows>& left) {
  const int64_t stride = up(depth, 64);
  for (int64_t m = 0; m < count; ++m) {
    const uint8_t* from = a.data + (first + m) * a.row_stride;
    left.rows[m] = from;
    if (a.column_stride != 1 || depth % 4 != 0) {
      uint8_t* to = copy + m * stride;
      if (a.column_stride == 1)
        std::memcpy(to, from, static_cast<size_t>(depth));
      else
        for (int64_t k = 0; k < depth; ++k) to[k] = from[k * a.column_stride];
      for (int64_t k = depth; k % 4 != 0; ++k) to[k] = 0;
      left.rows[m] = to;
    }
    left.terms[m] = -(b_zero - 128) * sum_of_bytes<S>(left.rows[m], depth);
  }
}

template <class S>
static inline void store_row(const MatMulOutput& o, int64_t row, int64_t columns, const int32_t* acc) {
  const auto scale = S::set(o.scale), bias = S::set(o.bias);
  if (o.is_float) {
    float* to = static_cast<float*>(o.data) + row * o.row_stride;
    if (o.column_stride == 1) {
      for (int64_t n = 0; n < columns; n += S::kFloats)
        S::store_some(to + n, S::fma(S::to_float(S::load_int(acc + n)), scale, bias),
                      smaller(columns - n, S::kFloats));
    } else {
      for (int64_t n = 0; n < columns; ++n)
        to[n * o.column_stride] = __builtin_fmaf(static_cast<float>(acc[n]), o.scale, o.bias);
    }
    return;
  }
  uint8_t* to = static_cast<uint8_t*>(o.data) + row * o.row_stride;
  const auto high = S::set(255.0f), low = S::set(0.0f);
  for (int64_t n = 0; n < columns; n += 16) {
    typename S::I parts[S::kParts];
    for (int i = 0; i < S::kParts; ++i) {
      const auto v = S::fma(S::to_float(S::load_int(acc + n + i * S::kFloats)), scale, bias);
      parts[i] = S::round(S::max(v, low), high);
    }
    const __m128i bytes = S::narrow(parts);
    const int64_t count = smaller(columns - n, 16);
    if (o.column_stride == 1) {
      S::store16_some(to + n, bytes, count);
    } else {
      alignas(16) uint8_t all[16];
      _mm_store_si128(reinterpret_cast<__m128i*>(all), bytes);
      for (int64_t i = 0; i < count; ++i) to[(n + i) * o.column_stride] = all[i];
    }
  }
}

struct MatMulPlaces {
  PackedRight right;
  uint8_t* copy;
  int32_t* sums;
};

template <class T>
static inline MatMulPlaces matmul_places(const MatMulCall& c, Bump& bump) {
  MatMulPlaces p{};
  p.right = take_right(bump, c.depth, c.columns);
  p.copy = bump.take<uint8_t>(T::kRows * up(c.depth, 64));
  p.sums = bump.take<int32_t>(T::kRows * p.right.blocks * 16);
  return p;
}

template <class S, class T>
void matmul(const MatMulCall& c, std::byte* scratch) noexcept {
  Bump bump(scratch);
  const MatMulPlaces p = matmul_places<T>(c, bump);
  pack_right<T>(c.b, c.a.zero, c.depth, c.columns, p.right);
  const int64_t stride = p.right.blocks * 16;
  for (int64_t m = 0; m < c.rows; m += T::kRows) {
    const int64_t count = smaller(T::kRows, c.rows - m);
    LeftRows<T::kRows> left;
    take_left<S>(c.a, c.b.zero, m, count, c.depth, p.copy, left);
    T::multiply(left.rows, left.terms, count, p.right, p.sums, stride);
    for (int64_t i = 0; i < count; ++i) store_row<S>(c.output, m + i, c.columns, p.sums + i * stride);
  }
}

struct AttentionPlaces {
  PackedRight keys, values;
  uint8_t *copy, *probabilities;
  int32_t* sums;
  float *scores, *mask;
  int64_t stride;  // of sums
};

template <class T>
static inline AttentionPlaces attention_places(const AttentionCall& c, Bump& bump) {
  AttentionPlaces p{};
  p.keys = take_right(bump, c.depth, c.keys);
  p.values = take_right(bump, c.keys, c.columns);
  p.stride = 16 * larger(p.keys.blocks, p.values.blocks);
  p.copy = bump.take<uint8_t>(T::kRows * up(c.depth, 64));
  p.probabilities = bump.take<uint8_t>(T::kRows * up(c.keys, 64));
  p.sums = bump.take<int32_t>(T::kRows * p.stride);
  p.scores = bump.take<float>(T::kRows * up(c.keys, 16));
  p.mask = bump.take<float>(up(c.keys, 16));
  return p;
}

// The mask of a row, contiguous.
static inline const float* mask_row(const AttentionCall& c, int64_t row, float* copy) {
  const float* from = c.mask + row * c.mask_row_stride;
  if (c.mask_key_stride == 1) return from;
  if (row > 0 && c.mask_row_stride == 0) return copy;
  for (int64_t n = 0; n < c.keys; ++n) copy[n] = from[n * c.mask_key_stride];
  return copy;
}

// Up to a vector of floats, 0 behind the last of `count`, which may be below 1.
template <class S>
static inline typename S::F load_part(const float* p, int64_t count) {
  if (count >= S::kFloats) return S::load(p);
  return count > 0 ? S::load_some(p, count) : S::set(0.0f);
}

// kBehind + 16 - n: below 0 in the lanes from n on.
alignas(64) constexpr float kBehind[32] = {1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,
                                           -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

// t of a row into `scores`, padded with -infinity; gives its largest.
template <class S>
static inline float scores_of(const AttentionCall& c, const int32_t* sums, const float* mask, float* scores) {
  constexpr int kVectors = 16 / S::kFloats;
  const auto scale = S::set(c.score_scale), none = S::set(-__builtin_inff());
  typename S::F largest[kVectors];
  for (int i = 0; i < kVectors; ++i) largest[i] = none;
  for (int64_t n = 0; n < c.keys; n += 16) {
    const int64_t count = smaller(c.keys - n, 16);
    for (int i = 0; i < kVectors; ++i) {
      const int64_t lane = i * S::kFloats;
      const auto s = S::to_float(S::load_int(sums + n + lane));
      auto t =
          mask == nullptr ? S::mul(s, scale) : S::fma(s, scale, load_part<S>(mask + n + lane, count - lane));
      if (count < 16) t = S::choose_negative(S::load(kBehind + 16 - count + lane), none, t);
      S::store(scores + n + lane, t);
      largest[i] = S::max(largest[i], t);
    }
  }
  return S::largest_lane(kVectors == 2 ? S::max(largest[0], largest[kVectors - 1]) : largest[0]);
}

// scores becomes exp(scores - largest), with 0 behind the last; gives the sum.
template <class S>
static inline float exponentials(int64_t keys, float largest, float* scores) {
  constexpr int kVectors = 16 / S::kFloats;
  const auto shift = S::set(largest), zero = S::set(0.0f);
  typename S::F sums[kVectors];
  for (int i = 0; i < kVectors; ++i) sums[i] = zero;
  for (int64_t n = 0; n < keys; n += 16)
    for (int i = 0; i < kVectors; ++i) {
      float* at = scores + n + i * S::kFloats;
      auto e = exp_value<S>(S::sub(S::load(at), shift));
      if (keys - n < 16) e = S::choose_negative(S::load(kBehind + 16 - (keys - n) + i * S::kFloats), zero, e);
      S::store(at, e);
      sums[i] = S::add(sums[i], e);
    }
  return S::sum_of_lanes(kVectors == 2 ? S::add(sums[0], sums[kVectors - 1]) : sums[0]);
}

template <class S>
static inline void quantize_scores(int64_t keys, float factor, float zero, const float* scores,
                                   uint8_t* out) {
  const auto f = S::set(factor), z = S::set(zero), high = S::set(255.0f), low = S::set(0.0f);
  for (int64_t n = 0; n < keys; n += 16) {
    typename S::I parts[S::kParts];
    for (int i = 0; i < S::kParts; ++i)
      parts[i] = S::round(S::max(S::fma(S::load(scores + n + i * S::kFloats), f, z), low), high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + n), S::narrow(parts));
  }
}

template <class S, class T>
void attention(const AttentionCall& c, std::byte* scratch) noexcept {
  Bump bump(scratch);
  const AttentionPlaces p = attention_places<T>(c, bump);
  pack_right<T>(c.k, c.q.zero, c.depth, c.keys, p.keys);
  pack_right<T>(c.v, c.probability_zero, c.keys, c.columns, p.values);
  const auto zero = static_cast<float>(c.probability_zero);
  for (int64_t m = 0; m < c.rows; m += T::kRows) {
    const int64_t count = smaller(T::kRows, c.rows - m);
    LeftRows<T::kRows> left;
    take_left<S>(c.q, c.k.zero, m, count, c.depth, p.copy, left);
    T::multiply(left.rows, left.terms, count, p.keys, p.sums, p.stride);
    // Step by step for all rows: what a row waits for, its largest score and its sum, another's work hides.
    const int64_t width = up(c.keys, 16);
    float largest[T::kRows], total[T::kRows];
    for (int64_t i = 0; i < count; ++i) {
      const float* mask = c.mask == nullptr ? nullptr : mask_row(c, m + i, p.mask);
      largest[i] = scores_of<S>(c, p.sums + i * p.stride, mask, p.scores + i * width);
    }
    for (int64_t i = 0; i < count; ++i) total[i] = exponentials<S>(c.keys, largest[i], p.scores + i * width);
    for (int64_t i = 0; i < count; ++i) {
      uint8_t* row = p.probabilities + i * up(c.keys, 64);
      quantize_scores<S>(c.keys, c.probability_scale / total[i], zero, p.scores + i * width, row);
      left.rows[i] = row;
      left.terms[i] = -(c.v.zero - 128) * sum_of_bytes<S>(row, c.keys);
    }
    T::multiply(left.rows, left.terms, count, p.values, p.sums, p.stride);
    for (int64_t i = 0; i < count; ++i) store_row<S>(c.output, m + i, c.columns, p.sums + i * p.stride);
  }
}

template <class T>
int64_t matmul_scratch(const MatMulCall& c) {
  Bump bump(nullptr);
  matmul_places<T>(c, bump);
  return bump.used();
}

template <class T>
int64_t attention_scratch(const AttentionCall& c) {
  Bump bump(nullptr);
  attention_places<T>(c, bump);
  return bump.used();
}

}  // namespace
}  // namespace octet::kernels
