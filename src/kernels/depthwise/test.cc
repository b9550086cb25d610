#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/depthwise/repeat.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

constexpr int64_t kGuard = 256;

int64_t env_or(const char* name, int64_t value) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atoll(text) : value;
}

template <typename T>
struct AlignedDelete {
  void operator()(T* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete<std::byte>>;
AlignedBytes aligned_bytes(int64_t size) {
  return AlignedBytes(static_cast<std::byte*>(
      ::operator new[](static_cast<size_t>(std::max<int64_t>(size, 1)), std::align_val_t{64})));
}

// A random call and everything that it points to.
struct Case {
  ConvCall call;
  std::vector<uint8_t> input, pad, residual;
  std::vector<int8_t> weights;
  std::vector<int32_t> init;
  std::vector<float> scale, bias, out_scale, out_zero, residual_scale;
  AlignedBytes packed;
  int64_t output_bytes = 0;

  std::string describe() const {
    const ConvShape& s = call.shape;
    return fmt::format(
        "n {} in {}x{}x{} out {}x{} kernel {}x{} stride {}x{} dilation {}x{} pad {},{} pitch {} -> {} "
        "function {} "
        "residual {} float {} limits {}..{}",
        s.batch, s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w,
        s.dilation_h, s.dilation_w, s.pad_top, s.pad_left, call.in_pixel_stride, call.out_pixel_stride,
        static_cast<int>(call.epilogue.function), call.residual != nullptr, call.float_output,
        call.epilogue.low, call.epilogue.high);
  }
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t pick(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  bool chance(int64_t in) { return pick(1, in) == 1; }
  float real(float low, float high) { return std::uniform_real_distribution<float>(low, high)(engine_); }
  template <typename T>
  void fill(std::vector<T>& values, bool extreme) {
    using Limits = std::numeric_limits<T>;
    for (T& v : values)
      v = extreme && chance(2) ? (chance(2) ? Limits::min() : Limits::max())
                               : static_cast<T>(pick(Limits::min(), Limits::max()));
  }

 private:
  std::mt19937_64 engine_;
};

ConvShape random_shape(Random& r) {
  ConvShape s;
  s.batch = r.chance(6) ? 2 : 1;
  switch (r.pick(0, 4)) {
    case 0:
      s.kernel_h = r.pick(1, 7), s.kernel_w = r.pick(1, 7);
      break;
    case 1:
    case 2:
      s.kernel_h = s.kernel_w = 5;
      break;
    default:
      s.kernel_h = s.kernel_w = 3;
  }
  if (r.chance(8)) s.kernel_w = 3, s.kernel_h = r.pick(1, 4);
  s.stride_h = r.pick(1, 3), s.stride_w = r.chance(2) ? s.stride_h : r.pick(1, 3);
  s.dilation_h = r.chance(2) ? 1 : r.pick(1, 3), s.dilation_w = r.chance(2) ? 1 : r.pick(1, 4);
  const int64_t reach_h = (s.kernel_h - 1) * s.dilation_h, reach_w = (s.kernel_w - 1) * s.dilation_w;
  s.pad_top = r.pick(0, reach_h), s.pad_left = r.pick(0, reach_w);
  const int64_t pad_bottom = r.pick(0, reach_h), pad_right = r.pick(0, reach_w);
  s.in_h = std::max<int64_t>(1, reach_h + 1 - s.pad_top - pad_bottom) + r.pick(0, r.chance(4) ? 20 : 6);
  s.in_w = std::max<int64_t>(1, reach_w + 1 - s.pad_left - pad_right) + r.pick(0, r.chance(8) ? 200 : 12);
  s.out_h = (s.in_h + s.pad_top + pad_bottom - reach_h - 1) / s.stride_h + 1;
  s.out_w = (s.in_w + s.pad_left + pad_right - reach_w - 1) / s.stride_w + 1;
  s.in_c = s.out_c = s.groups = r.chance(3) ? 16 * r.pick(1, 13) : r.pick(2, 150);
  return s;
}

Case random_case(uint64_t seed) {
  Random r(seed);
  Case k;
  ConvShape& s = k.call.shape;
  s = random_shape(r);
  const int64_t c = s.in_c, padded = round_up(c, kChannelPad), out_pixels = s.batch * s.out_h * s.out_w;
  const bool extreme = r.chance(4);

  k.call.threads = static_cast<int>(r.pick(1, 3));
  k.call.in_pixel_stride = c + (r.chance(2) ? 0 : r.pick(1, 70));
  k.input.resize(static_cast<size_t>(s.batch * s.in_h * s.in_w * k.call.in_pixel_stride + kOverread));
  r.fill(k.input, extreme);
  k.pad.resize(static_cast<size_t>(padded));
  r.fill(k.pad, false);
  k.weights.resize(static_cast<size_t>(c * s.kernel_h * s.kernel_w));
  r.fill(k.weights, extreme);
  k.packed = aligned_bytes(packed_depthwise_bytes(s));
  pack_depthwise_weights(s, k.weights.data(), k.packed.get());
  k.init.resize(static_cast<size_t>(padded));
  for (int32_t& v : k.init) v = static_cast<int32_t>(r.pick(-100'000, 100'000));

  const float typical = 255.0f / (20000.0f * static_cast<float>(s.kernel_h));
  const auto reals = [&](std::vector<float>& v, float low, float high) {
    v.resize(static_cast<size_t>(padded));
    for (float& x : v) x = r.real(low, high);
  };
  reals(k.scale, -typical, 2 * typical);
  reals(k.bias, -50, 200);
  if (extreme) {
    for (size_t i = 0; i < k.bias.size(); ++i) {
      if (r.chance(8)) k.scale[i] *= 1e8f;
      if (r.chance(8)) k.scale[i] = 0.5f, k.bias[i] = 0;  // ties
      if (r.chance(16)) k.bias[i] = std::numeric_limits<float>::quiet_NaN();
      if (r.chance(16)) k.bias[i] = r.chance(2) ? 1e30f : -1e30f;
    }
  }
  Epilogue& e = k.call.epilogue;
  if (r.chance(2)) e.function = static_cast<Function>(r.pick(0, static_cast<int64_t>(Function::kClip)));
  k.call.float_output = r.chance(5);
  e.alpha = r.real(0, 0.3f);
  e.beta = r.real(0.4f, 6);
  if (e.function != Function::kNone) {
    for (float& v : k.scale) v *= 0.05f;
    for (float& v : k.bias) v *= 0.05f;
    reals(k.out_scale, 5, 60);
    reals(k.out_zero, 0, 200);
    e.out_scale = k.out_scale.data(), e.out_zero = k.out_zero.data();
  }
  if (!k.call.float_output && r.chance(3)) {
    reals(k.residual_scale, -1, 1);
    e.residual_scale = k.residual_scale.data();
    k.call.residual_pixel_stride = c + (r.chance(2) ? 0 : r.pick(1, 70));
    k.residual.resize(static_cast<size_t>(out_pixels * k.call.residual_pixel_stride + kOverread));
    r.fill(k.residual, extreme);
    k.call.residual = k.residual.data();
  }
  if (r.chance(2)) {
    e.low = static_cast<uint8_t>(r.pick(0, 255));
    e.high = static_cast<uint8_t>(r.pick(e.low, 255));
  }
  e.scale = k.scale.data(), e.bias = k.bias.data();
  k.call.input = k.input.data();
  k.call.pad_pixel = k.pad.data();
  k.call.weights = k.packed.get();
  k.call.acc_init = k.init.data();
  k.call.out_pixel_stride = c + (r.chance(2) ? 0 : r.pick(1, 70));
  k.output_bytes = ((out_pixels - 1) * k.call.out_pixel_stride + c) * (k.call.float_output ? 4 : 1);
  return k;
}

// The output with guard bytes around it, as `body` leaves it.
template <typename Body>
std::vector<uint8_t> output_of(const Case& k, Body body) {
  std::vector<uint8_t> memory(static_cast<size_t>(k.output_bytes + 2 * kGuard), 0xa5);
  ConvCall call = k.call;
  call.output = memory.data() + kGuard;
  body(call);
  return memory;
}

// Pieces in a random order, in runs of one to three, each with scratch memory full of rubbish.
void run_in_pieces(const ConvKernel& kernel, const ConvCall& call, int64_t output_bytes, Random& r) {
  const int64_t pieces = kernel.pieces(call), size = kernel.scratch_bytes(call);
  ASSERT_GT(pieces, 0);
  const AlignedBytes scratch = aligned_bytes(size + kGuard);
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (int64_t i = 0; i < pieces;) {
    const int64_t end = std::min(pieces, i + r.pick(1, 3));
    ranges.emplace_back(i, end);
    i = end;
  }
  for (size_t i = ranges.size(); i > 1; --i)
    std::swap(ranges[i - 1], ranges[static_cast<size_t>(r.pick(0, static_cast<int64_t>(i) - 1))]);
  for (const auto& [begin, end] : ranges) {
    std::memset(scratch.get(), static_cast<int>(r.pick(0, 255)), static_cast<size_t>(size));
    std::memset(scratch.get() + size, 0x5a, kGuard);
    const auto content = [&] {
      const auto* bytes = static_cast<const uint8_t*>(call.output);
      return std::vector<uint8_t>(bytes, bytes + output_bytes);
    };
    const bool checked = r.chance(static_cast<int64_t>(ranges.size()));
    const std::vector<uint8_t> before = checked ? content() : std::vector<uint8_t>();
    kernel.run(call, begin, end, scratch.get());
    const PixelRange made = {kernel.pixels(call, begin).first, kernel.pixels(call, end - 1).last};
    ASSERT_TRUE(!checked || testing::same_outside(before, content(), 0, made,
                                                  call.out_pixel_stride * (call.float_output ? 4 : 1)));
    for (int64_t i = 0; i < kGuard; ++i) ASSERT_EQ(scratch[static_cast<size_t>(size + i)], std::byte{0x5a});
  }
}

TEST(Depthwise, KernelsMatchTheReference) {
  const int64_t cases = env_or("OCTET_TEST_CASES", 600);
  const auto seed = static_cast<uint64_t>(env_or("OCTET_TEST_SEED", std::random_device{}()));
  fmt::print("seed {}\n", seed);
  for (int64_t i = 0; i < cases; ++i) {
    const uint64_t case_seed = seed + static_cast<uint64_t>(i);
    const Case k = random_case(case_seed);
    const std::vector<uint8_t> expected =
        output_of(k, [](const ConvCall& call) { depthwise_reference(call); });
    for (const ConvKernel* kernel : depthwise_kernels()) {
      if (!has_isa(kernel->isa) || !kernel->supports(k.call.shape)) continue;
      Random r(case_seed);
      const std::vector<uint8_t> actual =
          output_of(k, [&](const ConvCall& call) { run_in_pieces(*kernel, call, k.output_bytes, r); });
      if (actual == expected) continue;
      const auto at = std::mismatch(actual.begin(), actual.end(), expected.begin()).first - actual.begin();
      const int64_t element = (at - kGuard) / (k.call.float_output ? 4 : 1);
      FAIL() << "OCTET_TEST_SEED=" << case_seed << " " << kernel->name << ": pixel "
             << element / k.call.out_pixel_stride << " channel " << element % k.call.out_pixel_stride
             << " is " << int{actual[static_cast<size_t>(at)]} << ", expected "
             << int{expected[static_cast<size_t>(at)]} << "; " << k.describe();
    }
  }
}

TEST(Depthwise, PackingPutsFourKernelRowsTogether) {
  ConvShape s;
  s.in_c = s.out_c = s.groups = 18;
  s.kernel_h = 5, s.kernel_w = 2;
  std::vector<int8_t> weights(18 * 5 * 2);
  std::iota(weights.begin(), weights.end(), int8_t{-90});
  ASSERT_EQ(packed_depthwise_bytes(s), 2 * 2 * 2 * 64);
  const AlignedBytes packed = aligned_bytes(packed_depthwise_bytes(s));
  pack_depthwise_weights(s, weights.data(), packed.get());
  const auto at = [&](int c, int x, int y) {
    return static_cast<int8_t>(
        packed[static_cast<size_t>(((c / 16 * 2 + x) * 2 + y / 4) * 64 + c % 16 * 4 + y % 4)]);
  };
  for (int c = 0; c < 32; ++c)
    for (int x = 0; x < 2; ++x)
      for (int y = 0; y < 8; ++y)
        EXPECT_EQ(at(c, x, y), c < 18 && y < 5 ? weights[static_cast<size_t>((c * 5 + y) * 2 + x)] : 0);
}

TEST(Depthwise, ChannelsAreRepeated) {
  for (int64_t times = 1; times <= 4; ++times)
    for (int64_t channels = 1; channels < 70; ++channels) {
      RepeatCall call{3, channels, times};
      call.in_stride = channels + 1;
      call.out_stride = channels * times + 2;
      std::vector<uint8_t> input(static_cast<size_t>(call.pixels * call.in_stride + 64)),
          output(static_cast<size_t>(call.pixels * call.out_stride), 255);
      for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<uint8_t>(i % 251);
      call.input = input.data();
      call.output = output.data();
      repeat_channels(call);
      for (int64_t p = 0; p < call.pixels; ++p)
        for (int64_t i = 0; i < call.out_stride; ++i)
          ASSERT_EQ(output[static_cast<size_t>(p * call.out_stride + i)],
                    i < channels * times ? input[static_cast<size_t>(p * call.in_stride + i / times)] : 255)
              << channels << " channels " << times << " times, pixel " << p << " byte " << i;
    }
}

TEST(Depthwise, SmallLayersGiveSeveralPieces) {
  ConvShape s;
  s.in_c = s.out_c = s.groups = 960;
  s.in_h = s.in_w = s.out_h = s.out_w = 7;
  s.kernel_h = s.kernel_w = 3, s.pad_top = s.pad_left = 1;
  ConvCall call;
  call.shape = s;
  for (const ConvKernel* kernel : depthwise_kernels()) EXPECT_GE(kernel->pieces(call), 4) << kernel->name;
}

}  // namespace
}  // namespace octet::kernels
