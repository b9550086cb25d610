// AMX tiles: 32 pixels x 32 output channels as 2 x 2 tiles of 16 x 16 sums, which each instruction extends by
// 64 input channels. The packed weights are what a tile of the second factor looks like in memory; pixels are
// gathered into rows, the next ones between the multiplications of the current ones, for the vector units
// have nothing to do meanwhile.
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
// A piece has four times the work of other kernels' pieces, to take as long.
constexpr ConvTiles kTiles = {
    .max_blocks = 4, .pixels = {kPixels, kPixels, kPixels, kPixels}, .block_pixels = kPixels, .speed = 4};
constexpr int64_t kDepth = 64;               // of K, for one instruction
constexpr int64_t kTileBytes = 16 * kDepth;  // of weights

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

// Up to kPixels pixels side by side and the tiles of output channels that want them.
struct Group {
  int64_t pixel, count;
  int64_t first_tile, last_tile;
};

// The groups of the pieces [begin, end), one after another.
class Groups {
 public:
  Groups(const ConvPlan& plan, int64_t begin, int64_t end) : plan_(plan), next_(begin), end_(end) {}

  // Whether there is one more.
  bool next(Group& group) {
    if (pixel_ >= piece_.last_pixel) {
      if (next_ == end_) return false;
      piece_ = conv_piece(plan_, next_++);
      pixel_ = piece_.first_pixel;
    }
    group = {pixel_, std::min<int64_t>(piece_.last_pixel - pixel_, kPixels), piece_.first_tile,
             piece_.last_tile};
    pixel_ += kPixels;
    return true;
  }

 private:
  const ConvPlan& plan_;
  int64_t next_, end_, pixel_ = 0;
  ConvPiece piece_{};
};

// A first factor: a pixel each `stride` bytes.
struct Rows {
  const uint8_t* bytes;
  int64_t stride;
};

// Copies runs of pixels into rows, a part at a time.
class Gathering {
 public:
  explicit Gathering(const ConvPlan& plan)
      : run_bytes_(plan.run_bytes), block_pixels_(plan.block_pixels), rest_(first_lanes(run_bytes_ % 64)) {}

  // The `runs` of the pixels that `pointers` name.
  void start(uint8_t* rows, int64_t stride, const uint8_t* const* pointers, int64_t runs, int64_t pixels) {
    column_ = rows;
    stride_ = stride;
    pointers_ = pointers;
    pixel_ = 0;
    pixels_ = pixels;
    left_ = runs * pixels;
  }

  // What is left shall take about `steps` calls of step(), and then finish().
  void spread(int64_t steps) {
    rate_ = (left_ << 16) / steps;
    due_ = 0;
  }
  void step() {
    if (left_ == 0) return;
    due_ += rate_;
    copy(std::min(due_ >> 16, left_));
    due_ &= 0xffff;
  }
  void finish() { copy(left_); }

 private:
  void copy(int64_t count) {
    for (left_ -= count; count > 0; --count) {
      const uint8_t* from = pointers_[pixel_];
      uint8_t* to = column_ + pixel_ * stride_;
      int64_t k = 0;
      for (; k + 64 <= run_bytes_; k += 64) _mm512_storeu_si512(to + k, _mm512_loadu_si512(from + k));
      if (rest_ != 0) _mm512_mask_storeu_epi8(to + k, rest_, _mm512_loadu_si512(from + k));
      if (++pixel_ == pixels_) {
        pixel_ = 0;
        pointers_ += block_pixels_;
        column_ += run_bytes_;
      }
    }
  }

  int64_t run_bytes_, block_pixels_;
  __mmask64 rest_;
  uint8_t* column_ = nullptr;  // of the run under way, in the row of the first pixel
  int64_t stride_ = 0;
  const uint8_t* const* pointers_ = nullptr;  // of that run
  int64_t pixel_ = 0, pixels_ = 0;
  int64_t left_ = 0;            // runs of single pixels
  int64_t rate_ = 0, due_ = 0;  // of them, in 1 / 2^16
};

