// AMX tiles: 32 pixels x 32 output channels as 2 x 2 tiles of 16 x 16 sums, which each instruction extends by
// 64 input channels. The packed weights are what a tile of the second factor looks like in memory.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "kernels/conv/avx512_epilogue.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/plan.h"
#include "kernels/conv/taps.h"

namespace octet::kernels {

namespace {

constexpr int kPixels = 32;
constexpr ConvTiles kTiles = {4, {kPixels, kPixels, kPixels, kPixels}};
constexpr int64_t kDepth = 64;               // of K, for one instruction
constexpr int64_t kTileBytes = 16 * kDepth;  // of weights
constexpr int64_t kLeastK = 64;

// As the hardware reads it.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The intrinsics do not say that they read and write memory.
inline __attribute__((always_inline)) void memory_barrier() {
  asm volatile("" ::: "memory");
}

// Rows of a first factor: `rows` has kPixels of them, `stride` bytes apart.
struct Rows {
  const uint8_t* bytes;
  int64_t stride;
};

struct Scratch {
  Taps taps;
  uint8_t* rows;  // [kPixels][row_bytes]
  int64_t row_bytes;
};

int64_t gathered_row_bytes(const ConvPlan& plan) {
  return round_up(plan.runs * plan.run_bytes, kDepth);
}

// The runs of `count` pixels side by side. What stands behind them is multiplied by zeros.
Rows gather(const ConvPlan& plan, const Scratch& scratch, const uint8_t* const* pointers, int64_t count) {
  const __mmask64 rest = first_lanes(plan.run_bytes % 64);
  uint8_t* column = scratch.rows;
  for (int64_t run = 0; run < plan.runs; ++run, pointers += plan.block_pixels, column += plan.run_bytes)
    for (int64_t p = 0; p < count; ++p) {
      const uint8_t* from = pointers[p];
      uint8_t* to = column + p * scratch.row_bytes;
      int64_t k = 0;
      for (; k + 64 <= plan.run_bytes; k += 64) _mm512_storeu_si512(to + k, _mm512_loadu_si512(from + k));
      if (rest != 0) _mm512_mask_storeu_epi8(to + k, rest, _mm512_loadu_si512(from + k));
    }
  return {scratch.rows, scratch.row_bytes};
}

// sums[kPixels][stride] of kBlocks x 16 channels; the upper half of the pixels only with kBoth.
template <int kBlocks, bool kBoth>
void multiply(const Rows& x, int64_t k, const int8_t* weights, int64_t block_bytes, const int32_t* init,
              int32_t* sums, int64_t stride) {
  alignas(64) int8_t tail[kBlocks][kTileBytes];
  const int64_t whole = k / kDepth, rest = k % kDepth;
  if (rest != 0)
    for (int j = 0; j < kBlocks; ++j) {
      std::memset(tail[j], 0, sizeof(tail[j]));
      std::memcpy(tail[j], weights + j * block_bytes + whole * kTileBytes, static_cast<size_t>(rest * 16));
    }
  memory_barrier();
  const uint8_t* low = x.bytes;
  const uint8_t* high = x.bytes + 16 * x.stride;
  // A stride of 0 repeats a row.
  _tile_loadd(0, init, 0);
  if constexpr (kBoth) _tile_loadd(2, init, 0);
  if constexpr (kBlocks == 2) {
    _tile_loadd(1, init + 16, 0);
    if constexpr (kBoth) _tile_loadd(3, init + 16, 0);
  }
  const auto step = [&](int64_t i, const int8_t* first, const int8_t* second) {
    _tile_loadd(6, first, 64);
    _tile_loadd(4, low + i * kDepth, x.stride);
    if constexpr (kBoth) _tile_loadd(5, high + i * kDepth, x.stride);
    _tile_dpbusd(0, 4, 6);
    if constexpr (kBoth) _tile_dpbusd(2, 5, 6);
    if constexpr (kBlocks == 2) {
      _tile_loadd(7, second, 64);
      _tile_dpbusd(1, 4, 7);
      if constexpr (kBoth) _tile_dpbusd(3, 5, 7);
    }
  };
  for (int64_t i = 0; i < whole; ++i)
    step(i, weights + i * kTileBytes, weights + block_bytes + i * kTileBytes);
  if (rest != 0) step(whole, tail[0], tail[kBlocks - 1]);
  _tile_stored(0, sums, stride * 4);
  if constexpr (kBoth) _tile_stored(2, sums + 16 * stride, stride * 4);
  if constexpr (kBlocks == 2) {
    _tile_stored(1, sums + 16, stride * 4);
    if constexpr (kBoth) _tile_stored(3, sums + 16 * stride + 16, stride * 4);
  }
  memory_barrier();
}

// `count` pixels for one tile of output channels.
void run_tile(const ConvCall& call, const ConvPlan& plan, const Rows& x, int64_t index, int64_t pixel,
              int64_t count) {
  const int64_t block = first_block(plan, index);
  const int64_t blocks = first_block(plan, index + 1) - block;
  const int64_t channel = block * 16;
  const int64_t width = std::min(plan.packed.out_c - channel, blocks * 16);
  const Epilogue& e = call.epilogue;
  Channels channels;
  Target target;
  target.mask = first_lanes(width);
  target.full = width == blocks * 16;
  target.stride = call.out_pixel_stride;
  target.residual_stride = call.residual_pixel_stride;
  target.low = e.low;
  target.high = e.high;
  target.bytes = static_cast<uint8_t*>(call.output) +
                 (pixel * call.out_pixel_stride + channel) * (call.float_output ? 4 : 1);
  if (e.residual_scale != nullptr)
    target.residual = call.residual + pixel * call.residual_pixel_stride + channel;
  load_channels(call, channel, target.mask, channels);
  target.bounded = bounded(call, channels);

  alignas(64) int32_t sums[kPixels * kTileChannels];
  const auto* weights = reinterpret_cast<const int8_t*>(call.weights) + block * plan.packed.block_bytes;
  const int64_t k = plan.runs * plan.run_bytes;
  const bool both = count > 16;
  const auto one = both ? multiply<1, true> : multiply<1, false>,
             two = both ? multiply<2, true> : multiply<2, false>;
  for (int64_t j = 0; j < blocks; j += 2)
    (j + 1 < blocks ? two : one)(x, k, weights + j * plan.packed.block_bytes, plan.packed.block_bytes,
                                 channels.init + 16 * j, sums + 16 * j, blocks * 16);
  finish_tile(call, channels, target, sums, static_cast<int>(count), static_cast<int>(blocks));
}

bool supports(const ConvShape& s) {
  return s.groups == 1 && s.in_c * s.kernel_h * s.kernel_w >= kLeastK;
}

int64_t pieces(const ConvCall& call) {
  return plan_conv(call, kTiles).pieces;
}

int64_t scratch_bytes(const ConvCall& call) {
  const ConvPlan plan = plan_conv(call, kTiles);
  return plan.scratch_bytes + kPixels * gathered_row_bytes(plan);
}

void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* memory) noexcept {
  const ConvPlan plan = plan_conv(call, kTiles);
  const Scratch scratch{start_taps(call, plan, memory),
                        reinterpret_cast<uint8_t*>(memory) + plan.scratch_bytes, gathered_row_bytes(plan)};
  const TileConfig config;
  memory_barrier();
  _tile_loadconfig(&config);
  for (int64_t index = begin; index < end; ++index) {
    const ConvPiece piece = conv_piece(plan, index);
    for (int64_t pixel = piece.first_pixel; pixel < piece.last_pixel; pixel += plan.block_pixels) {
      const int64_t count = std::min(piece.last_pixel - pixel, plan.block_pixels);
      if (!plan.linear || count % kPixels != 0) fill_taps(call, plan, scratch.taps, pixel, count);
      for (int64_t p = 0; p < count; p += kPixels) {
        const int64_t n = std::min<int64_t>(count - p, kPixels);
        const Rows x = plan.linear && n == kPixels
                           ? Rows{call.input + (pixel + p) * call.in_pixel_stride, call.in_pixel_stride}
                           : gather(plan, scratch, scratch.taps.pointers + p, n);
        for (int64_t t = piece.first_tile; t < piece.last_tile; ++t) run_tile(call, plan, x, t, pixel + p, n);
      }
    }
  }
  _tile_release();
}

}  // namespace

const ConvKernel conv_amx = {"amx", Isa::kAmx, supports, scratch_bytes, pieces, run};

}  // namespace octet::kernels
