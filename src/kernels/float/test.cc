#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/thread_pool.h"
#include "kernels/float/conv_f32.h"
#include "kernels/float/kernels.h"
#include "kernels/float/matmul_f32.h"
#include "kernels/generic/generic.h"
#include "kernels/simd/function.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

constexpr uint32_t kSeed = 20240611;

Tensor random_tensor(Shape shape, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Tensor t(DType::kFloat32, std::move(shape));
  for (float& v : t.as<float>()) v = uniform(random);
  return t;
}

// NCHW to NHWC with `stride` floats between pixels; gaps hold 77.
std::vector<float> to_nhwc(const Tensor& t, int64_t stride) {
  const Shape& s = t.shape();
  const int64_t pixels = s[2] * s[3];
  std::vector<float> result(static_cast<size_t>(s[0] * pixels * stride), 77.0f);
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = 0; c < s[1]; ++c)
      for (int64_t p = 0; p < pixels; ++p)
        result[static_cast<size_t>((n * pixels + p) * stride + c)] =
            t.as<float>()[static_cast<size_t>((n * s[1] + c) * pixels + p)];
  return result;
}

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected, float tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    ASSERT_NEAR(actual[i], expected[i], tolerance * (1 + std::fabs(expected[i]))) << "element " << i;
}

Tensor run_generic(std::string_view op, const Attributes& attributes, std::vector<Tensor> inputs,
                   Shape shape) {
  Tensor y(DType::kFloat32, std::move(shape));
  find_generic(op)(attributes, inputs, std::span(&y, 1));
  return y;
}

struct ConvCase {
  ConvShape shape;
  Function function = Function::kNone;
  int residual = 0;  // 1: after the function, 2: before
  int64_t in_gap = 0, out_gap = 0, residual_gap = 0;
  bool bias = true;
};

