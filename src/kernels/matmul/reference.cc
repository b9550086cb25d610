// The definition of the family: every other kernel gives the same bytes.
#include <limits>

#include "base/checked.h"
#include "kernels/matmul/matmul.h"
#include "kernels/simd/function_scalar.h"
#include "kernels/simd/round.h"

namespace octet::kernels {
namespace {

int32_t at(const ByteMatrix& m, int64_t row, int64_t column) {
  return int32_t{m.data[row * m.row_stride + column * m.column_stride]} - m.zero;
}

void store(const MatMulOutput& o, int64_t row, int64_t column, int32_t acc) {
  const float v = __builtin_fmaf(static_cast<float>(acc), o.scale, o.bias);
  const int64_t to = row * o.row_stride + column * o.column_stride;
  if (o.is_float)
    static_cast<float*>(o.data)[to] = v;
  else
    static_cast<uint8_t*>(o.data)[to] = saturate_u8(v);
}

void matmul(const MatMulCall& c, std::byte*) noexcept {
  for (int64_t m = 0; m < c.rows; ++m)
    for (int64_t n = 0; n < c.columns; ++n) {
      int32_t acc = 0;
      for (int64_t k = 0; k < c.depth; ++k) acc += at(c.a, m, k) * at(c.b, k, n);
      store(c.output, m, n, acc);
    }
}

void probabilities(const AttentionCall& c, int64_t row, uint8_t* p) {
  auto* t = reinterpret_cast<float*>(p + round_up(c.keys, 64));
  float lanes[16];
  for (float& l : lanes) l = -std::numeric_limits<float>::infinity();
  for (int64_t n = 0; n < round_up(c.keys, 16); ++n) {
    if (n < c.keys) {
      int32_t acc = 0;
      for (int64_t k = 0; k < c.depth; ++k) acc += at(c.q, row, k) * at(c.k, k, n);
      const auto s = static_cast<float>(acc);
      t[n] = c.mask == nullptr
                 ? s * c.score_scale
                 : __builtin_fmaf(s, c.score_scale, c.mask[row * c.mask_row_stride + n * c.mask_key_stride]);
    } else {
      t[n] = -std::numeric_limits<float>::infinity();
    }
    lanes[n % 16] = ScalarOps::max(lanes[n % 16], t[n]);
  }
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] = ScalarOps::max(lanes[l], lanes[l + half]);
  const float high = lanes[0];
  float sums[16] = {};
  for (int64_t n = 0; n < c.keys; ++n) sums[n % 16] += t[n] = evaluate_exp(t[n] - high);
  for (int half = 8; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) sums[l] += sums[l + half];
  const float factor = c.probability_scale / sums[0];
  for (int64_t n = 0; n < c.keys; ++n)
    p[n] = saturate_u8(__builtin_fmaf(t[n], factor, static_cast<float>(c.probability_zero)));
}

int64_t attention_scratch(const AttentionCall& c) {
  return round_up(c.keys, 64) * 5;
}

void attention(const AttentionCall& c, std::byte* scratch) noexcept {
  auto* p = reinterpret_cast<uint8_t*>(scratch);
  for (int64_t m = 0; m < c.rows; ++m) {
    probabilities(c, m, p);
    for (int64_t n = 0; n < c.columns; ++n) {
      int32_t acc = 0;
      for (int64_t k = 0; k < c.keys; ++k) acc += (int32_t{p[k]} - c.probability_zero) * at(c.v, k, n);
      store(c.output, m, n, acc);
    }
  }
}

}  // namespace

extern const MatMulKernel matmul_reference;
const MatMulKernel matmul_reference = {
    "reference", Isa::kReference,   [](const MatMulCall&) { return int64_t{0}; },
    matmul,      attention_scratch, attention};

}  // namespace octet::kernels
