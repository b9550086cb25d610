#include "kernels/float/fixed_f32.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "kernels/float/binary_f32.h"
#include "kernels/float/fixed_tables.h"
#include "kernels/simd/function.h"

namespace octet::kernels {
namespace {

// Pixels of one piece: enough work to be worth claiming, few enough that the sums stay in the cache.
constexpr int64_t kBandPixels = 48;

void reference_product(const FixedProduct& c) noexcept {
  for (int64_t r = 0; r < c.rows; ++r)
    for (int64_t i = 0; i < c.columns; ++i) {
      float sum = c.accumulate ? c.y[r * c.y_stride + i] : 0.0f;
      for (int64_t k = 0; k < c.depth; ++k)
        sum = std::fma(c.a[r * c.a_stride + k], c.b[k * c.b_stride + i], sum);
      c.y[r * c.y_stride + i] = sum;
    }
}

void reference_multiply_add(const float* a, const float* b, float* y, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) y[i] = std::fma(a[i], b[i], y[i]);
}

// Output columns whose tap at `offset` (of the first column) lies in [0, size).
struct Columns {
  int64_t first, end;
};
Columns columns_inside(int64_t offset, int64_t stride, int64_t size, int64_t begin, int64_t end) {
  const int64_t first = offset >= 0 ? 0 : ceil_div(-offset, stride);
  const int64_t last = size - 1 - offset < 0 ? 0 : (size - 1 - offset) / stride + 1;
  return {std::max(first, begin), std::min(last, end)};
}

}  // namespace

const FixedKernels& fixed_kernels_reference() {
  static constexpr FixedKernels kKernels{reference_product, reference_multiply_add};
  return kKernels;
}

const FixedKernels& fixed_kernels(Isa isa) {
  if (isa >= Isa::kAvx512Vnni) return fixed_kernels_avx512vnni();
  return isa >= Isa::kAvx2 ? fixed_kernels_avx2() : fixed_kernels_reference();
}

FixedConvF32::FixedConvF32(const ConvF32Options& options, Isa isa) : options_(options), isa_(isa) {
  const ConvShape& s = options_.shape;
  if (options_.in_pixel_stride == 0) options_.in_pixel_stride = s.in_c;
  if (options_.out_pixel_stride == 0) options_.out_pixel_stride = s.out_c;
  if (options_.residual_pixel_stride == 0) options_.residual_pixel_stride = s.out_c;
  band_ = std::min(s.out_w, kBandPixels);
  bands_ = ceil_div(s.out_w, band_);
  channels_ = round_up(s.out_c / s.groups, kFixedBlock);
  pack(options.weights);
  bias_.assign(static_cast<size_t>(s.out_c), 0.0f);
  if (options.bias != nullptr) std::copy_n(options.bias, s.out_c, bias_.begin());
  options_.weights = options_.bias = nullptr;
}

void FixedConvF32::pack(const float* weights) {
  const ConvShape& s = options_.shape;
  const int64_t taps = checked_mul(s.kernel_h, s.kernel_w), in_c = s.in_c / s.groups,
                out_c = s.out_c / s.groups;
  if (s.depthwise()) {
    weights_.resize(static_cast<size_t>(checked_mul(taps, s.out_c)));
    for (int64_t c = 0; c < s.out_c; ++c)
      for (int64_t t = 0; t < taps; ++t)
        weights_[static_cast<size_t>(t * s.out_c + c)] = weights[c * taps + t];
    return;
  }
  weights_.resize(
      static_cast<size_t>(checked_mul(checked_mul(checked_mul(s.groups, taps), in_c), channels_)));
  for (int64_t g = 0; g < s.groups; ++g)
    for (int64_t o = 0; o < out_c; ++o)
      for (int64_t i = 0; i < in_c; ++i)
        for (int64_t t = 0; t < taps; ++t)
          weights_[static_cast<size_t>(((g * taps + t) * in_c + i) * channels_ + o)] =
              options_.weights_in_out ? weights[i * out_c + o]
                                      : weights[((g * out_c + o) * in_c + i) * taps + t];
}

int64_t FixedConvF32::pieces() const {
  return options_.shape.batch * options_.shape.out_h * bands_;
}

int64_t FixedConvF32::scratch_bytes() const {
  return round_up(band_ * options_.shape.out_c * static_cast<int64_t>(sizeof(float)), 64);
}

