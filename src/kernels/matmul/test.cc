#include <gtest/gtest.h>

#include <cmath>

#include "kernels/matmul/matmul.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

using namespace testing;

// A random matrix in a buffer of exactly the bytes that it spans.
struct Operand {
  std::vector<uint8_t> bytes;
  ByteMatrix matrix;

  Operand(Random& random, int64_t rows, int64_t columns) {
    if (random.chance(0.5)) {
      matrix.column_stride = random.chance(0.8) ? 1 : random.range(2, 3);
      matrix.row_stride = columns * matrix.column_stride + random.range(0, 1) * random.range(0, 40);
    } else {
      matrix.row_stride = random.chance(0.8) ? 1 : 2;
      matrix.column_stride = rows * matrix.row_stride + random.range(0, 1) * random.range(0, 40);
    }
    const int64_t last = (rows - 1) * matrix.row_stride + (columns - 1) * matrix.column_stride;
    bytes = random.bytes(last + 1);
    if (random.chance(0.2))
      for (auto& b : bytes) b = b % 2 ? 255 : 0;  // the largest sums
    matrix.data = bytes.data();
    matrix.zero = static_cast<int32_t>(random.chance(0.2) ? 0 : random.range(0, 255));
  }
};

struct Result {
  std::vector<uint8_t> bytes;
  MatMulOutput output;

  Result(Random& random, int64_t rows, int64_t columns, double scale) {
    output.is_float = random.chance(0.4);
    const bool transposed = random.chance(0.2);
    output.column_stride = transposed ? rows + random.range(0, 3) : 1;
    output.row_stride = transposed ? 1 : columns + random.range(0, 9);
    const int64_t last = (rows - 1) * output.row_stride + (columns - 1) * output.column_stride;
    bytes = random.bytes((last + 1) * (output.is_float ? 4 : 1));
    output.scale = static_cast<float>(scale) * random.real(0.2f, 3);
    output.bias = random.real(-20, 200);
  }
};

