// Register tiles of P output pixels x B blocks of 16 output channels: 6 x 64, 9 x 48, 14 x 32 and 28 x 16.
// Each step of 4 input channels broadcasts one dword per pixel and multiplies it with B vectors of weights.
#include <array>
#include <cstring>
#include <utility>

#include "base/cpu.h"
#include "kernels/conv/avx512_short.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/padded_rows.h"
#include "kernels/conv/plan.h"
#include "kernels/conv/taps.h"

namespace octet::kernels {

namespace {

constexpr ConvTiles kTiles = {4, {28, 14, 9, 6}};

// Steps of K from which tiles of two blocks of channels are faster than those of four where a core starts two
// multiplications a cycle: the weights come from the second cache then, half as many bytes in the same time.
constexpr int64_t kNarrowSteps = 288;

ConvPlan plan_tiles(const ConvCall& call) {
  const ConvShape& s = call.shape;
  ConvTiles tiles = kTiles;
  if (call.tile_blocks == 0 && !halves_512_bit_vectors() && packed_conv(s).k4 >= kNarrowSteps &&
      s.batch * s.out_h * s.out_w > kTiles.pixels[3])
    tiles.max_blocks = 2;
  return plan_conv(call, tiles);
}

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
  constexpr int kFirst = P < kHeld ? P : kHeld;
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
    for (int p = 0; p < kFirst; ++p) x[p] = pointers[p];
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

// Steps of K up to which short tiles are the faster ones, measured: without a function those of twelve sums
// (further where they read padded rows, which large tiles do not), then those of eight; with a curve, whose
// epilogue takes longer, those of eight.
struct ShortLimits {
  int64_t wide, wide_rows, plain, curve;
};
constexpr ShortLimits kHalfVectors = {6, 6, 36, 72}, kWholeVectors = {16, 56, 0, 24};

enum class Tiles { kLarge, kShort, kWide };

Tiles tiles_of(const ConvCall& call, const ConvPlan& plan) {
  const Function f = call.epilogue.function;
  if (call.float_output || !has_short_tiles(f)) return Tiles::kLarge;
  const ShortLimits& limits = halves_512_bit_vectors() ? kHalfVectors : kWholeVectors;
  const int64_t wide = has_padded_rows(plan, call.shape) ? limits.wide_rows : limits.wide;
  if (f == Function::kNone && plan.packed.k4 <= wide) return Tiles::kWide;
  return plan.packed.k4 <= (f == Function::kNone ? limits.plain : limits.curve) ? Tiles::kShort
                                                                                : Tiles::kLarge;
}

// A tile of output channels.
struct ChannelTile {
  int64_t group, channel, width;
  int blocks;
  const int8_t* weights;
  Channels constants;
  Target target;  // without addresses
};

void load_tile(const ConvCall& call, const ConvPlan& plan, int64_t index, ChannelTile& t) {
  const int64_t block = first_block(plan, index % plan.tiles);
  t.group = index / plan.tiles;
  t.blocks = static_cast<int>(first_block(plan, index % plan.tiles + 1) - block);
  const int64_t left = plan.packed.out_c - block * 16;
  t.width = left < t.blocks * 16 ? left : t.blocks * 16;
  t.channel = t.group * plan.packed.out_c + block * 16;
  t.weights = reinterpret_cast<const int8_t*>(call.weights) +
              (t.group * plan.packed.blocks + block) * plan.packed.block_bytes;
  t.target.mask = first_lanes(t.width);
  load_channels(call, t.channel, t.target.mask, t.constants);
  t.target.bounded = bounded(call, t.constants);
  t.target.stride = call.out_pixel_stride;
  t.target.residual_stride = call.residual_pixel_stride;
  t.target.full = t.width == t.blocks * 16;
  set_limits(call.epilogue, t.target);
}

// Points `target`, a copy of the tile's, at a pixel. (A copy for each pixel would be a vector load of what
// was just stored in parts, and wait for all stores before it.)
void move_to(const ConvCall& call, const ChannelTile& t, int64_t pixel, Target& target) {
  target.bytes = static_cast<uint8_t*>(call.output) +
                 (pixel * call.out_pixel_stride + t.channel) * (call.float_output ? 4 : 1);
  if (call.epilogue.residual_scale != nullptr)
    target.residual = call.residual + pixel * call.residual_pixel_stride + t.channel;
}

// Pixels [pixel, pixel + count) in short tiles. Their runs are found as ShortArgs says.
void run_short(const ConvCall& call, const ConvPlan& plan, const uint8_t* const* pointers,
               int64_t input_stride, const ChannelTile& t, int64_t pixel, int64_t count, bool wide) {
  ShortArgs a;
  a.pointers = pointers;
  a.input_stride = input_stride;
  a.pointer_stride = plan.block_pixels;
  a.offset = t.group * plan.packed.in_c;
  a.runs = plan.runs;
  a.run_bytes = plan.run_bytes;
  a.weights = t.weights;
  a.block_bytes = plan.packed.block_bytes;
  a.channels = &t.constants;
  a.target = t.target;
  move_to(call, t, pixel, a.target);
  a.pixels = count;
  run_short_tiles(call.epilogue, a, t.blocks, wide);
}

// The pixels of `taps`, [pixel, pixel + count), in large tiles.
void run_tiles(const ConvCall& call, const ConvPlan& plan, const Taps& taps, const ChannelTile& t,
               int64_t pixel, int64_t count) {
  const bool general = call.float_output || call.epilogue.function != Function::kNone || !t.target.bounded;
  alignas(64) int32_t accumulators[28 * 16];
  TileArgs a;
  a.pointer_stride = plan.block_pixels;
  a.silent = taps.silent;
  a.runs = plan.runs;
  a.run_bytes = plan.run_bytes;
  a.offset = t.group * plan.packed.in_c;
  a.weights = t.weights;
  a.block_bytes = plan.packed.block_bytes;
  a.channels = &t.constants;
  a.target = t.target;
  a.accumulators = general ? accumulators : nullptr;

  const int64_t most = kTiles.pixels[t.blocks - 1];
  const int64_t tiles = (count + most - 1) / most;
  // The first block of pixels meets weights that are not in L2 yet.
  const int64_t steps = plan.packed.k4 * tiles, bytes = pixel == 0 ? t.blocks * plan.packed.block_bytes : 0;
  a.ahead_step = (bytes + steps - 1) / steps;
  for (int64_t i = 0, p = 0; i < tiles; ++i) {
    a.ahead = a.weights + bytes + i * plan.packed.k4 * a.ahead_step;
    const int64_t n = count / tiles + (i < count % tiles ? 1 : 0);
    a.pointers = taps.pointers + p;
    move_to(call, t, pixel + p, a.target);
    kTileTable[t.blocks - 1][static_cast<size_t>(n)](a);
    if (general) finish_tile(call, t.constants, a.target, accumulators, static_cast<int>(n), t.blocks);
    p += n;
  }
}

int64_t pieces(const ConvCall& call) {
  return plan_tiles(call).pieces;
}

PixelRange pixels(const ConvCall& call, int64_t piece) {
  return piece_pixels(plan_tiles(call), piece);
}

int64_t scratch_bytes(const ConvCall& call) {
  const ConvPlan plan = plan_tiles(call);
  int64_t bytes = plan.scratch_bytes;
  if (tiles_of(call, plan) != Tiles::kLarge && has_padded_rows(plan, call.shape))
    bytes += call.shape.kernel_h * padded_row_bytes(plan, call.shape);
  return bytes;
}

// A call in progress on one thread.
struct Work {
  Work(const ConvCall& c, std::byte* scratch)
      : call(c),
        plan(plan_tiles(c)),
        taps(start_taps(c, plan, scratch)),
        tiles(tiles_of(c, plan)),
        with_rows(tiles != Tiles::kLarge && has_padded_rows(plan, c.shape)) {
    if (with_rows) rows = start_rows(c, plan, scratch + plan.scratch_bytes);
  }

