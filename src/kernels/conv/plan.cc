#include "kernels/conv/plan.h"

#include <algorithm>

#include "base/checked.h"

namespace octet::kernels {

namespace {

constexpr int64_t kPieceMacs = 3 << 20;       // about 10 us on one core
constexpr int64_t kMinPieceMacs = 1 << 18;    // a smaller piece is not worth its claim
constexpr int64_t kWantedPieces = 8;          // so that a few threads share a small layer evenly
constexpr int64_t kPointerBudget = 64 << 10;  // bytes of tap pointers
constexpr int64_t kRowRunChannels = 32;       // beyond it the runs of single taps are long enough

// Bytes that a layer reads and writes beside its weights.
struct Traffic {
  int64_t input, output;
};

// Threads share a layer by pixels alone where its weights are few or hardly more than what it reads and
// writes: each reads all weights then, but finds in its own cache what it made of the layer before.
constexpr int64_t kFewWeights = 96 << 10;
bool shared_by_pixels(const ConvPlan& plan, const Traffic& traffic) {
  const int64_t weights = plan.packed.flags_offset;
  return weights <= kFewWeights || weights <= (traffic.input + traffic.output) * 5 / 4;
}

bool taps_are_adjacent(const ConvCall& call, const PackedConv& packed) {
  const ConvShape& s = call.shape;
  return s.groups == 1 && s.kernel_w > 1 && s.dilation_w == 1 && call.in_pixel_stride == packed.padded_in_c;
}

void cut(ConvPlan& plan, int threads, int64_t speed, const Traffic& traffic) {
  const int64_t macs_per_tile_pixel = plan.packed.k4 * 64 * plan.tile_blocks;
  const int64_t all_tiles = plan.all_tiles;
  const int64_t total = std::max<int64_t>(1, plan.pixels * all_tiles * macs_per_tile_pixel);
  const int64_t wanted = std::max(ceil_div(total, kPieceMacs * speed),
                                  std::clamp<int64_t>(total / (kMinPieceMacs * speed), 1, kWantedPieces));
  const int64_t target = std::max<int64_t>(1, total / wanted);  // multiply-adds per piece

  // As many tiles of channels as fit beside one full block of pixels, then as many pixels as fill the piece.
  const int64_t base_pixels = std::min(plan.pixels, plan.block_pixels);
  plan.piece_tiles = std::clamp<int64_t>(target / (base_pixels * macs_per_tile_pixel), 1, all_tiles);
  if (threads > 1 && shared_by_pixels(plan, traffic) && plan.pixels >= 8 * plan.tile_pixels)
    plan.piece_tiles = all_tiles;
  plan.piece_tiles = ceil_div(all_tiles, ceil_div(all_tiles, plan.piece_tiles));
  int64_t pixels = target / (plan.piece_tiles * macs_per_tile_pixel);
  pixels = std::clamp<int64_t>(round_up(pixels, plan.tile_pixels), plan.tile_pixels,
                               round_up(plan.pixels, plan.tile_pixels));
  plan.pixel_pieces = ceil_div(plan.pixels, pixels);
  // As many for each thread where only the pixels are cut, of whole tiles where that does not change it.
  const int64_t sharers = plan.piece_tiles == all_tiles ? threads : 1;
  if (plan.pixel_pieces > 1) plan.pixel_pieces = std::min(round_up(plan.pixel_pieces, sharers), plan.pixels);
  plan.piece_pixels = ceil_div(plan.pixels, plan.pixel_pieces);
  if (plan.pixel_pieces > 1) {
    const int64_t whole = round_up(plan.piece_pixels, plan.tile_pixels);
    if (ceil_div(plan.pixels, whole) % sharers == 0) plan.piece_pixels = whole;
    plan.pixel_pieces = ceil_div(plan.pixels, plan.piece_pixels);
  }
  plan.channel_pieces = ceil_div(all_tiles, plan.piece_tiles);
  plan.channels_outer = plan.packed.flags_offset > traffic.input;
  plan.pieces = plan.pixel_pieces * plan.channel_pieces;
}

}  // namespace

ConvPlan plan_conv(const ConvCall& call, const ConvTiles& tiles) {
  const ConvShape& s = call.shape;
  ConvPlan plan{};
  plan.packed = packed_conv(s);
  plan.pixels = s.batch * s.out_h * s.out_w;
  plan.row_runs = taps_are_adjacent(call, plan.packed) && plan.packed.padded_in_c <= kRowRunChannels;
  plan.runs = s.kernel_h * (plan.row_runs ? 1 : s.kernel_w);
  plan.run_bytes = plan.packed.padded_in_c * (plan.row_runs ? s.kernel_w : 1);

  plan.linear = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 &&
                s.pad_left == 0 && s.in_h == s.out_h && s.in_w == s.out_w;

  const bool chosen = call.tile_blocks > 0 && !tiles.lane_groups;
  const int most = chosen ? std::min(call.tile_blocks, tiles.max_blocks) : tiles.max_blocks;
  plan.tiles = ceil_div(plan.packed.blocks, most);
  plan.all_tiles = tiles.lane_groups ? ceil_div(s.out_c, 16) : s.groups * plan.tiles;
  plan.tile_blocks = ceil_div(plan.packed.blocks, plan.tiles);
  plan.tile_pixels = tiles.pixels[plan.tile_blocks - 1];
  const int64_t budget = kPointerBudget / (8 * plan.runs);
  const int64_t block = std::clamp<int64_t>(budget, plan.tile_pixels, tiles.block_pixels);
  plan.block_pixels = block / plan.tile_pixels * plan.tile_pixels;

  const int64_t outputs =
      call.epilogue.residual_scale == nullptr ? 1 : 2;  // a residual is read like an output
  cut(plan, call.threads, tiles.speed,
      {s.batch * s.in_h * s.in_w * s.in_c, plan.pixels * s.groups * plan.packed.out_c * outputs});

  plan.pointer_bytes = round_up(plan.runs * plan.block_pixels * 8, 64);
  // Row runs that leave the image are assembled in slots; the last one is a row of padding.
  plan.slot_bytes = plan.row_runs ? round_up((plan.block_pixels * plan.runs + 1) * plan.run_bytes, 64) : 0;
  plan.scratch_bytes = plan.pointer_bytes + plan.slot_bytes;
  return plan;
}

ConvPiece conv_piece(const ConvPlan& plan, int64_t index) {
  const int64_t pixel = plan.channels_outer ? index % plan.pixel_pieces : index / plan.channel_pieces;
  const int64_t channel = plan.channels_outer ? index / plan.pixel_pieces : index % plan.channel_pieces;
  ConvPiece piece{};
  piece.first_pixel = pixel * plan.piece_pixels;
  piece.last_pixel = std::min(piece.first_pixel + plan.piece_pixels, plan.pixels);
  piece.first_tile = channel * plan.piece_tiles;
  piece.last_tile = std::min(piece.first_tile + plan.piece_tiles, plan.all_tiles);
  return piece;
}

PixelRange piece_pixels(const ConvPlan& plan, int64_t index) {
  if (plan.channel_pieces > 1) return {0, plan.pixels};
  const ConvPiece piece = conv_piece(plan, index);
  return {piece.first_pixel, piece.last_pixel};
}

int64_t first_block(const ConvPlan& plan, int64_t index) {
  return index * (plan.packed.blocks / plan.tiles) + std::min(index, plan.packed.blocks % plan.tiles);
}

bool supports_dense_conv(const ConvShape& shape) {
  return !shape.depthwise();
}

}  // namespace octet::kernels