void check_conv(const ConvCase& c, int threads) {
  const ConvShape& s = c.shape;
  const Tensor x = random_tensor({s.batch, s.in_c, s.in_h, s.in_w}, kSeed);
  const Tensor w = random_tensor({s.out_c, s.in_c / s.groups, s.kernel_h, s.kernel_w}, kSeed + 1);
  const Tensor b = random_tensor({s.out_c}, kSeed + 2);
  const Shape out{s.batch, s.out_c, s.out_h, s.out_w};
  const Tensor residual = random_tensor(out, kSeed + 3);
  const int64_t bottom =
      (s.out_h - 1) * s.stride_h + (s.kernel_h - 1) * s.dilation_h + 1 - s.in_h - s.pad_top;
  const int64_t right =
      (s.out_w - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1 - s.in_w - s.pad_left;
  Attributes attributes;
  attributes.set("strides", std::vector<int64_t>{s.stride_h, s.stride_w});
  attributes.set("dilations", std::vector<int64_t>{s.dilation_h, s.dilation_w});
  attributes.set("pads", std::vector<int64_t>{s.pad_top, s.pad_left, bottom, right});
  attributes.set("group", s.groups);
  Tensor expected =
      run_generic("Conv", attributes, c.bias ? std::vector<Tensor>{x, w, b} : std::vector<Tensor>{x, w}, out);
  const float alpha = c.function == Function::kClip ? -0.5f : 0.1f, beta = 0.7f;
  for (size_t i = 0; i < expected.as<float>().size(); ++i) {
    float& v = expected.as<float>()[i];
    if (c.residual == 2) v += residual.as<float>()[i];
    v = evaluate_function_reference(c.function, alpha, beta, v);
    if (c.residual == 1) v += residual.as<float>()[i];
  }

  ConvF32Options options;
  options.shape = s;
  options.weights = w.as<float>().data();
  options.bias = c.bias ? b.as<float>().data() : nullptr;
  options.function = c.function;
  options.alpha = alpha;
  options.beta = beta;
  options.residual = c.residual != 0;
  options.residual_first = c.residual == 2;
  options.in_pixel_stride = s.in_c + c.in_gap;
  options.out_pixel_stride = s.out_c + c.out_gap;
  options.residual_pixel_stride = s.out_c + c.residual_gap;
  options.threads = threads;
  const ConvF32 conv(options);
  const std::vector<float> input = to_nhwc(x, options.in_pixel_stride);
  const std::vector<float> added = to_nhwc(residual, options.residual_pixel_stride);
  std::vector<float> output(static_cast<size_t>(s.batch * s.out_h * s.out_w * options.out_pixel_stride),
                            77.0f);
  std::vector<Tensor> scratch;
  for (int t = 0; t < threads; ++t) scratch.emplace_back(DType::kUInt8, Shape{conv.scratch_bytes() + 64});
  ThreadPool pool(threads);
  pool.parallel_for(conv.pieces(), 1, [&](int64_t begin, int64_t end, int thread) {
    conv.run(begin, end, thread, input.data(), added.data(), output.data(),
             static_cast<std::byte*>(scratch[static_cast<size_t>(thread)].raw()));
  });
  expect_near(output, to_nhwc(expected, options.out_pixel_stride), 1e-4f);
}

ConvShape conv_shape(int64_t batch, int64_t in, int64_t in_c, int64_t out_c, int64_t kernel, int64_t stride,
                     int64_t pad, int64_t groups = 1, int64_t dilation = 1) {
  ConvShape s;
  s.batch = batch;
  s.in_h = in;
  s.in_w = in + 1;
  s.in_c = in_c;
  s.out_c = out_c;
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.dilation_h = s.dilation_w = dilation;
  s.pad_top = s.pad_left = pad;
  s.groups = groups;
  s.out_h = (s.in_h + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  s.out_w = (s.in_w + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  return s;
}

TEST(ConvF32, MatchesGeneric) {
  const ConvCase cases[] = {
      {conv_shape(1, 30, 3, 24, 3, 2, 1), Function::kRelu},
      {conv_shape(2, 28, 32, 48, 3, 1, 1), Function::kNone, 1},
      {conv_shape(1, 28, 32, 48, 3, 1, 1), Function::kSilu, 2, 8, 16, 4},
      {conv_shape(1, 40, 64, 64, 1, 1, 0), Function::kClip, 2},
      {conv_shape(1, 40, 64, 33, 1, 1, 0), Function::kHardSwish, 0, 0, 7},
      {conv_shape(1, 40, 32, 32, 3, 1, 1, 32), Function::kRelu},
      {conv_shape(1, 41, 48, 48, 5, 2, 2, 48), Function::kGelu, 1},
      {conv_shape(1, 20, 24, 24, 3, 1, 1, 3), Function::kLeakyRelu},
      {conv_shape(1, 20, 17, 19, 3, 1, 2, 1, 2), Function::kTanh},
      {conv_shape(1, 7, 256, 512, 3, 1, 1), Function::kRelu, 1},
      {conv_shape(1, 7, 256, 512, 1, 2, 0), Function::kRelu, 0, 0, 0, 0, false},
      {conv_shape(1, 19, 64, 192, 1, 1, 3), Function::kRelu},
      {conv_shape(1, 11, 64, 96, 3, 1, 7), Function::kRelu},
      {conv_shape(1, 9, 100, 40, 3, 1, 1), Function::kClip, 0, 8, 16},  // in parts, the last one shorter
      {conv_shape(2, 9, 100, 40, 3, 1, 1), Function::kRelu, 1, 0, 0, 0, false},
  };
  for (size_t i = 0; i < std::size(cases); ++i)
    for (int threads : {1, 2}) {
      SCOPED_TRACE(::testing::Message() << "case " << i << ", " << threads << " threads");
      check_conv(cases[i], threads);
    }
}

TEST(ConvF32, GemmIsAConvolution) {
  const int64_t m = 37, k = 50, out_c = 30;
  const Tensor x = random_tensor({m, k}, kSeed), w = random_tensor({out_c, k}, kSeed + 1),
               b = random_tensor({out_c}, kSeed + 2);
  Attributes attributes;
  attributes.set("transB", int64_t{1});
  const Tensor expected = run_generic("Gemm", attributes, {x, w, b}, {m, out_c});
  ConvF32Options options;
  options.shape = gemm_f32_shape(m, k, out_c);
  options.weights = w.as<float>().data();
  options.bias = b.as<float>().data();
  options.threads = 2;
  const ConvF32 gemm(options);
  Tensor scratch(DType::kUInt8, {gemm.scratch_bytes() + 64}), y(DType::kFloat32, {m, out_c});
  gemm.run(0, gemm.pieces(), 0, x.as<float>().data(), nullptr, y.as<float>().data(),
           static_cast<std::byte*>(scratch.raw()));
  expect_near(to_float(y), to_float(expected), 1e-5f);
}

// One chain of additions would be wrong by 8e-7 of the typical sum.
TEST(ConvF32, LongSumsArePrecise) {
  const int64_t m = 20, k = 4096, out_c = 100;
  const Tensor x = random_tensor({m, k}, kSeed), w = random_tensor({out_c, k}, kSeed + 1);
  std::vector<float> in_out(static_cast<size_t>(k * out_c));
  for (int64_t o = 0; o < out_c; ++o)
    for (int64_t i = 0; i < k; ++i)
      in_out[static_cast<size_t>(i * out_c + o)] = w.as<float>()[static_cast<size_t>(o * k + i)];
  for (const bool weights_in_out : {false, true}) {
    ConvF32Options options;
    options.shape = gemm_f32_shape(m, k, out_c);
    options.weights = weights_in_out ? in_out.data() : w.as<float>().data();
    options.weights_in_out = weights_in_out;
    const ConvF32 gemm(options);
    Tensor scratch(DType::kUInt8, {gemm.scratch_bytes() + 64}), y(DType::kFloat32, {m, out_c});
    gemm.run(0, gemm.pieces(), 0, x.as<float>().data(), nullptr, y.as<float>().data(),
             static_cast<std::byte*>(scratch.raw()));
    double error = 0, energy = 0;
    for (int64_t r = 0; r < m; ++r)
      for (int64_t o = 0; o < out_c; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i)
          sum += static_cast<double>(x.as<float>()[static_cast<size_t>(r * k + i)]) *
                 w.as<float>()[static_cast<size_t>(o * k + i)];
        const double difference = y.as<float>()[static_cast<size_t>(r * out_c + o)] - sum;
        error += difference * difference;
        energy += sum * sum;
      }
    EXPECT_LT(std::sqrt(error / energy), 4e-7);
  }
}

TEST(MatMulF32, MatchesSumsInDouble) {
  const uint32_t seed = testing::test_seed();
  testing::Random random(seed);
  for (int i = 0; i < 100; ++i) {
    const int64_t m = random.range(0, 20), k = random.range(0, 40), n = random.range(1, 40),
                  apart = random.chance(0.5) ? 0 : random.range(1, 9);
    const bool transposed = random.chance(0.5);
    const std::vector<float> a = to_float(random_tensor({m, k + apart}, seed + 1)),
                             b = to_float(random_tensor({k + n, k + n + apart}, seed + 2));
    const int64_t b_stride = (transposed ? k : n) + apart;
    std::vector<float> expected(static_cast<size_t>(m * n));
    for (int64_t at = 0; at < m * n; ++at) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j) {
        const int64_t row = transposed ? at % n : j, column = transposed ? j : at % n;
        sum += static_cast<double>(a[static_cast<size_t>(at / n * (k + apart) + j)]) *
               b[static_cast<size_t>(row * b_stride + column)];
      }
      expected[static_cast<size_t>(at)] = static_cast<float>(sum);
    }
    for (const Isa isa : possible_isas()) {
      std::vector<float> y(expected.size(), 77.0f);
      matmul_f32({m, k, n, {a.data(), k + apart}, {b.data(), b_stride, transposed}, y.data(), n}, isa);
      SCOPED_TRACE(fmt::format("seed {}, case {}: {}x{}x{} on {}", seed, i, m, k, n, isa_name(isa)));
      expect_near(y, expected, 1e-5f);
    }
  }
}

