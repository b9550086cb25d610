#include <gtest/gtest.h>

#include <cmath>

#include "kernels/generic/generic.h"
#include "kernels/norm/norm.h"
#include "kernels/simd/test_tools.h"
#include "quant/quant_params.h"
#include "quant/round.h"

namespace octet::kernels {
namespace {

using namespace testing;

struct Case {
  NormCall call;
  std::vector<float> input, residual, scale, bias;
  bool sum, output, bytes;
};

Case random_case(Random& random) {
  Case c;
  c.call.rows = random.range(1, 9);
  c.call.width = random.range(1, random.chance(0.2) ? 900 : 70);
  const int64_t count = c.call.rows * c.call.width;
  c.input = random.reals(count, -3, 5);
  if (random.chance(0.1)) std::fill(c.input.begin(), c.input.end(), 0.0f);
  c.scale = random.reals(c.call.width, -2, 2);
  c.call.rms = random.chance(0.3);
  if (random.chance(0.6)) c.residual = random.reals(count, -3, 3);
  if (!c.call.rms && random.chance(0.7)) c.bias = random.reals(c.call.width, -2, 2);
  c.call.epsilon = 1e-5f;
  c.call.out_scale = random.real(0.01f, 0.1f);
  c.call.out_zero = static_cast<int32_t>(random.range(0, 255));
  c.sum = random.chance(0.5);
  c.output = random.chance(0.5);
  c.bytes = random.chance(0.7);
  c.call.input = c.input.data();
  c.call.residual = c.residual.empty() ? nullptr : c.residual.data();
  c.call.scale = c.scale.data();
  c.call.bias = c.bias.empty() ? nullptr : c.bias.data();
  return c;
}

struct Results {
  std::vector<float> sum, output;
  std::vector<uint8_t> bytes;
  bool operator==(const Results& o) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
    };
    return same(sum, o.sum) && same(output, o.output) && bytes == o.bytes;
  }
};

Results run(Random& random, const Case& c, const NormKernel& kernel) {
  const auto count = static_cast<size_t>(c.call.rows * c.call.width);
  Results r{std::vector<float>(count, 7), std::vector<float>(count, 7), std::vector<uint8_t>(count, 7)};
  NormCall call = c.call;
  if (c.sum) call.sum = r.sum.data();
  if (c.output) call.output = r.output.data();
  if (c.bytes) call.bytes = r.bytes.data();
  std::vector<float> row(static_cast<size_t>(call.width));
  run_pieces(random, call.rows, [&](int64_t a, int64_t b) { kernel.run(call, a, b, row.data()); });
  return r;
}

TEST(Norm, SameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(300); ++i) {
    const Case c = random_case(random);
    const Results expected = run(random, c, *norm_kernels().back());
    for (const NormKernel* kernel : norm_kernels())
      if (has_isa(kernel->isa)) {
        ASSERT_TRUE(expected == run(random, c, *kernel))
            << kernel->name << " case " << i << " width " << c.call.width;
      }
  }
}

TEST(Norm, SameAsTheOperators) {
  Random random(test_seed());
  for (int64_t i = 0; i < std::min<int64_t>(test_cases(100), 2000); ++i) {
    Case c = random_case(random);
    c.sum = c.output = c.bytes = true;
    const Results found = run(random, c, choose_norm(current_isa()));
    const Shape shape{c.call.rows, c.call.width}, row{c.call.width};
    std::vector<float> sum = c.input;
    for (size_t k = 0; k < c.residual.size(); ++k) sum[k] += c.residual[k];
    std::vector<Tensor> in{Tensor::of<float>(shape, std::span<const float>(sum)),
                           Tensor::of<float>(row, std::span<const float>(c.scale))};
    if (!c.bias.empty()) in.push_back(Tensor::of<float>(row, std::span<const float>(c.bias)));
    std::vector<Tensor> out{Tensor(DType::kFloat32, shape)};
    Attributes attributes;
    attributes.set("epsilon", c.call.epsilon);
    find_generic(c.call.rms ? "RMSNormalization" : "LayerNormalization")(attributes, in, out);
    const auto y = out[0].as<float>();
    ASSERT_EQ(sum, found.sum);
    for (int64_t k = 0; k < out[0].count(); ++k) {
      ASSERT_EQ(y[k], found.output[k]) << "case " << i;
      ASSERT_EQ(octet::quantize_one(y[k], c.call.out_scale, c.call.out_zero, {0, 255}), found.bytes[k])
          << "case " << i;
    }
  }
}

TEST(Norm, PixelsAreSameAsReference) {
  Random random(test_seed());
  for (int64_t i = 0; i < test_cases(300); ++i) {
    NormPixels n;
    n.pixels = random.range(1, 70);
    n.channels = random.range(1, 70);
    n.stride = n.channels + random.range(0, 5);
    const auto input = random.reals(n.pixels * n.stride, -3, 5), mean = random.reals(n.channels, -1, 1),
               inverse = random.reals(n.channels, 0, 2), scale = random.reals(n.channels, -2, 2),
               bias = random.reals(n.channels, -2, 2), start = random.reals(16 * n.channels, 0, 1);
    n.input = input.data();
    n.inverse = inverse.data();
    n.scale = scale.data();
    n.bias = bias.data();
    std::vector<std::vector<float>> expected;
    for (auto kernel = norm_kernels().rbegin(); kernel != norm_kernels().rend(); ++kernel) {
      if (!has_isa((*kernel)->isa)) continue;
      std::vector<std::vector<float>> found(3, start);
      n.mean = nullptr;
      (*kernel)->add_lanes(n, found[0].data());
      n.mean = mean.data();
      (*kernel)->add_lanes(n, found[1].data());
      found[2].assign(static_cast<size_t>(n.pixels * n.channels), 0);
      (*kernel)->normalize(n, found[2].data());
      if (expected.empty()) expected = found;
      for (size_t part = 0; part < 3; ++part)
        ASSERT_EQ(std::memcmp(expected[part].data(), found[part].data(), 4 * found[part].size()), 0)
            << (*kernel)->name << " case " << i << " part " << part;
    }
  }
}

}  // namespace
}  // namespace octet::kernels
