// Groups of 4 or 8 output channels: 4 or 2 groups share a vector of 16 output channels. A step loads the 16
// input bytes of those groups and gives each lane the dword of its own group.
#include <array>
#include <cstring>
#include <utility>

#include "kernels/conv/avx512_epilogue.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/plan.h"
#include "kernels/conv/taps.h"

namespace octet::kernels {

namespace {

constexpr int kPixels = 16;
constexpr ConvTiles kTiles = {1, {kPixels, 0, 0, 0}, true};
constexpr int kMaxSteps = 2;  // dwords of one group's input channels

struct TileArgs {
  const uint8_t* const* pointers;  // of the first pixel in the first tap
  int64_t pointer_stride;
  int64_t taps, steps;
  int64_t offset;            // of the first group's first channel
  const std::byte* weights;  // [taps][steps][16][4]
  const Channels* channels;
  Target target;
  int32_t* accumulators;                     // [pixels][16], or null: the tile stores bytes
  alignas(64) int32_t lanes[kMaxSteps][16];  // dword of each lane
};

template <int P>
__attribute__((noinline)) void tile(const TileArgs& a) {
  __m512i acc[P][1];
  const __m512i init = _mm512_load_si512(a.channels->init);
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) acc[p][0] = init;
  const std::byte* w = a.weights;
  const uint8_t* const* pointers = a.pointers;
  for (int64_t tap = 0; tap < a.taps; ++tap, pointers += a.pointer_stride) {
    for (int64_t step = 0; step < a.steps; ++step, w += 64) {
      const __m512i weights = _mm512_load_si512(w), lanes = _mm512_load_si512(a.lanes[step]);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pointers[p] + a.offset));
        dot(acc[p][0], _mm512_permutexvar_epi32(lanes, _mm512_castsi128_si512(x)), weights);
      }
    }
  }
  if (a.accumulators == nullptr) return store_u8<P, 1>(*a.channels, a.target, acc);
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) _mm512_store_si512(a.accumulators + p * 16, acc[p][0]);
}

using TileFunction = void (*)(const TileArgs&);

template <size_t... P>
constexpr std::array<TileFunction, kPixels + 1> tile_row(std::index_sequence<P...>) {
  return {nullptr, tile<static_cast<int>(P) + 1>...};
}

constexpr std::array<TileFunction, kPixels + 1> kTileTable = tile_row(std::make_index_sequence<kPixels>());

// The weights of the groups of vector `index`, side by side.
void gather_weights(const ConvCall& call, const PackedConv& packed, int64_t index, std::byte* out) {
  const int64_t groups = 16 / packed.out_c, first = index * groups;
  const auto width = static_cast<size_t>(packed.out_c) * 4;
  std::memset(out, 0, static_cast<size_t>(packed.block_bytes));
  for (int64_t g = 0; g < groups && first + g < call.shape.groups; ++g) {
    const std::byte* block = call.weights + (first + g) * packed.block_bytes;
    for (int64_t k = 0; k < packed.k4; ++k)
      std::memcpy(out + k * 64 + g * packed.out_c * 4, block + k * 64, width);
  }
}

// All pixels of a block for vector `index` of output channels.
void run_vector(const ConvCall& call, const ConvPlan& plan, const Taps& taps, int64_t index, int64_t pixel,
                int64_t count, std::byte* weights) {
  const PackedConv& packed = plan.packed;
  const Epilogue& e = call.epilogue;
  const int64_t channel = index * 16;
  gather_weights(call, packed, index, weights);
  Channels channels;
  TileArgs a;
  a.target.mask = first_lanes(call.shape.out_c - channel) & 0xffff;
  load_channels(call, channel, a.target.mask, channels);
  a.target.bounded = bounded(call, channels);
  const bool general = call.float_output || e.function != Function::kNone || !a.target.bounded;
  alignas(64) int32_t accumulators[kPixels * 16];
  a.pointer_stride = plan.block_pixels;
  a.taps = plan.runs;
  a.steps = packed.padded_in_c / 4;
  a.offset = channel / packed.out_c * packed.in_c;
  a.weights = weights;
  a.channels = &channels;
  a.accumulators = general ? accumulators : nullptr;
  for (int64_t step = 0; step < a.steps; ++step)
    for (int64_t lane = 0; lane < 16; ++lane)
      a.lanes[step][lane] = static_cast<int32_t>(lane / packed.out_c * a.steps + step);
  a.target.stride = call.out_pixel_stride;
  a.target.residual_stride = call.residual_pixel_stride;
  a.target.full = a.target.mask == 0xffff;
  set_limits(e, a.target);

  const int64_t tiles = (count + kPixels - 1) / kPixels;
  const int64_t element = call.float_output ? 4 : 1;
  for (int64_t i = 0, p = 0; i < tiles; ++i) {
    const int64_t n = count / tiles + (i < count % tiles ? 1 : 0);
    a.pointers = taps.pointers + p;
    a.target.bytes =
        static_cast<uint8_t*>(call.output) + ((pixel + p) * call.out_pixel_stride + channel) * element;
    if (e.residual_scale != nullptr)
      a.target.residual = call.residual + (pixel + p) * call.residual_pixel_stride + channel;
    kTileTable[static_cast<size_t>(n)](a);
    if (general) finish_tile(call, channels, a.target, accumulators, static_cast<int>(n), 1);
    p += n;
  }
}

bool supports(const ConvShape& shape) {
  if (shape.groups <= 1 || shape.depthwise()) return false;
  const int64_t in_c = shape.in_c / shape.groups, out_c = shape.out_c / shape.groups;
  return (out_c == 4 || out_c == 8) && in_c % 4 == 0 && in_c <= out_c;
}

int64_t pieces(const ConvCall& call) {
  return plan_conv(call, kTiles).pieces;
}

PixelRange pixels(const ConvCall& call, int64_t piece) {
  return piece_pixels(plan_conv(call, kTiles), piece);
}

int64_t scratch_bytes(const ConvCall& call) {
  const ConvPlan plan = plan_conv(call, kTiles);
  return plan.scratch_bytes + plan.packed.block_bytes;
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
        run_vector(call, plan, taps, t, pixel, count, scratch + plan.scratch_bytes);
    }
  }
}

}  // namespace

const ConvKernel conv_avx512vnni_grouped = {
    "avx512vnni-grouped", Isa::kAvx512Vnni, supports, scratch_bytes, pieces, run, pixels};

}  // namespace octet::kernels
