// Register tiles of P output pixels x B blocks of 16 output channels: 6 x 64, 9 x 48, 14 x 32 and 28 x 16.
// Each step of 4 input channels broadcasts one dword per pixel and multiplies it with B vectors of weights.
#include <array>
#include <cstring>
#include <utility>

#include "kernels/conv/avx512_epilogue.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/plan.h"
#include "kernels/conv/taps.h"

namespace octet::kernels {

namespace {

constexpr ConvTiles kTiles = {4, {28, 14, 9, 6}};

constexpr int kAheadVectors = 16;     // accumulators of tiles that fetch ahead
constexpr int kAheadOfRow = 64 * 24;  // bytes that a single row, which waits for its weights, fetches ahead

struct TileArgs {
  const uint8_t* const* pointers;  // of the first pixel in the first run
  int64_t pointer_stride;
  const uint8_t* silent;  // runs of nothing else are skipped
  int64_t runs, run_bytes;
  int64_t offset;  // of the group's first channel
  const int8_t* weights;
  int64_t block_bytes;
  const int8_t* ahead;  // weights of the next tile: fetched with the steps of K, `ahead_step` bytes each
  int64_t ahead_step;
  const Channels* channels;
  Target target;
  int32_t* accumulators;  // [pixels][blocks * 16], or null: the tile stores bytes
};

inline __attribute__((always_inline)) __m512i broadcast(const uint8_t* p) {
  int32_t dword;
  std::memcpy(&dword, p, 4);
  return _mm512_set1_epi32(dword);
}

template <int P, int B>
inline __attribute__((always_inline)) void multiply(const TileArgs& a, __m512i (&acc)[P][B]) {
  constexpr int kHeld = 9;  // pointers in registers
  const int8_t *w = a.weights, *ahead = a.ahead;
  const int64_t ahead_step = a.ahead_step;
  const int64_t first = a.offset, last = a.offset + a.run_bytes;
  const uint8_t* const* pointers = a.pointers;
  for (int64_t run = a.runs; run > 0; --run, pointers += a.pointer_stride) {
    if (a.silent != nullptr && all_padding(pointers, P, a.silent)) {
      w += a.run_bytes * 16;
      continue;
    }
    const uint8_t* x[P];
#pragma GCC unroll 32
    for (int p = 0; p < P && p < kHeld; ++p) x[p] = pointers[p];
#pragma GCC unroll 1
    for (int64_t k = first; k < last; k += 4, w += 64) {
      asm("" : "+r"(pointers), "+r"(k));  // GCC copies pointers to the stack and steps each of them otherwise
      if constexpr (P * B >= kAheadVectors) {
        _mm_prefetch(ahead, _MM_HINT_T0);
        ahead += ahead_step;
      } else if constexpr (P == 1) {
#pragma GCC unroll 4
        for (int j = 0; j < B; ++j) _mm_prefetch(w + j * a.block_bytes + kAheadOfRow, _MM_HINT_T0);
      }
      __m512i weights[B];
#pragma GCC unroll 4
      for (int j = 0; j < B; ++j) weights[j] = _mm512_load_si512(w + j * a.block_bytes);
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) {
        const __m512i inputs = broadcast((p < kHeld ? x[p] : pointers[p]) + k);
#pragma GCC unroll 4
        for (int j = 0; j < B; ++j) dot(acc[p][j], inputs, weights[j]);
      }
    }
  }
}

template <int P, int B>
__attribute__((noinline)) void tile(const TileArgs& a) {
  __m512i acc[P][B];
#pragma GCC unroll 4
  for (int j = 0; j < B; ++j) {
    const __m512i init = _mm512_load_si512(a.channels->init + 16 * j);
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) acc[p][j] = init;
  }
  multiply<P, B>(a, acc);
  if (a.accumulators == nullptr) return store_u8<P, B>(*a.channels, a.target, acc);
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int j = 0; j < B; ++j) _mm512_store_si512(a.accumulators + (p * B + j) * 16, acc[p][j]);
}

using TileFunction = void (*)(const TileArgs&);

template <int B, size_t... P>
constexpr std::array<TileFunction, 29> tile_row(std::index_sequence<P...>) {
  return {nullptr, tile<static_cast<int>(P) + 1, B>...};
}