// What a multiplication of kPixels x 32 reads and writes.
struct Factors {
  Rows rows;
  int64_t steps;             // of kDepth
  const int8_t* weights[2];  // of each block
  const int8_t* last[2];     // those of the last step
  const int32_t* init;       // of 32 channels
  int32_t* sums;
  int64_t sums_stride;
};

// kBlocks x 16 channels; the upper half of the pixels only with kBoth.
template <int kBlocks, bool kBoth>
void multiply(const Factors& f, Gathering& gathering) {
  memory_barrier();
  const uint8_t* low = f.rows.bytes;
  const uint8_t* high = f.rows.bytes + 16 * f.rows.stride;
  // A stride of 0 repeats a row.
  _tile_loadd(0, f.init, 0);
  if constexpr (kBoth) _tile_loadd(2, f.init, 0);
  if constexpr (kBlocks == 2) {
    _tile_loadd(1, f.init + 16, 0);
    if constexpr (kBoth) _tile_loadd(3, f.init + 16, 0);
  }
  for (int64_t i = 0; i < f.steps; ++i) {
    const bool last = i + 1 == f.steps;
    _tile_loadd(6, last ? f.last[0] : f.weights[0] + i * kTileBytes, 64);
    _tile_loadd(4, low + i * kDepth, f.rows.stride);
    if constexpr (kBoth) _tile_loadd(5, high + i * kDepth, f.rows.stride);
    _tile_dpbusd(0, 4, 6);
    if constexpr (kBoth) _tile_dpbusd(2, 5, 6);
    if constexpr (kBlocks == 2) {
      _tile_loadd(7, last ? f.last[1] : f.weights[1] + i * kTileBytes, 64);
      _tile_dpbusd(1, 4, 7);
      if constexpr (kBoth) _tile_dpbusd(3, 5, 7);
    }
    gathering.step();
  }
  const int64_t stride = f.sums_stride * 4;
  _tile_stored(0, f.sums, stride);
  if constexpr (kBoth) _tile_stored(2, f.sums + 16 * f.sums_stride, stride);
  if constexpr (kBlocks == 2) {
    _tile_stored(1, f.sums + 16, stride);
    if constexpr (kBoth) _tile_stored(3, f.sums + 16 * f.sums_stride + 16, stride);
  }
  memory_barrier();
}

// The last step of the last block reads weights behind K, which nobody has packed.
struct Tail {
  alignas(64) int8_t weights[kTileBytes];

  Tail(const ConvCall& call, const ConvPlan& plan) {
    const int64_t bytes = plan.packed.block_bytes % kTileBytes;
    std::memset(weights, 0, sizeof(weights));
    std::memcpy(weights, call.weights + plan.packed.blocks * plan.packed.block_bytes - bytes,
                static_cast<size_t>(bytes));
  }
};

// A group's results of one tile of output channels.
void run_tile(const ConvCall& call, const ConvPlan& plan, const Group& group, int64_t index, const Rows& rows,
              const Tail& tail, Gathering& gathering) {
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
  set_limits(e, target);
  target.bytes = static_cast<uint8_t*>(call.output) +
                 (group.pixel * call.out_pixel_stride + channel) * (call.float_output ? 4 : 1);
  if (e.residual_scale != nullptr)
    target.residual = call.residual + group.pixel * call.residual_pixel_stride + channel;
  load_channels(call, channel, target.mask, channels);
  target.bounded = bounded(call, channels);

  alignas(64) int32_t sums[kPixels * kTileChannels];
  Factors x{};
  x.rows = rows;
  x.steps = ceil_div(plan.packed.block_bytes, kTileBytes);
  x.sums_stride = blocks * 16;
  const bool both = group.count > 16;
  const auto one = both ? multiply<1, true> : multiply<1, false>,
             two = both ? multiply<2, true> : multiply<2, false>;
  for (int64_t j = 0; j < blocks; j += 2) {
    for (int64_t i = 0; i < std::min<int64_t>(2, blocks - j); ++i) {
      const int64_t b = block + j + i;
      x.weights[i] = reinterpret_cast<const int8_t*>(call.weights) + b * plan.packed.block_bytes;
      x.last[i] = b + 1 == plan.packed.blocks && plan.packed.block_bytes % kTileBytes != 0
                      ? tail.weights
                      : x.weights[i] + (x.steps - 1) * kTileBytes;
    }
    x.init = channels.init + 16 * j;
    x.sums = sums + 16 * j;
    (j + 1 < blocks ? two : one)(x, gathering);
  }
  finish_tile(call, channels, target, sums, static_cast<int>(group.count), static_cast<int>(blocks));
}