void FixedConvF32::compute_row(int64_t image, int64_t row, int64_t first_column, int64_t columns,
                               const float* x, float* sums) const noexcept {
  const ConvShape& s = options_.shape;
  const FixedKernels& kernels = fixed_kernels(isa_);
  const int64_t in_c = s.in_c / s.groups, out_c = s.out_c / s.groups, stride = options_.in_pixel_stride;
  std::fill_n(sums, columns * s.out_c, 0.0f);
  for (int64_t ky = 0; ky < s.kernel_h; ++ky) {
    const int64_t in_row = row * s.stride_h - s.pad_top + ky * s.dilation_h;
    if (in_row < 0 || in_row >= s.in_h) continue;
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t offset = kx * s.dilation_w - s.pad_left;
      const Columns inside = columns_inside(offset, s.stride_w, s.in_w, first_column, first_column + columns);
      const int64_t count = inside.end - inside.first;
      if (count <= 0) continue;
      const float* from =
          x + ((image * s.in_h + in_row) * s.in_w + inside.first * s.stride_w + offset) * stride;
      float* to = sums + (inside.first - first_column) * s.out_c;
      const int64_t tap = ky * s.kernel_w + kx;
      if (s.depthwise()) {
        for (int64_t p = 0; p < count; ++p)
          kernels.multiply_add(from + p * s.stride_w * stride, weights_.data() + tap * s.out_c,
                               to + p * s.out_c, s.out_c);
        continue;
      }
      for (int64_t g = 0; g < s.groups; ++g)
        kernels.product({from + g * in_c, s.stride_w * stride,
                         weights_.data() + (g * s.kernel_h * s.kernel_w + tap) * in_c * channels_, channels_,
                         to + g * out_c, s.out_c, count, out_c, in_c, true});
    }
  }
}

void FixedConvF32::finish(float* sums, int64_t pixels, const float* residual, float* y) const noexcept {
  const int64_t channels = options_.shape.out_c;
  const BinaryF32Kernels& binary = binary_f32_kernels(isa_);
  const FunctionKernel function = choose_function(isa_);
  for (int64_t p = 0; p < pixels; ++p) {
    float* v = sums + p * channels;
    const float* r = options_.residual ? residual + p * options_.residual_pixel_stride : nullptr;
    binary.add(v, bias_.data(), v, channels);
    if (r != nullptr && options_.residual_first) binary.add(v, r, v, channels);
    if (options_.function != Function::kNone)
      function(options_.function, options_.alpha, options_.beta, v, v, channels);
    if (r != nullptr && !options_.residual_first) binary.add(v, r, v, channels);
    std::memcpy(y + p * options_.out_pixel_stride, v, static_cast<size_t>(channels) * sizeof(float));
  }
}

void FixedConvF32::run(int64_t begin, int64_t end, int /*thread*/, const float* x, const float* residual,
                       float* y, std::byte* scratch) const noexcept {
  const ConvShape& s = options_.shape;
  auto* sums = reinterpret_cast<float*>(scratch);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t line = piece / bands_, first = piece % bands_ * band_;
    const int64_t columns = std::min(band_, s.out_w - first), pixel = line * s.out_w + first;
    compute_row(line / s.out_h, line % s.out_h, first, columns, x, sums);
    finish(sums, columns, options_.residual ? residual + pixel * options_.residual_pixel_stride : nullptr,
           y + pixel * options_.out_pixel_stride);
  }
}

int64_t fixed_matmul_scratch(const MatMulF32Call& c) {
  // Columns of b that do not lie as a block.
  return !c.b.transposed && c.columns % kFixedBlock == 0
             ? 0
             : round_up(checked_mul(c.depth, kFixedBlock) * static_cast<int64_t>(sizeof(float)), 64);
}

void fixed_matmul(const MatMulF32Call& c, Isa isa, std::byte* scratch) noexcept {
  const FixedKernels& kernels = fixed_kernels(isa);
  const int64_t whole = c.b.transposed ? 0 : c.columns / kFixedBlock * kFixedBlock;
  if (whole > 0)
    kernels.product(
        {c.a.data, c.a.stride, c.b.data, c.b.stride, c.y, c.y_stride, c.rows, whole, c.depth, false});
  const int64_t step_k = c.b.transposed ? 1 : c.b.stride, step_column = c.b.transposed ? c.b.stride : 1;
  auto* block = reinterpret_cast<float*>(scratch);
  for (int64_t first = whole; first < c.columns; first += kFixedBlock) {
    const int64_t columns = std::min(kFixedBlock, c.columns - first);
    const float* from = c.b.data + first * step_column;
    std::fill_n(block, c.depth * kFixedBlock, 0.0f);
    for (int64_t i = 0; i < columns; ++i)
      for (int64_t k = 0; k < c.depth; ++k) block[k * kFixedBlock + i] = from[k * step_k + i * step_column];
    kernels.product(
        {c.a.data, c.a.stride, block, kFixedBlock, c.y + first, c.y_stride, c.rows, columns, c.depth, false});
  }
}

}  // namespace octet::kernels
