#include "correct/vector_loops.h"

#include <bit>
#include <limits>

namespace octet::loops {
namespace {

#define OCTET_INLINE inline __attribute__((always_inline))

OCTET_INLINE void subtract_product_body(const double* __restrict a, const double* __restrict b,
                                        double* __restrict c, int64_t rows, int64_t columns, int64_t depth,
                                        int64_t n) noexcept {
  constexpr int64_t kPart = kBlock / 2, kPair = 2;  // whose sums stay in registers
  for (int64_t i = 0; i < rows; i += kPair) {
    const int64_t pair = rows - i < kPair ? rows - i : kPair;
    const double* second = a + (i + pair - 1) * n;
    for (int64_t first = 0; first < columns; first += kPart) {
      double sums[kPair][kPart] = {};
      for (int64_t k = 0; k < depth; ++k) {
        const double factor = a[i * n + k], other = second[k];
        for (int64_t j = 0; j < kPart; ++j) {
          const double v = b[k * kBlock + first + j];
          sums[0][j] += factor * v;
          sums[1][j] += other * v;
        }
      }
      const int64_t last = columns - first < kPart ? columns - first : kPart;
      for (int64_t r = 0; r < pair; ++r)
        for (int64_t j = 0; j < last; ++j) c[(i + r) * n + first + j] -= sums[r][j];
    }
  }
}

OCTET_INLINE void add_rows_body(const double* __restrict factor, const double* __restrict x,
                                double* __restrict sums, int64_t count) noexcept {
  double lanes[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = sums[lane];
  for (int64_t i = 0; i < count; ++i)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += factor[i] * x[i * kLanes + lane];
  for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] = lanes[lane];
}

OCTET_INLINE void subtract_outer_body(const double* __restrict factor, const double* __restrict y,
                                      double* __restrict x, int64_t count) noexcept {
  double lanes[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = y[lane];
  for (int64_t i = 0; i < count; ++i)
    for (int64_t lane = 0; lane < kLanes; ++lane) x[i * kLanes + lane] -= factor[i] * lanes[lane];
}

OCTET_INLINE void shift_body(const float* __restrict x, float shift, float* __restrict y,
                             int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] + shift;
}

OCTET_INLINE void add_body(const float* __restrict x, float* __restrict y, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) y[i] += x[i];
}

OCTET_INLINE double total(const double* sums) noexcept {
  double sum = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  return sum;
}

OCTET_INLINE double sum_body(const float* __restrict x, int64_t count) noexcept {
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane];
  double sum = 0;
  for (; i < count; ++i) sum += x[i];
  return sum + total(sums);
}

OCTET_INLINE void errors_body(const float* __restrict x, const float* __restrict y, int64_t count,
                              double* noise, double* signal) noexcept {
  double lost[kLanes] = {}, there[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double a = x[i + lane], d = a - static_cast<double>(y[i + lane]);
      lost[lane] += d * d;
      there[lane] += a * a;
    }
  double rest_lost = 0, rest_there = 0;
  for (; i < count; ++i) {
    const double a = x[i], d = a - static_cast<double>(y[i]);
    rest_lost += d * d;
    rest_there += a * a;
  }
  *noise = rest_lost + total(lost);
  *signal = rest_there + total(there);
}

OCTET_INLINE float extreme_body(const float* __restrict x, int64_t count) noexcept {
  int32_t largest = 0;  // magnitudes are ordered as their bits are, NaN above infinity
  for (int64_t i = 0; i < count; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest < 0x7f800000 ? std::bit_cast<float>(largest) : std::numeric_limits<float>::infinity();
}

OCTET_INLINE void to_steps_body(const float* __restrict x, float inverse, int16_t* __restrict y,
                                int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    const float v = x[i] * inverse;
    const float half = std::bit_cast<float>((std::bit_cast<int32_t>(v) & INT32_MIN) | 0x3f000000);
    y[i] = static_cast<int16_t>(static_cast<int32_t>(v + half));
  }
}

#define OCTET_LOOPS(SUFFIX, TARGET)                                                                       \
  TARGET void subtract_product_##SUFFIX(const double* a, const double* b, double* c, int64_t rows,        \
                                        int64_t columns, int64_t depth, int64_t n) noexcept {             \
    subtract_product_body(a, b, c, rows, columns, depth, n);                                              \
  }                                                                                                       \
  TARGET void add_rows_##SUFFIX(const double* f, const double* x, double* sums, int64_t count) noexcept { \
    add_rows_body(f, x, sums, count);                                                                     \
  }                                                                                                       \
  TARGET void subtract_outer_##SUFFIX(const double* f, const double* y, double* x, int64_t n) noexcept {  \
    subtract_outer_body(f, y, x, n);                                                                      \
  }                                                                                                       \
  TARGET void shift_##SUFFIX(const float* x, float shift, float* y, int64_t count) noexcept {             \
    shift_body(x, shift, y, count);                                                                       \
  }                                                                                                       \
  TARGET void add_##SUFFIX(const float* x, float* y, int64_t count) noexcept {                            \
    add_body(x, y, count);                                                                                \
  }                                                                                                       \
  TARGET double sum_##SUFFIX(const float* x, int64_t count) noexcept {                                    \
    return sum_body(x, count);                                                                            \
  }                                                                                                       \
  TARGET void errors_##SUFFIX(const float* x, const float* y, int64_t count, double* noise,               \
                              double* signal) noexcept {                                                  \
    errors_body(x, y, count, noise, signal);                                                              \
  }                                                                                                       \
  TARGET float extreme_##SUFFIX(const float* x, int64_t count) noexcept {                                 \
    return extreme_body(x, count);                                                                        \
  }                                                                                                       \
  TARGET void to_steps_##SUFFIX(const float* x, float inverse, int16_t* y, int64_t count) noexcept {      \
    to_steps_body(x, inverse, y, count);                                                                  \
  }                                                                                                       \
  constexpr Loops k_##SUFFIX{subtract_product_##SUFFIX,                                                   \
                             add_rows_##SUFFIX,                                                           \
                             subtract_outer_##SUFFIX,                                                     \
                             shift_##SUFFIX,                                                              \
                             add_##SUFFIX,                                                                \
                             sum_##SUFFIX,                                                                \
                             errors_##SUFFIX,                                                             \
                             extreme_##SUFFIX,                                                            \
                             to_steps_##SUFFIX};

#ifdef __clang__
#define OCTET_AVX512 "avx512f,avx512bw,avx512dq,avx512vl"
#else
#define OCTET_AVX512 "avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"
#endif
#define OCTET_NO_TARGET

OCTET_LOOPS(plain, OCTET_NO_TARGET)
OCTET_LOOPS(avx2, __attribute__((target("avx2"))))
OCTET_LOOPS(avx512, __attribute__((target(OCTET_AVX512))))

}  // namespace

const Loops& of(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return k_avx512;
  if (isa >= Isa::kAvx2) return k_avx2;
  return k_plain;
}

}  // namespace octet::loops