constexpr std::array<TileFunction, 29> kTileTable[4] = {
    tile_row<1>(std::make_index_sequence<kTiles.pixels[0]>()),
    tile_row<2>(std::make_index_sequence<kTiles.pixels[1]>()),
    tile_row<3>(std::make_index_sequence<kTiles.pixels[2]>()),
    tile_row<4>(std::make_index_sequence<kTiles.pixels[3]>())};

// All pixels of a block for one tile of output channels.
void run_tile(const ConvCall& call, const ConvPlan& plan, const Taps& taps, int64_t group, int64_t index,
              int64_t pixel, int64_t count) {
  const int64_t block = first_block(plan, index);
  const auto blocks = static_cast<int>(first_block(plan, index + 1) - block);
  const int64_t left = plan.packed.out_c - block * 16;
  const int64_t width = left < blocks * 16 ? left : blocks * 16;
  const int64_t channel = group * plan.packed.out_c + block * 16;
  const Epilogue& e = call.epilogue;

  Channels channels;
  TileArgs a;
  a.target.mask = first_lanes(width);
  load_channels(call, channel, a.target.mask, channels);
  a.target.bounded = bounded(call, channels);
  const bool general = call.float_output || e.function != Function::kNone || !a.target.bounded;
  alignas(64) int32_t accumulators[28 * 16];
  a.pointer_stride = plan.block_pixels;
  a.silent = taps.silent;
  a.runs = plan.runs;
  a.run_bytes = plan.run_bytes;
  a.offset = group * plan.packed.in_c;
  a.weights = reinterpret_cast<const int8_t*>(call.weights) +
              (group * plan.packed.blocks + block) * plan.packed.block_bytes;
  a.block_bytes = plan.packed.block_bytes;
  a.channels = &channels;
  a.accumulators = general ? accumulators : nullptr;
  a.target.stride = call.out_pixel_stride;
  a.target.residual_stride = call.residual_pixel_stride;
  a.target.full = width == blocks * 16;
  a.target.low = e.low;
  a.target.high = e.high;

  const int64_t most = kTiles.pixels[blocks - 1];
  const int64_t tiles = (count + most - 1) / most;
  const int64_t element = call.float_output ? 4 : 1;
  // The first block of pixels meets weights that are not in L2 yet.
  const int64_t steps = plan.packed.k4 * tiles, bytes = pixel == 0 ? blocks * plan.packed.block_bytes : 0;
  a.ahead_step = (bytes + steps - 1) / steps;
  for (int64_t i = 0, p = 0; i < tiles; ++i) {
    a.ahead = a.weights + bytes + i * plan.packed.k4 * a.ahead_step;
    const int64_t n = count / tiles + (i < count % tiles ? 1 : 0);
    a.pointers = taps.pointers + p;
    a.target.bytes =
        static_cast<uint8_t*>(call.output) + ((pixel + p) * call.out_pixel_stride + channel) * element;
    if (e.residual_scale != nullptr)
      a.target.residual = call.residual + (pixel + p) * call.residual_pixel_stride + channel;
    kTileTable[blocks - 1][static_cast<size_t>(n)](a);
    if (general) finish_tile(call, channels, a.target, accumulators, static_cast<int>(n), blocks);
    p += n;
  }
}

int64_t pieces(const ConvCall& call) {
  return plan_conv(call, kTiles).pieces;
}

int64_t scratch_bytes(const ConvCall& call) {
  return plan_conv(call, kTiles).scratch_bytes;
}

void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept {
  const ConvPlan plan = plan_conv(call, kTiles);
  const Taps taps = start_taps(call, plan, scratch);
  int64_t filled = -1;  // first pixel of the block whose pointers are in `taps`
  for (int64_t index = begin; index < end; ++index) {
    const ConvPiece piece = conv_piece(plan, index);
    for (int64_t pixel = piece.first_pixel; pixel < piece.last_pixel; pixel += plan.block_pixels) {
      const int64_t left = piece.last_pixel - pixel;
      const int64_t count = left < plan.block_pixels ? left : plan.block_pixels;
      if (pixel != filled) fill_taps(call, plan, taps, pixel, count);
      filled = pixel;
      for (int64_t t = piece.first_tile; t < piece.last_tile; ++t)
        run_tile(call, plan, taps, t / plan.tiles, t % plan.tiles, pixel, count);
    }
  }
}

}  // namespace

const ConvKernel conv_avx512vnni = {"avx512vnni",  Isa::kAvx512Vnni, supports_dense_conv,
                                    scratch_bytes, pieces,           run};

}  // namespace octet::kernels