TEST(PoolF32, SameBitsAsGeneric) {
  for (bool include : {false, true}) {
    PoolF32Call c;
    c.batch = 2;
    c.channels = 37;
    c.in_h = 13;
    c.in_w = 11;
    c.kernel_h = 3;
    c.kernel_w = 2;
    c.stride_h = c.stride_w = 2;
    c.pad_top = 1;
    c.pad_right = 1;
    c.count_include_pad = include;
    c.out_h = 6;
    c.out_w = 6;
    c.in_pixel_stride = 40;
    c.out_pixel_stride = 39;
    const Tensor x = random_tensor({c.batch, c.channels, c.in_h, c.in_w}, kSeed);
    Attributes attributes;
    attributes.set("kernel_shape", std::vector<int64_t>{3, 2});
    attributes.set("strides", std::vector<int64_t>{2, 2});
    attributes.set("pads", std::vector<int64_t>{1, 0, 0, 1});
    attributes.set("count_include_pad", int64_t{include});
    const Shape out{c.batch, c.channels, c.out_h, c.out_w};
    const std::vector<float> input = to_nhwc(x, c.in_pixel_stride);
    const auto most = to_nhwc(run_generic("MaxPool", attributes, {x}, out), c.out_pixel_stride);
    const auto mean = to_nhwc(run_generic("AveragePool", attributes, {x}, out), c.out_pixel_stride);
    const auto whole =
        to_nhwc(run_generic("GlobalAveragePool", {}, {x}, {c.batch, c.channels, 1, 1}), c.out_pixel_stride);
    for (Isa isa : possible_isas()) {
      std::vector<float> y(most.size(), 77.0f), z(whole.size(), 77.0f);
      run_max_pool_f32(c, isa, 0, c.batch * c.out_h, input.data(), y.data());
      EXPECT_EQ(y, most);
      run_average_pool_f32(c, isa, 0, c.batch * c.out_h, input.data(), y.data());
      EXPECT_EQ(y, mean);
      run_global_average_pool_f32(c, isa, 0, c.batch * 3, input.data(), z.data());
      EXPECT_EQ(z, whole);
    }
  }
}

