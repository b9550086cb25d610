// The vector kernel, over the vectors `S` of simd/vector_*.h. Internal linkage: each instruction set's file
// has its own copy.
//
// Average and small maximum windows are computed tap by tap for one output pixel and S::kBytes channels at a
// time. Large overlapping maximum windows are separated: the maxima of rows go to scratch memory, then the
// maxima of columns are taken of those.
#pragma once

#include "kernels/pool/window.h"
#include "kernels/simd/function_body.h"

namespace octet::kernels {
namespace {

// Byte-taps of a piece: a few microseconds.
constexpr int64_t kPoolPieceWork = 1 << 18;
// Rows in scratch memory stay in the first-level or at worst second-level cache.
constexpr int64_t kPoolScratch = 1 << 16;

template <class S>
struct PoolBody {
  using B = typename S::B;
  using F = typename S::F;
  using I = typename S::I;
  using W = typename S::W;

  static int64_t blocks(const PoolCall& p) { return divide_up(p.channels, S::kBytes); }

  static bool separable(const PoolCall& p) {
    return p.op == PoolOp::kMax && p.kernel_h * p.kernel_w > p.kernel_w * p.stride_h + p.kernel_h + 2;
  }

  // Output rows whose row maxima fit in scratch memory together.
  static int64_t band(const PoolCall& p) {
    const int64_t reach = (p.kernel_h - 1) * p.dilation_h + 1;
    const int64_t rows = larger(kPoolScratch / (p.out_w * S::kBytes), 2 * reach);
    return smaller(larger(1, (rows - reach) / p.stride_h + 1), p.out_h);
  }

  static int64_t scratch_bytes(const PoolCall& p) {
    if (!separable(p)) return 0;
    const int64_t reach = (p.kernel_h - 1) * p.dilation_h + 1;
    return smaller((band(p) - 1) * p.stride_h + reach, p.in_h) * p.out_w * S::kBytes;
  }

  static int64_t units_per_piece(const PoolCall& p) {
    const int64_t work = S::kBytes * smaller(p.kernel_h, p.in_h) * smaller(p.kernel_w, p.in_w);
    return larger(1, kPoolPieceWork / work);
  }

  static int64_t pieces(const PoolCall& p) {
    if (separable(p)) return p.images * blocks(p) * divide_up(p.out_h, band(p));
    return divide_up(p.images * p.out_h * p.out_w * blocks(p), units_per_piece(p));
  }

  static void store(uint8_t* out, B v, int64_t count) {
    if (count >= S::kBytes)
      S::store_bytes(out, v);
    else
      S::store_bytes_some(out, v, count);
  }

  // First tap of a window, the distances to the next ones, their numbers.
  struct Window {
    const uint8_t* data;
    int64_t row, column, rows, columns;
  };

  static B maximum(const Window& w) {
    if (w.rows == 3 && w.columns == 3) {
      const uint8_t *a = w.data, *b = a + w.row, *c = b + w.row;
      const int64_t s = w.column;
      const B x =
          S::max_bytes(S::load_bytes(a), S::max_bytes(S::load_bytes(a + s), S::load_bytes(a + 2 * s)));
      const B y =
          S::max_bytes(S::load_bytes(b), S::max_bytes(S::load_bytes(b + s), S::load_bytes(b + 2 * s)));
      const B z =
          S::max_bytes(S::load_bytes(c), S::max_bytes(S::load_bytes(c + s), S::load_bytes(c + 2 * s)));
      return S::max_bytes(x, S::max_bytes(y, z));
    }
    if (w.rows == 2 && w.columns == 2) {
      const uint8_t *a = w.data, *b = a + w.row;
      return S::max_bytes(S::max_bytes(S::load_bytes(a), S::load_bytes(a + w.column)),
                          S::max_bytes(S::load_bytes(b), S::load_bytes(b + w.column)));
    }
    B v = S::set_bytes(0);
    for (int64_t y = 0; y < w.rows; ++y) {
      const uint8_t* tap = w.data + y * w.row;
      for (int64_t x = 0; x < w.columns; ++x, tap += w.column) v = S::max_bytes(v, S::load_bytes(tap));
    }
    return v;
  }

  struct Sums {
    I q[4];
  };

  OCTET_FORCE_INLINE void add_taps(W& low, W& high, const uint8_t*& tap, int64_t count, int64_t step) {
    for (int64_t i = 0; i < count; ++i, tap += step) {
      low = S::add16(low, S::widen16(tap));
      high = S::add16(high, S::widen16(tap + S::kBytes / 2));
    }
  }

  OCTET_FORCE_INLINE void flush(Sums& s, W low, W high) {
    s.q[0] = S::add_int(s.q[0], S::low32(low));
    s.q[1] = S::add_int(s.q[1], S::high32(low));
    s.q[2] = S::add_int(s.q[2], S::low32(high));
    s.q[3] = S::add_int(s.q[3], S::high32(high));
  }

  __attribute__((always_inline)) static Sums sums(const Window& w) {
    constexpr int64_t kMost = 257;  // 257 * 255 = 65535
    const I none = S::zero_int();
    Sums s = {{none, none, none, none}};
    W low = S::zero_int(), high = low;
    if (w.rows * w.columns <= kMost) {
      for (int64_t y = 0; y < w.rows; ++y) {
        const uint8_t* tap = w.data + y * w.row;
        add_taps(low, high, tap, w.columns, w.column);
      }
      flush(s, low, high);
      return s;
    }
    int64_t room = kMost;
    for (int64_t y = 0; y < w.rows; ++y) {
      const uint8_t* tap = w.data + y * w.row;
      for (int64_t left = w.columns; left > 0;) {
        const int64_t n = smaller(left, room);
        add_taps(low, high, tap, n, w.column);
        left -= n;
        room -= n;
        if (room == 0) {
          flush(s, low, high);
          low = high = S::zero_int();
          room = kMost;
        }
      }
    }
    flush(s, low, high);
    return s;
  }