template <class Call, class Scratch, class Run>
std::vector<uint8_t> outcome(Call call, const Result& guard, Scratch scratch_bytes, Run run) {
  std::vector<uint8_t> out = guard.bytes;
  call.output.data = out.data();
  std::vector<std::byte> scratch(static_cast<size_t>(scratch_bytes(call)) + 128, std::byte{0x5a});
  auto address = (reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64;
  run(call, reinterpret_cast<std::byte*>(address));
  return out;
}

TEST(MatMul, SameAsReference) {
  Random random(test_seed());
  const MatMulKernel& reference = *matmul_kernels().back();
  for (int64_t i = 0; i < test_cases(300); ++i) {
    MatMulCall call;
    call.rows = random.range(1, random.chance(0.3) ? 40 : 8);
    call.depth = random.range(1, random.chance(0.1) ? 600 : 80);
    call.columns = random.range(1, random.chance(0.2) ? 200 : 40);
    const Operand a(random, call.rows, call.depth), b(random, call.depth, call.columns);
    call.a = a.matrix;
    call.b = b.matrix;
    const Result guard(random, call.rows, call.columns, 0.02 / std::sqrt(call.depth));
    call.output = guard.output;
    const auto expected = outcome(call, guard, reference.matmul_scratch, reference.matmul);
    for (const MatMulKernel* kernel : matmul_kernels()) {
      if (!has_isa(kernel->isa)) continue;
      ASSERT_EQ(expected, outcome(call, guard, kernel->matmul_scratch, kernel->matmul))
          << kernel->name << " case " << i << ": " << call.rows << " x " << call.depth << " x "
          << call.columns;
    }
  }
}

TEST(MatMul, LongestSums) {
  MatMulCall call;
  call.rows = 7;
  call.depth = kMaxMatMulDepth;
  call.columns = 17;
  std::vector<uint8_t> a(call.rows * call.depth, 255), b(call.depth * call.columns, 255);
  call.a = {a.data(), call.depth, 1, 0};
  call.b = {b.data(), call.columns, 1, 0};
  std::vector<float> out(call.rows * call.columns);
  call.output = {1, 0, true, out.data(), call.columns, 1};
  for (const MatMulKernel* kernel : matmul_kernels()) {
    if (!has_isa(kernel->isa)) continue;
    std::vector<std::byte> scratch(static_cast<size_t>(kernel->matmul_scratch(call)) + 64);
    auto address = (reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64;
    kernel->matmul(call, reinterpret_cast<std::byte*>(address));
    for (float v : out) ASSERT_EQ(v, static_cast<float>(255 * 255 * kMaxMatMulDepth)) << kernel->name;
  }
}

struct AttentionCase {
  AttentionCall call;
  std::vector<float> mask;
};

AttentionCase random_attention(Random& random) {
  AttentionCase c;
  c.call.rows = random.range(1, 20);
  c.call.keys = random.range(1, random.chance(0.2) ? 300 : 40);
  c.call.depth = random.range(1, 70);
  c.call.columns = random.range(1, 70);
  c.call.score_scale = random.real(0.1f, 3) / (1000 * std::sqrt(static_cast<float>(c.call.depth)));
  c.call.probability_scale = random.real(200, 300);
  if (random.chance(0.2)) c.call.probability_zero = static_cast<int32_t>(random.range(0, 20));
  if (random.chance(0.6)) {
    c.call.mask_key_stride = random.chance(0.7) ? 1 : random.range(0, 2);
    c.call.mask_row_stride = random.chance(0.5) ? 0 : c.call.keys * 2;
    c.mask = random.reals(
        (c.call.rows - 1) * c.call.mask_row_stride + (c.call.keys - 1) * c.call.mask_key_stride + 1, -2, 2);
    const float hidden = random.chance(0.5) ? -INFINITY : -3.4e38f;
    for (float& m : c.mask)
      if (random.chance(0.3)) m = hidden;
    c.call.mask = c.mask.data();
  }
  return c;
}

TEST(Attention, SameAsReference) {
  Random random(test_seed());
  const MatMulKernel& reference = *matmul_kernels().back();
  for (int64_t i = 0; i < test_cases(300); ++i) {
    AttentionCase c = random_attention(random);
    AttentionCall& call = c.call;
    const Operand q(random, call.rows, call.depth), k(random, call.depth, call.keys),
        v(random, call.keys, call.columns);
    call.q = q.matrix;
    call.k = k.matrix;
    call.v = v.matrix;
    const Result guard(random, call.rows, call.columns, 1.0 / 255);
    call.output = guard.output;
    const auto expected = outcome(call, guard, reference.attention_scratch, reference.attention);
    for (const MatMulKernel* kernel : matmul_kernels()) {
      if (!has_isa(kernel->isa)) continue;
      ASSERT_EQ(expected, outcome(call, guard, kernel->attention_scratch, kernel->attention))
          << kernel->name << " case " << i << ": " << call.rows << " rows, " << call.keys << " keys, depth "
          << call.depth << ", " << call.columns << " columns";
    }
  }
}

// Against the formula of attention in double precision.
TEST(Attention, IsSoftmaxBetweenTwoProducts) {
  Random random(test_seed());
  for (int64_t i = 0; i < std::min<int64_t>(test_cases(50), 500); ++i) {
    AttentionCase c = random_attention(random);
    AttentionCall& call = c.call;
    for (float& m : c.mask) m = std::max(m, -60.0f);
    call.probability_scale = 255;
    call.probability_zero = 0;
    const Operand q(random, call.rows, call.depth), k(random, call.depth, call.keys),
        v(random, call.keys, call.columns);
    call.q = q.matrix;
    call.k = k.matrix;
    call.v = v.matrix;
    std::vector<float> out(call.rows * call.columns);
    call.output = {1.0f / 255, 0, true, out.data(), call.columns, 1};
    const MatMulKernel& kernel = choose_matmul(best_isa());
    std::vector<std::byte> scratch(static_cast<size_t>(kernel.attention_scratch(call)) + 64);
    kernel.attention(
        call, reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64));
    const auto at = [](const ByteMatrix& m, int64_t r, int64_t col) {
      return double{1} * m.data[r * m.row_stride + col * m.column_stride] - m.zero;
    };
    for (int64_t m = 0; m < call.rows; ++m) {
      std::vector<double> p(call.keys);
      double high = -1e300, total = 0;
      for (int64_t n = 0; n < call.keys; ++n) {
        for (int64_t d = 0; d < call.depth; ++d) p[n] += at(call.q, m, d) * at(call.k, d, n);
        p[n] *= call.score_scale;
        if (call.mask) p[n] += call.mask[m * call.mask_row_stride + n * call.mask_key_stride];
        high = std::max(high, p[n]);
      }
      for (double& x : p) total += x = std::exp(x - high);
      for (int64_t n = 0; n < call.columns; ++n) {
        double y = 0;
        for (int64_t s = 0; s < call.keys; ++s) y += p[s] / total * at(call.v, s, n);
        // Each probability is off by half a step at most.
        ASSERT_NEAR(out[m * call.columns + n], y, 255.0 * 0.51 / 255 * static_cast<double>(call.keys) + 0.01);
      }
    }
  }
}

}  // namespace
}  // namespace octet::kernels
