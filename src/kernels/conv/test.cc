// Every kernel of the family against the reference, over random shapes. OCTET_TEST_CASES sets the number of
// cases, OCTET_TEST_SEED the seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/pack.h"
#include "kernels/simd/test_tools.h"

namespace octet::kernels {
namespace {

constexpr int64_t kGuard = 128;

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

template <typename T>
class AlignedArray {
 public:
  explicit AlignedArray(int64_t count)
      : data_(static_cast<T*>(
            std::aligned_alloc(64, static_cast<size_t>(round_up(count * sizeof(T) + 1, 64))))),
        count_(count) {}
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](int64_t i) { return data_.get()[i]; }
  int64_t size() const { return count_; }

 private:
  std::unique_ptr<T[], FreeDeleter> data_;
  int64_t count_;
};

int64_t environment(const char* name, int64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoll(text, nullptr, 10);
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t between(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  bool one_in(int64_t n) { return between(1, n) == 1; }
  float real(float low, float high) { return std::uniform_real_distribution<float>(low, high)(engine_); }
  template <typename T>
  void bytes(T* out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(engine_());
  }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

int64_t output_size(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  return (in + pads - (kernel - 1) * dilation - 1) / stride + 1;
}

ConvShape random_shape(Random& r) {
  ConvShape s;
  s.groups = r.one_in(4) ? r.between(2, 4) : 1;
  if (r.one_in(12)) {  // many small groups
    s.groups = r.between(2, 11);
    s.in_c = s.groups * 4 * r.between(1, 2);
    s.out_c = s.groups * 4 * r.between(1, 2);
  }
  const int64_t in_c = r.one_in(3) ? r.between(1, 70) : r.between(1, 12);
  const int64_t out_c = r.one_in(2) ? r.between(1, 140) : r.between(1, 20);
  const bool small_groups = s.in_c > 1;
  if (!small_groups) s.in_c = s.groups * (s.groups > 1 ? (in_c + 1) / 2 : in_c);
  if (!small_groups) s.out_c = s.groups * (s.groups > 1 ? (out_c + 2) / 3 : out_c);
  if (s.depthwise()) s.out_c *= 2;
  s.batch = r.one_in(3) ? r.between(2, 3) : 1;
  if (r.one_in(3)) {  // gemm
    s.in_h = s.out_h = 1;
    s.in_w = s.out_w = r.between(1, 60);
    return s;
  }
  do {
    const bool point = r.one_in(3);
    s.kernel_h = point ? 1 : r.between(1, 7);
    s.kernel_w = point ? 1 : r.between(1, 7);
    s.stride_h = r.between(1, 3);
    s.stride_w = r.between(1, 3);
    s.dilation_h = r.one_in(4) ? r.between(2, 3) : 1;
    s.dilation_w = r.one_in(4) ? r.between(2, 3) : 1;
    s.in_h = r.between(1, 12);
    s.in_w = r.between(1, 24);
    s.pad_top = r.between(0, 3);
    s.pad_left = r.between(0, 3);
    s.out_h = output_size(s.in_h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top + r.between(0, 3));
    s.out_w = output_size(s.in_w, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left + r.between(0, 3));
  } while (s.out_h < 1 || s.out_w < 1);
  return s;
}

std::string describe(const ConvCall& call) {
  const ConvShape& s = call.shape;
  return fmt::format(
      "batch {} in {}x{}x{} out {}x{}x{} kernel {}x{} stride {}x{} dilation {}x{} pad {},{} groups {} "
      "strides {} {} {} "
      "function {} residual {} float {} tile blocks {}",
      s.batch, s.in_h, s.in_w, s.in_c, s.out_h, s.out_w, s.out_c, s.kernel_h, s.kernel_w, s.stride_h,
      s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_left, s.groups, call.in_pixel_stride,
      call.out_pixel_stride, call.residual_pixel_stride, static_cast<int>(call.epilogue.function),
      call.residual != nullptr, call.float_output, call.tile_blocks);
}

// A random call and the memory it needs.
struct Case {
  Case(Random& r, const ConvShape& s)
      : weights(s.out_c * (s.in_c / s.groups) * s.kernel_h * s.kernel_w),
        packed(packed_conv_bytes(s)),
        init(round_up(s.out_c, kChannelPad)) {
    call.shape = s;
    fill_inputs(r);
    fill_weights(r);
    fill_epilogue(r);
    call.out_pixel_stride = s.out_c + (r.one_in(2) ? r.between(0, 70) : 0);
    call.float_output = float_output;
    call.tile_blocks = r.one_in(2) ? static_cast<int>(r.between(1, kMostTileBlocks)) : 0;
    call.threads = static_cast<int>(r.between(1, 3));
    const int64_t element = float_output ? 4 : 1;
    in_place = call.residual != nullptr && r.one_in(3);
    output_bytes = 2 * kGuard + s.batch * s.out_h * s.out_w * call.out_pixel_stride * element;
  }

  void fill_inputs(Random& r) {
    const ConvShape& s = call.shape;
    call.in_pixel_stride = r.one_in(2)   ? round_up(s.in_c, 4)
                           : r.one_in(2) ? s.in_c + r.between(0, 40)
                                         : s.in_c;
    input =
        std::make_unique<AlignedArray<uint8_t>>(s.batch * s.in_h * s.in_w * call.in_pixel_stride + kOverread);
    r.bytes(input->data(), input->size());
    if (r.one_in(8)) std::memset(input->data(), 255, static_cast<size_t>(input->size()));
    call.input = input->data();
    pad = std::make_unique<AlignedArray<uint8_t>>(round_up(s.in_c, 64) + kOverread);
    r.bytes(pad->data(), pad->size());
    if (r.one_in(3)) std::memset(pad->data(), 0, static_cast<size_t>(s.in_c));  // kernels may skip it
    call.pad_pixel = pad->data();
  }

  void fill_weights(Random& r) {
    const ConvShape& s = call.shape;
    const int64_t range = r.one_in(2) ? 64 : 128;
    for (int64_t i = 0; i < weights.size(); ++i)
      weights[i] = static_cast<int8_t>(r.between(-range, range - 1));
    if (r.one_in(8))
      for (int64_t i = 0; i < weights.size(); ++i) weights[i] = r.one_in(2) ? -128 : 127;
    if (r.one_in(8))
      for (int64_t i = 0; i < weights.size(); ++i) weights[i] = r.one_in(100) ? 127 : -128;
    pack_conv_weights(s, weights.data(), packed.data());
    conv_acc_init(s, packed.data(), pad->data(), init.data());
    if (r.one_in(4))
      std::fill_n(init.data(), init.size(), static_cast<int32_t>(r.between(-1000000000, 1000000000)));
    call.weights = packed.data();
    call.acc_init = init.data();
  }

  void fill_epilogue(Random& r) {
    const ConvShape& s = call.shape;
    const int64_t channels = round_up(s.out_c, kChannelPad);
    for (auto& array : channel_arrays) array.resize(static_cast<size_t>(channels));
    Epilogue& e = call.epilogue;
    const bool function = r.one_in(3);
    if (function) e.function = static_cast<Function>(r.between(1, 10));
    e.alpha = r.real(-1, 1);
    e.beta = r.real(-1, 3);
    float_output = r.one_in(4);
    const float k = static_cast<float>(s.in_c / s.groups * s.kernel_h * s.kernel_w);
    const float spread = (function ? 4.0f : 200.0f) / (255 * 60 * std::sqrt(k));
    for (int64_t c = 0; c < channels; ++c) {
      const auto i = static_cast<size_t>(c);
      channel_arrays[0][i] = r.real(-spread, spread);
      channel_arrays[1][i] = function ? r.real(-2, 2) : r.real(-20, 200);
      channel_arrays[2][i] = r.real(0, 100);
      channel_arrays[3][i] = r.real(0, 200);
      channel_arrays[4][i] = r.real(-2, 2);
    }
    if (!function && r.one_in(6)) make_extreme(r);
    e.scale = channel_arrays[0].data();
    e.bias = channel_arrays[1].data();
    const bool bytes_function = function && !float_output;
    if (bytes_function) {
      e.out_scale = channel_arrays[2].data();
      e.out_zero = channel_arrays[3].data();
    }
    if (!float_output && r.one_in(2)) {
      e.residual_scale = channel_arrays[4].data();
      call.residual_pixel_stride = s.out_c + (r.one_in(2) ? r.between(0, 30) : 0);
      residual = std::make_unique<AlignedArray<uint8_t>>(
          s.batch * s.out_h * s.out_w * call.residual_pixel_stride + kOverread);
      r.bytes(residual->data(), residual->size());
      call.residual = residual->data();
    }
    if (r.one_in(2)) {
      e.low = static_cast<uint8_t>(r.between(0, 255));
      e.high = static_cast<uint8_t>(r.between(e.low, 255));
    }
  }

  // Values beyond int32, infinities, and NaN where the output is u8; halves, to see the rounding.
  void make_extreme(Random& r) {
    const float inf = std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < channel_arrays[0].size(); ++i) {
      switch (r.between(0, 5)) {
        case 0:
          channel_arrays[0][i] = r.real(-1e9f, 1e9f);
          break;
        case 1:
          channel_arrays[1][i] = r.one_in(2) ? inf : -inf;
          break;
        case 2:
          channel_arrays[1][i] = r.one_in(2) ? 3e9f : -3e9f;
          break;
        case 3:
          channel_arrays[0][i] = 0.5f;
          break;
        case 4:
          if (!float_output) channel_arrays[1][i] = std::numeric_limits<float>::quiet_NaN();
          break;
        default:
          channel_arrays[0][i] = 0.5f, channel_arrays[1][i] = 128;
      }
    }
  }

  // The whole output buffer with its guards, after `kernel` has run all its pieces in random order and
  // ranges.
  std::vector<uint8_t> run(const ConvKernel& kernel, Random& r) const {
    AlignedArray<uint8_t> output(output_bytes);
    const auto content = [&] { return std::vector<uint8_t>(output.data(), output.data() + output.size()); };
    for (int64_t i = 0; i < output.size(); ++i) output[i] = static_cast<uint8_t>(i * 37);
    ConvCall c = call;
    c.output = output.data() + kGuard;
    if (in_place) {
      c.residual = output.data() + kGuard;
      c.residual_pixel_stride = c.out_pixel_stride;
    }
    const int64_t scratch_bytes = kernel.scratch_bytes(c), pieces = kernel.pieces(c);
    AlignedArray<std::byte> scratch(scratch_bytes + kGuard);
    std::memset(scratch.data(), 0x5a, static_cast<size_t>(scratch.size()));
    std::vector<std::pair<int64_t, int64_t>> ranges;
    for (int64_t begin = 0; begin < pieces;) {
      const int64_t end = std::min(pieces, begin + r.between(1, 4));
      ranges.emplace_back(begin, end);
      begin = end;
    }
    std::shuffle(ranges.begin(), ranges.end(), r.engine());
    const size_t checked = static_cast<size_t>(r.between(0, static_cast<int64_t>(ranges.size()) - 1));
    for (size_t i = 0; i < ranges.size(); ++i) {
      const auto [begin, end] = ranges[i];
      const std::vector<uint8_t> before = i == checked ? content() : std::vector<uint8_t>();
      kernel.run(c, begin, end, scratch.data());
      if (i != checked) continue;
      const PixelRange made = {kernel.pixels(c, begin).first, kernel.pixels(c, end - 1).last};
      EXPECT_TRUE(
          testing::same_outside(before, content(), kGuard, made, c.out_pixel_stride * (float_output ? 4 : 1)))
          << kernel.name << " wrote other pixels than it names";
    }
    for (int64_t i = 0; i < kGuard; ++i)
      EXPECT_EQ(scratch[scratch_bytes + i], std::byte{0x5a})
          << kernel.name << " wrote past its scratch memory";
    return content();
  }

  ConvCall call;
  AlignedArray<int8_t> weights;
  AlignedArray<std::byte> packed;
  AlignedArray<int32_t> init;
  std::unique_ptr<AlignedArray<uint8_t>> input, pad, residual;
  std::vector<float> channel_arrays[5];
  bool float_output = false, in_place = false;  // in place: the residual is the output's old content
  int64_t output_bytes = 0;
};

void compare(const Case& c, Random& r) {
  const std::vector<uint8_t> expected = c.run(*conv_kernels().back(), r);
  for (const ConvKernel* kernel : conv_kernels()) {
    if (!has_isa(kernel->isa) || !kernel->supports(c.call.shape) || kernel == conv_kernels().back()) continue;
    const std::vector<uint8_t> found = c.run(*kernel, r);
    const auto [e, f] = std::mismatch(expected.begin(), expected.end(), found.begin());
    ASSERT_TRUE(e == expected.end()) << kernel->name << ": byte " << e - expected.begin() - kGuard << " is "
                                     << int{*f} << ", not " << int{*e} << "; " << describe(c.call);
  }
}

TEST(Conv, MatchesReferenceOnRandomShapes) {
  const int64_t cases = environment("OCTET_TEST_CASES", 2000);
  const uint64_t seed = static_cast<uint64_t>(environment("OCTET_TEST_SEED", std::random_device{}()));
  SCOPED_TRACE(fmt::format("OCTET_TEST_SEED={}", seed));
  RecordProperty("seed", std::to_string(seed));
  Random r(seed);
  for (int64_t i = 0; i < cases && !::testing::Test::HasFailure(); ++i) compare(Case(r, random_shape(r)), r);
}

TEST(Conv, MatchesReferenceOnLayersOfNetworks) {
  const uint64_t seed = static_cast<uint64_t>(environment("OCTET_TEST_SEED", std::random_device{}()));
  SCOPED_TRACE(fmt::format("OCTET_TEST_SEED={}", seed));
  Random r(seed);
  const ConvShape shapes[] = {
      {.in_h = 23,
       .in_w = 23,
       .in_c = 3,
       .out_h = 12,
       .out_w = 12,
       .out_c = 32,
       .kernel_h = 3,
       .kernel_w = 3,
       .stride_h = 2,
       .stride_w = 2,
       .pad_top = 1,
       .pad_left = 1},
      {.in_h = 32,
       .in_w = 32,
       .in_c = 4,
       .out_h = 16,
       .out_w = 16,
       .out_c = 64,
       .kernel_h = 7,
       .kernel_w = 7,
       .stride_h = 2,
       .stride_w = 2,
       .pad_top = 3,
       .pad_left = 3},
      {.in_h = 14, .in_w = 14, .in_c = 96, .out_h = 14, .out_w = 14, .out_c = 576},
      {.in_h = 7,
       .in_w = 7,
       .in_c = 128,
       .out_h = 7,
       .out_w = 7,
       .out_c = 512,
       .kernel_h = 3,
       .kernel_w = 3,
       .pad_top = 1,
       .pad_left = 1},
      {.in_c = 1024, .out_c = 1000},
      {.in_h = 64,
       .in_w = 64,
       .in_c = 4,
       .out_h = 4,
       .out_w = 4,
       .out_c = 192,
       .kernel_h = 16,
       .kernel_w = 16,
       .stride_h = 16,
       .stride_w = 16},
      {.in_h = 14,
       .in_w = 14,
       .in_c = 128,
       .out_h = 14,
       .out_w = 14,
       .out_c = 128,
       .kernel_h = 3,
       .kernel_w = 3,
       .pad_top = 1,
       .pad_left = 1,
       .groups = 32},
  };
  for (const ConvShape& shape : shapes)
    for (int i = 0; i < 3; ++i) compare(Case(r, shape), r);
}

TEST(Conv, ReferenceIsADirectSum) {
  const ConvShape s{.in_h = 2,
                    .in_w = 2,
                    .in_c = 1,
                    .out_h = 2,
                    .out_w = 2,
                    .out_c = 1,
                    .kernel_h = 3,
                    .kernel_w = 3,
                    .pad_top = 1,
                    .pad_left = 1};
  const int8_t weights[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  AlignedArray<std::byte> packed(packed_conv_bytes(s));
  pack_conv_weights(s, weights, packed.data());
  uint8_t input[4 + kOverread] = {10, 20, 30, 40}, pad[64] = {5};
  int32_t init[64];
  conv_acc_init(s, packed.data(), pad, init);
  EXPECT_EQ(init[0], -5 * 45);
  std::vector<float> scale(64, 0.125f), bias(64, 5);
  ConvCall call;
  call.shape = s;
  call.input = input;
  call.in_pixel_stride = 1;
  call.pad_pixel = pad;
  call.weights = packed.data();
  call.acc_init = init;
  call.epilogue.scale = scale.data();
  call.epilogue.bias = bias.data();
  uint8_t output[4];
  call.output = output;
  call.out_pixel_stride = 1;
  const ConvKernel& reference = *conv_kernels().back();
  reference.run(call, 0, reference.pieces(call), nullptr);
  // Inputs less the zero-point: 5 15 / 25 35.
  const int sums[4] = {5 * 5 + 15 * 6 + 25 * 8 + 35 * 9, 5 * 4 + 15 * 5 + 25 * 7 + 35 * 8,
                       5 * 2 + 15 * 3 + 25 * 5 + 35 * 6, 5 * 1 + 15 * 2 + 25 * 4 + 35 * 5};
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(output[i], static_cast<int>(std::nearbyint(sums[i] * 0.125 + 5))) << i;
}

TEST(Conv, FlagsBlocksWhosePairsFit) {
  const ConvShape s{.in_c = 2, .out_c = 48};
  std::vector<int8_t> weights(96, 64);
  weights[2 * 20] = 65;    // block 1: 65 + 64 > 128
  weights[2 * 40] = -128;  // block 2: -128 + 0 fits
  weights[2 * 40 + 1] = 127;
  AlignedArray<std::byte> packed(packed_conv_bytes(s));
  pack_conv_weights(s, weights.data(), packed.data());
  const std::byte* flags = packed.data() + packed_conv(s).flags_offset;
  EXPECT_EQ(flags[0], std::byte{1});
  EXPECT_EQ(flags[1], std::byte{0});
  EXPECT_EQ(flags[2], std::byte{1});
}

TEST(Conv, ChoosesWhatTheInstructionSetCanRun) {
  const ConvShape s{.in_c = 8, .out_c = 8};
  EXPECT_EQ(choose_conv(s, Isa::kReference).name, "reference");
  EXPECT_EQ(choose_conv(s, Isa::kAvx2).name, "avx2");
  EXPECT_EQ(choose_conv(s, Isa::kAvxVnni).name, "avxvnni");
  EXPECT_EQ(choose_conv(s, Isa::kAvx512Vnni).name, "avx512vnni");
  EXPECT_EQ(choose_conv(s, Isa::kAmx).name, "avx512vnni") << "too few products for a tile";
  EXPECT_EQ(choose_conv({.in_c = 64, .out_c = 8}, Isa::kAmx).name, "avx512vnni") << "too few pixels";
  ConvShape row{.in_w = 16, .in_c = 64, .out_w = 16, .out_c = 8};
  EXPECT_EQ(choose_conv(row, Isa::kAmx).name, "amx");
  row.kernel_w = 3;
  EXPECT_EQ(choose_conv(row, Isa::kAmx).name, "avx512vnni") << "a gather for too few channels";
  row.out_c = 17;
  EXPECT_EQ(choose_conv(row, Isa::kAmx).name, "amx");
}

}  // namespace
}  // namespace octet::kernels
