// Depthwise convolution with AVX-512 VNNI: see avx512vnni_block.h for the layout of the work.
#include "kernels/depthwise/avx512vnni_rows.h"
#include "kernels/depthwise/kernels.h"
#include "kernels/depthwise/plan.h"

namespace octet::kernels {
namespace {

constexpr int64_t kBlock = 64;

using RowFunction = void (*)(const Block& b, const Walk& walk);

// How a shape is walked: outputs x_step apart form a convolution of stride `stride` over columns that are
// dilation_w apart.
struct Method {
  enum Kind { kAny, k3x3, k5x5 } kind;
  int64_t stride, x_step;
};

Method choose_method(const ConvShape& s) {
  Method m{Method::kAny, s.stride_w, 1};
  const bool is_3x3 = s.kernel_w == 3 && s.kernel_h <= 3, is_5x5 = s.kernel_w == 5 && s.kernel_h == 5;
  if (!is_3x3 && !is_5x5) return m;
  if (s.stride_w % s.dilation_w == 0 && s.stride_w / s.dilation_w <= 2) {
    m.stride = s.stride_w / s.dilation_w;
  } else if (s.dilation_w % s.stride_w == 0) {
    m.stride = 1;
    m.x_step = s.dilation_w / s.stride_w;
  } else {
    return m;
  }
  m.kind = is_3x3 ? Method::k3x3 : Method::k5x5;
  return m;
}

int64_t quads(const ConvShape& s) {
  return (s.kernel_h + 3) / 4;
}
int64_t tile_columns(const ConvShape& s) {
  if (choose_method(s).kind != Method::kAny) return 0;
  return (kTile - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
}

// The parts of scratch memory, in bytes.
struct Layout {
  int64_t constants, weights, pad_column, sums, columns, rows, bytes;
};

Layout layout(const ConvShape& s) {
  Layout l{};
  const auto take = [&](int64_t size) {
    const int64_t at = l.bytes;
    l.bytes += (size + kVector - 1) / kVector * kVector;
    return at;
  };
  l.constants = take(kConstants * kPixel);
  l.weights = take(s.kernel_w * quads(s) * kPixel);
  l.pad_column = take(kPixel);
  l.sums = take(kChunk * kPixel);
  l.columns = take(tile_columns(s) * quads(s) * kPixel);
  l.rows = take(quads(s) * 16 * static_cast<int64_t>(sizeof(Row)));
  return l;
}

void copy16(std::byte* to, const void* from) {
  _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(static_cast<const __m128i*>(from)));
}

// Brings weights and constants of a block into lane order.
void load_block(Block& b, int segments) {
  const ConvCall& call = *b.call;
  const ConvShape& s = call.shape;
  const Epilogue& e = call.epilogue;
  const int64_t vectors = s.kernel_w * b.quads, units = (b.channels + 15) / 16;
  const void* const constants[kConstants] = {call.acc_init, e.scale,    e.bias,
                                             e.out_scale,   e.out_zero, e.residual_scale};
  for (int64_t lane = 0; lane < 4; ++lane) {
    int64_t unit = lane % (4 / segments);
    if (unit >= units) unit = 0;  // lanes without channels: anything
    const std::byte* packed = call.weights + (b.channel / 16 + unit) * vectors * kVector;
    for (int64_t i = 0; i < vectors * 4; ++i) copy16(b.weights + i * kVector + lane * 16, packed + i * 16);
    for (int64_t c = 0; c < kConstants; ++c) {
      if (constants[c] == nullptr) continue;
      const auto* source = static_cast<const int32_t*>(constants[c]) + b.channel + unit * 16;
      for (int64_t g = 0; g < 4; ++g)
        copy16(b.constants + c * kPixel + g * kVector + lane * 16, source + g * 4);
    }
  }
}

template <int kSegments>
void load_pad_column(Block& b) {
  b.pad_pixel = b.call->pad_pixel + b.channel;
  const __m512i v = load_pixel<kSegments>([&](int) { return b.pad_pixel; });
  Sums column;
  interleave(v, v, v, v, column);
  for (int g = 0; g < 4; ++g) _mm512_store_si512(b.pad_column + g * kVector, column[g]);
}

// Points b at output rows [y, y + kSegments) of an image, those below y_end.
template <int kSegments>
void set_rows(Block& b, int64_t image, int64_t y, int64_t y_end) {
  const ConvCall& call = *b.call;
  const ConvShape& s = call.shape;
  const int64_t element = call.float_output ? 4 : 1;
  b.segments_used = y_end - y < kSegments ? y_end - y : kSegments;
  for (int64_t segment = 0; segment < kSegments; ++segment) {
    const bool used = segment < b.segments_used;
    const int64_t pixel = (image * s.out_h + y + (used ? segment : 0)) * s.out_w;
    b.out[segment] = static_cast<uint8_t*>(call.output) + pixel * b.out_pitch + b.channel * element;
    if (call.residual != nullptr)
      b.residual[segment] = call.residual + pixel * call.residual_pixel_stride + b.channel;
    depthwise_rows(call, b.channel, image, y + segment, used, b.quads * 4, b.rows + segment, 4);
  }
}

template <int kSegments, bool kFused>
RowFunction choose_row(const Method& m) {
  if (m.kind == Method::k3x3)
    return m.stride == 1 ? row_3x3<kSegments, 1, kFused> : row_3x3<kSegments, 2, kFused>;
  if (m.kind == Method::k5x5)
    return m.stride == 1 ? row_5x5<kSegments, 1, kFused> : row_5x5<kSegments, 2, kFused>;
  return row_any<kSegments>;
}

template <int kSegments>
void run_block(Block& b, const DepthwisePiece& piece) {
  const ConvCall& call = *b.call;
  const ConvShape& s = call.shape;
  const Method m = choose_method(s);
  load_block(b, kSegments);
  load_pad_column<kSegments>(b);
  if (m.kind == Method::k5x5) fold_row4(b, m.stride);
  b.in_range = call.epilogue.residual_scale == nullptr && !call.float_output && fits_int32(b);
  const bool fused = m.kind != Method::kAny && call.epilogue.function == Function::kNone && b.in_range;
  const RowFunction row = fused ? choose_row<kSegments, true>(m) : choose_row<kSegments, false>(m);
  const int64_t chunk = fused && m.kind == Method::k3x3 ? s.out_w : m.kind == Method::kAny ? kTile : kChunk;
  for (int64_t y = piece.row_begin; y < piece.row_end; y += kSegments) {
    set_rows<kSegments>(b, piece.image, y, piece.row_end);
    for (int64_t x = 0; x < s.out_w; x += chunk) {
      const int64_t x_end = x + chunk < s.out_w ? x + chunk : s.out_w;
      b.first_x = x;
      for (int64_t first = x; first < x_end && first < x + m.x_step; ++first) {
        const int64_t count = (x_end - first + m.x_step - 1) / m.x_step;
        const int64_t column_step = m.kind == Method::kAny ? 1 : s.dilation_w;
        row(b, {first, m.x_step, count, first * s.stride_w - s.pad_left, column_step});
      }
      if (!fused) finish_row<kSegments>(b, x_end);
    }
  }
}

void run(const ConvCall& call, int64_t begin, int64_t end, std::byte* scratch) noexcept {
  const ConvShape& s = call.shape;
  const DepthwisePlan plan = plan_depthwise(call, kBlock);
  const Layout l = layout(s);
  Block b{};
  b.call = &call;
  b.quads = quads(s);
  b.in_w = s.in_w;
  b.pitch = call.in_pixel_stride;
  b.out_pitch = call.out_pixel_stride * (call.float_output ? 4 : 1);
  b.constants = scratch + l.constants;
  b.weights = scratch + l.weights;
  b.pad_column = scratch + l.pad_column;
  b.sums = scratch + l.sums;
  b.columns = scratch + l.columns;
  b.rows = reinterpret_cast<Row*>(scratch + l.rows);
  for (int64_t index = begin; index < end; ++index) {
    const DepthwisePiece piece = depthwise_piece(plan, s, kBlock, index);
    for (int64_t block = piece.block_begin; block < piece.block_end; ++block) {
      b.channel = block * kBlock;
      b.channels = s.out_c - b.channel < kBlock ? s.out_c - b.channel : kBlock;
      if (b.channels <= 16) {
        run_block<4>(b, piece);
      } else if (b.channels <= 32) {
        run_block<2>(b, piece);
      } else {
        run_block<1>(b, piece);
      }
    }
  }
}

}  // namespace

const ConvKernel depthwise_avx512vnni = {
    "avx512vnni",
    Isa::kAvx512Vnni,
    [](const ConvShape& s) { return s.groups > 1 && s.groups == s.in_c && s.groups == s.out_c; },
    [](const ConvCall& call) { return layout(call.shape).bytes; },
    [](const ConvCall& call) { return plan_depthwise(call, kBlock).pieces; },
    run,
    [](const ConvCall& call, int64_t piece) {
      return piece_pixels(plan_depthwise(call, kBlock), call.shape, kBlock, piece);
    },
};

}  // namespace octet::kernels
