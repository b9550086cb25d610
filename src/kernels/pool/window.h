// Geometry of pooling windows.
#pragma once

#include "kernels/pool/pool.h"
#include "kernels/simd/smaller.h"

namespace octet::kernels {

// Taps of one window along one axis: positions first, first + dilation, ... `count` of them, all inside of
// the image.
struct PoolTaps {
  int64_t first = 0, count = 0;
  int64_t padded = 0;  // window positions inside of the padded image
};

static inline PoolTaps pool_taps(int64_t out, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad,
                                 int64_t pad_after, int64_t size) {
  const int64_t start = out * stride - pad;
  if (start >= 0 && start + (kernel - 1) * dilation < size) return {start, kernel, kernel};
  const int64_t skip = start < 0 ? divide_up(-start, dilation) : 0;
  const int64_t end = start >= size ? 0 : smaller(kernel, divide_up(size - start, dilation));
  const int64_t limit = size + pad_after;
  PoolTaps t;
  t.first = start + skip * dilation;
  t.count = larger(0, end - skip);
  t.padded = start >= limit ? 0 : smaller(kernel, divide_up(limit - start, dilation));
  return t;
}

static inline PoolTaps rows_of(const PoolCall& c, int64_t oy) {
  return pool_taps(oy, c.kernel_h, c.stride_h, c.dilation_h, c.pad_top, c.pad_bottom, c.in_h);
}

static inline PoolTaps columns_of(const PoolCall& c, int64_t ox) {
  return pool_taps(ox, c.kernel_w, c.stride_w, c.dilation_w, c.pad_left, c.pad_right, c.in_w);
}

static inline int64_t divisor(const PoolCall& c, const PoolTaps& y, const PoolTaps& x) {
  return c.count_include_pad ? y.padded * x.padded : y.count * x.count;
}

}  // namespace octet::kernels