// Vectors are faster for few pixels, and where what is gathered serves 16 channels alone.
bool supports(const ConvShape& s) {
  const int64_t taps = s.kernel_h * s.kernel_w;
  return s.groups == 1 && s.in_c * taps >= kDepth && s.batch * s.out_h * s.out_w >= 16 &&
         (taps == 1 || s.out_c > 16);
}

int64_t pieces(const ConvCall& call) {
  return plan_conv(call, kTiles).pieces;
}

PixelRange pixels(const ConvCall& call, int64_t piece) {
  return piece_pixels(plan_conv(call, kTiles), piece);
}

// An odd number of cache lines: rows that lie a power of two apart would share few of the cache's sets.
int64_t row_bytes(const ConvPlan& plan) {
  return (ceil_div(plan.runs * plan.run_bytes, kDepth) | 1) * kDepth;
}

int64_t scratch_bytes(const ConvCall& call) {
  const ConvPlan plan = plan_conv(call, kTiles);
  return plan.scratch_bytes + 2 * kPixels * row_bytes(plan);
}

void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* memory) noexcept {
  const ConvPlan plan = plan_conv(call, kTiles);
  const Taps taps = start_taps(call, plan, memory);
  const Tail tail(call, plan);
  const int64_t k = plan.runs * plan.run_bytes, stride = row_bytes(plan);
  uint8_t* rows[2];
  for (int i = 0; i < 2; ++i) {
    rows[i] = reinterpret_cast<uint8_t*>(memory) + plan.scratch_bytes + i * kPixels * stride;
    for (int p = 0; p < kPixels; ++p)  // so that what follows K adds nothing
      std::memset(rows[i] + p * stride + k, 0, static_cast<size_t>(stride - k));
  }
  const bool in_place = plan.linear && k % kDepth == 0;
  Gathering gathering(plan);
  // Where the pixels of a group are, or will be once they are gathered.
  const auto rows_of = [&](const Group& group, uint8_t* into) {
    if (in_place && group.count == kPixels)
      return Rows{call.input + group.pixel * call.in_pixel_stride, call.in_pixel_stride};
    fill_taps(call, plan, taps, group.pixel, group.count);
    gathering.start(into, stride, taps.pointers, plan.runs, group.count);
    return Rows{into, stride};
  };

  const TileConfig config;
  memory_barrier();
  _tile_loadconfig(&config);
  Groups groups(plan, begin, end);
  Group group, following;
  Rows here{}, there{};
  bool more = groups.next(group);
  if (more) here = rows_of(group, rows[0]);
  gathering.finish();
  for (int turn = 1; more; turn ^= 1) {
    more = groups.next(following);
    if (more) there = rows_of(following, rows[turn]);
    const int64_t blocks = first_block(plan, group.last_tile) - first_block(plan, group.first_tile);
    gathering.spread(ceil_div(blocks, 2) * ceil_div(k, kDepth));
    for (int64_t t = group.first_tile; t < group.last_tile; ++t)
      run_tile(call, plan, group, t, here, tail, gathering);
    gathering.finish();
    group = following;
    here = there;
  }
  _tile_release();
}

}  // namespace

const ConvKernel conv_amx = {"amx", Isa::kAmx, supports, scratch_bytes, pieces, run, pixels};

}  // namespace octet::kernels