TEST(BinaryF32, AllShapes) {
  BinaryF32Call c;
  c.channels = 19;
  c.a_stride = 21;
  c.b_stride = 20;
  c.out_stride = 19;
  const int64_t pixels = 9;
  const Tensor a = random_tensor({pixels * 21}, kSeed), b = random_tensor({pixels * 20}, kSeed + 1);
  const auto pa = a.as<float>(), pb = b.as<float>();
  for (Isa isa : possible_isas())
    for (BinaryOp op : {BinaryOp::kAdd, BinaryOp::kSub, BinaryOp::kMul, BinaryOp::kDiv})
      for (BinaryShape shape : {BinaryShape::kSame, BinaryShape::kChannel, BinaryShape::kScalar}) {
        c.op = op;
        c.shape = shape;
        std::vector<float> y(static_cast<size_t>(pixels * 19));
        run_binary_f32(c, isa, 0, pixels, pa.data(), pb.data(), y.data());
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t i = 0; i < c.channels; ++i) {
            const float u = pa[static_cast<size_t>(p * 21 + i)];
            const int64_t at = shape == BinaryShape::kSame      ? p * 20 + i
                               : shape == BinaryShape::kChannel ? i
                                                                : 0;
            const float v = pb[static_cast<size_t>(at)];
            const float expected = op == BinaryOp::kAdd   ? u + v
                                   : op == BinaryOp::kSub ? u - v
                                   : op == BinaryOp::kMul ? u * v
                                                          : u / v;
            ASSERT_EQ(y[static_cast<size_t>(p * 19 + i)], expected);
          }
      }
}

TEST(DotRows, SameBitsOnEveryInstructionSet) {
  std::mt19937 random(kSeed);
  for (int i = 0; i < 300; ++i) {
    const auto rows = static_cast<int64_t>(random() % 11), vectors = static_cast<int64_t>(random() % 6),
               count = static_cast<int64_t>(random() % 70),
               x_stride = count + static_cast<int64_t>(random() % 3),
               y_stride = rows + static_cast<int64_t>(random() % 3);
    const Tensor w = random_tensor({rows * count + 1}, random()),
                 x = random_tensor({vectors * x_stride + 1}, random());
    const auto run = [&](Isa isa) {
      std::vector<float> y(static_cast<size_t>(vectors * y_stride + 1), 77.0f);
      float_kernels(isa).dot_rows(w.as<float>().data(), rows, count, x.as<float>().data(), vectors, x_stride,
                                  y.data(), y_stride);
      return y;
    };
    const std::vector<float> expected = run(Isa::kReference);
    for (int64_t v = 0; v < vectors; ++v)
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (int64_t k = 0; k < count; ++k)
          sum += static_cast<double>(w.as<float>()[static_cast<size_t>(r * count + k)]) *
                 x.as<float>()[static_cast<size_t>(v * x_stride + k)];
        ASSERT_NEAR(expected[static_cast<size_t>(v * y_stride + r)], sum, 1e-5);
      }
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512Vnni}) {
      if (!has_isa(isa)) continue;
      ASSERT_EQ(run(isa), expected) << isa_name(isa);
    }
  }
}

}  // namespace
}  // namespace octet::kernels