  ChannelTile channels[2];  // those of the latest tiles with an even and an odd number
  int64_t loaded[2] = {-1, -1};
  const ConvCall& call;
  const ConvPlan plan;
  const Taps taps;
  PaddedRows rows;
  int64_t filled = -1;  // first pixel of the block whose pointers are in `taps`
  const Tiles tiles;
  const bool with_rows;
};

const ChannelTile& tile_of(Work& w, int64_t index) {
  const auto i = static_cast<size_t>(index & 1);
  if (w.loaded[i] != index) load_tile(w.call, w.plan, index, w.channels[i]);
  w.loaded[i] = index;
  return w.channels[i];
}

// Pixels of one tile of channels, by pointers to their taps.
void run_by_taps(Work& w, const ChannelTile& tile, int64_t pixel, int64_t end) {
  for (; pixel < end; pixel += w.plan.block_pixels) {
    const int64_t count = end - pixel < w.plan.block_pixels ? end - pixel : w.plan.block_pixels;
    if (w.filled != pixel) fill_taps(w.call, w.plan, w.taps, pixel, count);
    w.filled = pixel;
    if (w.tiles != Tiles::kLarge && tile.target.bounded)
      run_short(w.call, w.plan, w.taps.pointers, 0, tile, pixel, count, w.tiles == Tiles::kWide);
    else
      run_tiles(w.call, w.plan, w.taps, tile, pixel, count);
  }
}

// How far from `pixel` a part of a piece goes that is one walk for every tile of channels.
int64_t part_end(const Work& w, int64_t pixel, int64_t end) {
  if (w.tiles != Tiles::kLarge && w.plan.linear) return end;
  const int64_t out_w = w.call.shape.out_w;
  const int64_t next = w.with_rows ? (pixel / out_w + 1) * out_w : pixel + w.plan.block_pixels;
  return next < end ? next : end;
}

void run_part(Work& w, const ConvPiece& piece, int64_t pixel, int64_t end) {
  const ConvShape& s = w.call.shape;
  const uint8_t* bases[kMostKernelRows] = {w.call.input + pixel * w.call.in_pixel_stride};
  int64_t step = w.plan.linear ? w.call.in_pixel_stride : 0;
  if (w.with_rows) {
    const int64_t row = pixel / s.out_w, x = pixel % s.out_w;
    step = s.stride_w * w.call.in_pixel_stride;
    load_rows(w.call, w.plan, w.rows, row / s.out_h, row % s.out_h, bases);
    for (int64_t r = 0; r < s.kernel_h; ++r) bases[r] += x * step;
  }
  for (int64_t t = piece.first_tile; t < piece.last_tile; ++t) {
    const ChannelTile& tile = tile_of(w, t);
    if (w.tiles != Tiles::kLarge && step > 0 && tile.target.bounded)
      run_short(w.call, w.plan, bases, step, tile, pixel, end - pixel, w.tiles == Tiles::kWide);
    else
      run_by_taps(w, tile, pixel, end);
  }
}

void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept {
  Work work(call, scratch);
  for (int64_t index = begin; index < end; ++index) {
    const ConvPiece piece = conv_piece(work.plan, index);
    for (int64_t pixel = piece.first_pixel; pixel < piece.last_pixel;) {
      const int64_t next = part_end(work, pixel, piece.last_pixel);
      run_part(work, piece, pixel, next);
      pixel = next;
    }
  }
}

}  // namespace

const ConvKernel conv_avx512vnni = {
    "avx512vnni", Isa::kAvx512Vnni, supports_dense_conv, scratch_bytes, pieces, run, pixels};

}  // namespace octet::kernels