  static void average(const PoolCall& p, const Window& w, F divisor, int64_t c, int64_t at) {
    const Sums s = sums(w);
    const I taps = S::set_int(static_cast<int32_t>(w.rows * w.columns));
    const auto value = [&](int i) __attribute__((always_inline)) {
      const int64_t k = c + i * S::kFloats;
      const I sum = S::sub_int(s.q[i], S::mul_int(taps, S::load_int(p.zero_point + k)));
      return S::fma(S::to_float(sum), S::div(S::load(p.scale + k), divisor), S::load(p.bias + k));
    };
    if (p.float_output) {
      auto* out = static_cast<float*>(p.output) + at;
      for (int i = 0; i < 4; ++i) {
        const int64_t left = p.channels - c - i * S::kFloats;
        if (left > 0) S::store_some(out + i * S::kFloats, value(i), smaller(left, S::kFloats));
      }
      return;
    }
    const F limit = S::set(p.high);
    const B v = S::pack(S::round(value(0), limit), S::round(value(1), limit), S::round(value(2), limit),
                        S::round(value(3), limit));
    store(static_cast<uint8_t*>(p.output) + at, S::max_bytes(v, S::set_bytes(p.low)), p.channels - c);
  }

  static void run_direct(const PoolCall& p, int64_t begin, int64_t end) {
    const int64_t n = blocks(p), per_piece = units_per_piece(p);
    const int64_t last = smaller(p.images * p.out_h * p.out_w * n, end * per_piece);
    const int64_t row = p.in_w * p.in_stride;
    int64_t unit = begin * per_piece;
    int64_t pixel = unit / n, block = unit % n;
    int64_t ox = pixel % p.out_w, oy = pixel / p.out_w % p.out_h, image = pixel / p.out_w / p.out_h;
    PoolTaps y = rows_of(p, oy);
    while (unit < last) {
      const PoolTaps x = columns_of(p, ox);
      const F d = S::set(static_cast<float>(divisor(p, y, x)));
      Window w = {p.input + image * p.in_h * row, row * p.dilation_h, p.in_stride * p.dilation_w, y.count,
                  x.count};
      if (w.rows == 0 || w.columns == 0)
        w.rows = w.columns = 0;
      else
        w.data += y.first * row + x.first * p.in_stride;
      const uint8_t* first = w.data;
      for (; block < n && unit < last; ++block, ++unit) {
        const int64_t c = block * S::kBytes, at = pixel * p.out_stride + c;
        w.data = first + c;
        if (p.op == PoolOp::kMax)
          store(static_cast<uint8_t*>(p.output) + at, maximum(w), p.channels - c);
        else
          average(p, w, d, c, at);
      }
      block = 0;
      ++pixel;
      if (++ox == p.out_w) {
        ox = 0;
        if (++oy == p.out_h) {
          oy = 0;
          ++image;
        }
        y = rows_of(p, oy);
      }
    }
  }

  // Output rows [top, bottom) of one image, channels from c.
  static void run_band(const PoolCall& p, int64_t image, int64_t top, int64_t bottom, int64_t c,
                       uint8_t* scratch) {
    const int64_t start = larger(0, top * p.stride_h - p.pad_top);
    const int64_t stop =
        smaller(p.in_h, (bottom - 1) * p.stride_h - p.pad_top + (p.kernel_h - 1) * p.dilation_h + 1);
    const int64_t row = p.out_w * S::kBytes;
    for (int64_t y = start; y < stop; ++y) {
      const uint8_t* in = p.input + (image * p.in_h + y) * p.in_w * p.in_stride + c;
      uint8_t* out = scratch + (y - start) * row;
      for (int64_t ox = 0; ox < p.out_w; ++ox) {
        const PoolTaps x = columns_of(p, ox);
        const uint8_t* tap = in + x.first * p.in_stride;
        B v = S::set_bytes(0);
        for (int64_t i = 0; i < x.count; ++i, tap += p.in_stride * p.dilation_w)
          v = S::max_bytes(v, S::load_bytes(tap));
        S::store_bytes(out + ox * S::kBytes, v);
      }
    }
    for (int64_t oy = top; oy < bottom; ++oy) {
      const PoolTaps y = rows_of(p, oy);
      auto* out = static_cast<uint8_t*>(p.output) + (image * p.out_h + oy) * p.out_w * p.out_stride + c;
      for (int64_t ox = 0; ox < p.out_w; ++ox) {
        B v = S::set_bytes(0);
        for (int64_t i = 0; i < y.count; ++i)
          v = S::max_bytes(
              v, S::load_bytes(scratch + (y.first + i * p.dilation_h - start) * row + ox * S::kBytes));
        store(out + ox * p.out_stride, v, p.channels - c);
      }
    }
  }

  static void run(const PoolCall& p, int64_t begin, int64_t end, std::byte* scratch) noexcept {
    if (!separable(p)) return run_direct(p, begin, end);
    const int64_t height = band(p), bands = divide_up(p.out_h, height), n = blocks(p);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t block = i % n, top = i / n % bands * height, image = i / n / bands;
      run_band(p, image, top, smaller(top + height, p.out_h), block * S::kBytes,
               reinterpret_cast<uint8_t*>(scratch));
    }
  }
};

}  // namespace
}  // namespace octet::kernels
