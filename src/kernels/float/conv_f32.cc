#include "kernels/float/conv_f32.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "kernels/float/binary_f32.h"
#include "kernels/float/onednn.h"
#include "kernels/simd/function.h"

namespace octet::kernels {
namespace {

using dnnl::memory;
constexpr auto kF32 = memory::data_type::f32;
constexpr auto kBf16 = memory::data_type::bf16;
// Bytes of an output band that our own passes read again: it should still be in the second-level cache.
constexpr int64_t kBandBytes = 192 << 10;
// A convolution above this is cut finer than one piece a thread, so that a slow core does not hold up the
// rest; below it the cost of starting a primitive weighs more.
constexpr double kLargeFlops = 40e6;
constexpr double kMinPieceFlops = 1.5e6;
constexpr int64_t kSliceUnit = 64;
// oneDNN adds all products of an output in one chain, whose rounding error grows with the root of their
// number. Longer sums are made in parts, of about so many products.
constexpr int64_t kMostTerms = 144;
constexpr int64_t kPartUnit = 16;  // input channels

bool is_post_op(Function function) {
  return function == Function::kRelu || function == Function::kClip || function == Function::kLeakyRelu;
}

// A piece's shape; pieces of equal shape share a primitive.
struct UnitShape {
  int64_t in_rows, out_rows, pad_top, pad_bottom, first_channel, channels;
  friend bool operator==(const UnitShape&, const UnitShape&) = default;
};

struct ThreadMemory {
  memory source, target, scratchpad;
};

// The products with some of the input channels; all parts but the first add to what the output holds.
struct Part {
  int64_t first_channel, channels;
  dnnl::primitive primitive;
  memory weights;
  std::vector<ThreadMemory> threads;
};

struct Unit {
  UnitShape shape;
  std::vector<Part> parts;
  memory bias;
  int64_t scratchpad_bytes = 0;
  std::string implementation;
};

struct Piece {
  size_t unit;
  int64_t image, in_row, out_row;
};

}  // namespace

struct ConvF32::State {
  ConvShape shape;
  Function function;  // still to do after the primitive
  float alpha, beta;
  bool residual, residual_first;
  int64_t in_stride, out_stride, residual_stride;
  bool bf16, stage_input = false, stage_output = false;
  int64_t part_channels = 0;  // of the input
  int64_t scratchpad_bytes = 0, input_bytes = 0, output_bytes = 0;
  std::vector<Unit> units;
  std::vector<Piece> pieces;
  std::vector<dnnl::stream> streams;
  FunctionKernel function_kernel;
  const BinaryF32Kernels* binary;

  explicit State(const ConvF32Options& options);
  size_t find_unit(const ConvF32Options& options, const UnitShape& unit_shape);
  void make_unit(const ConvF32Options& options, Unit& unit);
  void make_part(const ConvF32Options& options, Unit& unit, Part& part);
  void stage(const Unit& unit, const Part& part, const float* source, float* staged) const;
  void finish(float* values, int64_t pixels, int64_t channels, int64_t stride, const float* residual) const;
};

namespace {

// How many pieces an image is cut into, by rows and by channels.
struct Cut {
  int64_t rows, slices;
};

// Groups are short sums, and bfloat16 loses more than sums do.
int64_t choose_part_channels(const ConvF32Options& o) {
  const ConvShape& s = o.shape;
  const int64_t terms = s.in_c * s.kernel_h * s.kernel_w;
  if (s.groups > 1 || o.bf16 || terms <= kMostTerms) return s.in_c;
  return std::min(s.in_c, round_up(ceil_div(s.in_c, ceil_div(terms, kMostTerms)), kPartUnit));
}

// Rounded half to even, as the conversion instructions do; NaN stays NaN.
void to_bfloat16(const float* from, uint16_t* to, int64_t count) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(from[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to[i] = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : rounded);
  }
}

Cut choose_cut(const ConvF32Options& o, bool own_pass) {
  const ConvShape& s = o.shape;
  const int64_t group_in_c = s.in_c / s.groups;
  const double flops = 2.0 * static_cast<double>(s.out_h * s.out_w) * static_cast<double>(s.out_c) *
                       static_cast<double>(group_in_c * s.kernel_h * s.kernel_w);
  int64_t wanted = 1;
  if (o.threads > 1 && s.batch < 3 * o.threads)
    wanted = ceil_div((flops > kLargeFlops ? 3 : 1) * int64_t{o.threads}, std::max<int64_t>(1, s.batch));
  wanted = std::clamp<int64_t>(static_cast<int64_t>(flops / kMinPieceFlops), 1, wanted);
  const int64_t weight_floats = s.out_c * (s.in_c / s.groups) * s.kernel_h * s.kernel_w;
  const int64_t map_floats = s.in_h * s.in_w * s.in_c + s.out_h * s.out_w * s.out_c;
  if (wanted > 1 && s.groups == 1 && weight_floats > 2 * map_floats && s.out_c >= 2 * kSliceUnit)
    return {1, std::min(wanted, s.out_c / kSliceUnit)};
  if (own_pass) wanted = std::max(wanted, ceil_div(s.out_h * s.out_w * s.out_c * 4, kBandBytes));
  return {std::min(wanted, s.out_h), 1};
}

}  // namespace

ConvF32::State::State(const ConvF32Options& o)
    : shape(o.shape),
      function(o.function),
      alpha(o.alpha),
      beta(o.beta),
      residual(o.residual),
      residual_first(o.residual_first),
      in_stride(o.in_pixel_stride != 0 ? o.in_pixel_stride : o.shape.in_c),
      out_stride(o.out_pixel_stride != 0 ? o.out_pixel_stride : o.shape.out_c),
      residual_stride(o.residual_pixel_stride != 0 ? o.residual_pixel_stride : o.shape.out_c),
      bf16(o.bf16),
      function_kernel(choose_function(current_isa())),
      binary(&binary_f32_kernels(current_isa())) {
  const onednn::SingleThread single;
  const ConvShape& s = shape;
  if (is_post_op(function) && !(residual && residual_first)) function = Function::kNone;
  const bool own_pass = function != Function::kNone || residual;
  part_channels = choose_part_channels(o);
  stage_input = in_stride != s.in_c || bf16 || part_channels != s.in_c;
  Cut cut = choose_cut(o, own_pass || out_stride != s.out_c);
  stage_output = out_stride != s.out_c || cut.slices > 1;
  for (int i = 0; i < std::max(1, o.threads); ++i) streams.emplace_back(onednn::cpu());

  const int64_t rows = ceil_div(s.out_h, cut.rows);
  const int64_t slice = round_up(ceil_div(s.out_c, cut.slices), cut.slices > 1 ? kSliceUnit : 1);
  const int64_t reach = (s.kernel_h - 1) * s.dilation_h + 1;
  // Output rows that see the input are [touching, touched_end); the others, which see padding alone, join the
  // band of a neighbour.
  const int64_t touching = s.pad_top < reach ? 0 : (s.pad_top - reach) / s.stride_h + 1;
  const int64_t touched_end = (s.in_h + s.pad_top - 1) / s.stride_h + 1;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t c = 0; c < s.out_c; c += slice)
      for (int64_t r = 0, count = 0; r < s.out_h; r += count) {
        count = std::max(rows, touching - r + 1);
        if (r + count >= touched_end) count = s.out_h - r;
        count = std::min(count, s.out_h - r);
        const int64_t first = r * s.stride_h - s.pad_top, last = first + (count - 1) * s.stride_h + reach;
        const int64_t low = std::clamp<int64_t>(first, 0, s.in_h),
                      high = std::clamp<int64_t>(last, low, s.in_h);
        if (high == low)
          fail(ErrorCode::kUnsupported, "float convolution: the output lies in the padding alone");
        const UnitShape unit{high - low, count, low - first, last - high, c, std::min(slice, s.out_c - c)};
        pieces.push_back({find_unit(o, unit), n, low, r});
      }
  for (const Unit& u : units) {
    scratchpad_bytes = std::max(scratchpad_bytes, round_up(u.scratchpad_bytes, 64));
    if (stage_input)
      input_bytes =
          std::max(input_bytes, round_up(u.shape.in_rows * s.in_w * part_channels * (bf16 ? 2 : 4), 64));
    if (stage_output)
      output_bytes = std::max(output_bytes, round_up(u.shape.out_rows * s.out_w * u.shape.channels * 4, 64));
  }
}

size_t ConvF32::State::find_unit(const ConvF32Options& o, const UnitShape& unit_shape) {
  for (size_t i = 0; i < units.size(); ++i)
    if (units[i].shape == unit_shape) return i;
  units.push_back({unit_shape, {}, {}, 0, {}});
  make_unit(o, units.back());
  return units.size() - 1;
}

void ConvF32::State::make_unit(const ConvF32Options& o, Unit& u) {
  if (o.bias != nullptr) {
    u.bias = memory({{u.shape.channels}, kF32, memory::format_tag::x}, onednn::cpu());
    std::memcpy(u.bias.get_data_handle(), o.bias + u.shape.first_channel,
                static_cast<size_t>(u.shape.channels) * 4);
  }
  for (int64_t c = 0; c < shape.in_c; c += part_channels) {
    u.parts.push_back({c, std::min(part_channels, shape.in_c - c), {}, {}, {}});
    make_part(o, u, u.parts.back());
  }
}

void ConvF32::State::make_part(const ConvF32Options& o, Unit& u, Part& part) {
  const ConvShape& s = shape;
  const bool first_part = part.first_channel == 0, last_part = part.first_channel + part.channels == s.in_c;
  const int64_t g = s.groups, in_per_group = s.in_c / g, in_channels = part.channels / g;
  memory::dims x{1, part.channels, u.shape.in_rows, s.in_w},
      y{1, u.shape.channels, u.shape.out_rows, s.out_w};
  const memory::dims w = g > 1 ? memory::dims{g, u.shape.channels / g, in_channels, s.kernel_h, s.kernel_w}
                               : memory::dims{u.shape.channels, in_channels, s.kernel_h, s.kernel_w};
  const int64_t reach_w = (s.kernel_w - 1) * s.dilation_w + 1;
  memory::dims low{u.shape.pad_top, s.pad_left};
  memory::dims high{u.shape.pad_bottom,
                    std::max<int64_t>(0, (s.out_w - 1) * s.stride_w + reach_w - s.in_w - s.pad_left)};
  const bool pointwise = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
                         s.pad_left == 0 && s.in_w == s.out_w && u.shape.in_rows == u.shape.out_rows;
  if (pointwise) {  // one long row
    x = {1, part.channels, 1, u.shape.in_rows * s.in_w};
    y = {1, u.shape.channels, 1, u.shape.out_rows * s.out_w};
    low = high = {0, 0};
  }
  const auto type = bf16 ? kBf16 : kF32;
  const memory::desc source(x, type, memory::format_tag::nhwc), target(y, kF32, memory::format_tag::nhwc);
  const memory::desc weights(w, type, memory::format_tag::any);
  const memory::dims strides{s.stride_h, s.stride_w}, dilations{s.dilation_h - 1, s.dilation_w - 1};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::post_ops post;
  if (!first_part) post.append_sum(1.0f);
  if (last_part && is_post_op(o.function) && function == Function::kNone) {
    if (o.function == Function::kClip)
      post.append_eltwise(1.0f, dnnl::algorithm::eltwise_clip, o.alpha, o.beta);
    else
      post.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, o.function == Function::kRelu ? 0.0f : o.alpha,
                          0.0f);
  }
  attributes.set_post_ops(post);
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const auto desc = u.bias && first_part
                        ? dnnl::convolution_forward::desc(kind, algorithm, source, weights, u.bias.get_desc(),
                                                          target, strides, dilations, low, high)
                        : dnnl::convolution_forward::desc(kind, algorithm, source, weights, target, strides,
                                                          dilations, low, high);
  const dnnl::convolution_forward::primitive_desc primitive(desc, attributes, onednn::cpu());
  part.primitive = dnnl::convolution_forward(primitive);
  if (first_part) u.implementation = primitive.impl_info_str();
  u.scratchpad_bytes =
      std::max(u.scratchpad_bytes, static_cast<int64_t>(primitive.scratchpad_desc().get_size()));

  const size_t index = u.parts.size() - 1;
  for (const Unit& other : units)
    if (&other != &u && other.shape.first_channel == u.shape.first_channel &&
        other.shape.channels == u.shape.channels &&
        other.parts[index].weights.get_desc() == primitive.weights_desc())
      part.weights = other.parts[index].weights;
  if (!part.weights) {
    const int64_t area = s.kernel_h * s.kernel_w;
    const int64_t out_step = o.weights_in_out ? 1 : in_per_group * area;
    const int64_t in_step = o.weights_in_out ? s.out_c : area;
    memory::dims steps{out_step, in_step, s.kernel_w, 1};
    if (g > 1) steps.insert(steps.begin(), u.shape.channels / g * out_step);
    const int64_t first = u.shape.first_channel * out_step + part.first_channel * in_step;
    memory plain({w, kF32, steps}, onednn::cpu(), const_cast<float*>(o.weights + first));
    part.weights = memory(primitive.weights_desc(), onednn::cpu());
    dnnl::reorder(plain, part.weights).execute(streams[0], plain, part.weights);
    streams[0].wait();
  }
  for (size_t t = 0; t < streams.size(); ++t)
    part.threads.push_back({memory(source, onednn::cpu(), nullptr), memory(target, onednn::cpu(), nullptr),
                            memory(primitive.scratchpad_desc(), onednn::cpu(), nullptr)});
}

// What the primitive left to do, on values that are still in the cache.
void ConvF32::State::finish(float* values, int64_t pixels, int64_t channels, int64_t stride,
                            const float* from) const {
  const bool dense = stride == channels && (!residual || residual_stride == channels);
  // Long runs in parts that stay in the first-level cache.
  const int64_t run = dense ? std::min<int64_t>(pixels * channels, 4096) : channels;
  const int64_t total = pixels * channels;
  for (int64_t i = 0; i < total; i += run) {
    const int64_t n = std::min(run, total - i);
    float* v = dense ? values + i : values + i / channels * stride;
    const float* r = !residual ? nullptr : dense ? from + i : from + i / channels * residual_stride;
    if (residual && residual_first) binary->add(v, r, v, n);
    if (function != Function::kNone) function_kernel(function, alpha, beta, v, v, n);
    if (residual && !residual_first) binary->add(v, r, v, n);
  }
}

ConvF32::ConvF32(const ConvF32Options& options) {
  try {
    state_ = std::make_unique<State>(options);
  } catch (const dnnl::error& e) {
    fail(ErrorCode::kUnsupported, "oneDNN has no float convolution of this shape: {}", e.what());
  }
}

ConvF32::~ConvF32() = default;
ConvF32::ConvF32(ConvF32&&) noexcept = default;
ConvF32& ConvF32::operator=(ConvF32&&) noexcept = default;

int64_t ConvF32::pieces() const {
  return static_cast<int64_t>(state_->pieces.size());
}

int64_t ConvF32::scratch_bytes() const {
  return state_->scratchpad_bytes + state_->input_bytes + state_->output_bytes;
}

std::string ConvF32::kernel() const {
  const std::string name = state_->bf16 ? "oneDNN bf16" : "oneDNN";
  return state_->units.empty() ? name : name + " " + state_->units[0].implementation;
}

bool has_bf16() {
  const auto isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

// The part's channels of the unit's input, side by side.
void ConvF32::State::stage(const Unit& u, const Part& part, const float* source, float* staged) const {
  const int64_t count = u.shape.in_rows * shape.in_w;
  auto* halves = reinterpret_cast<uint16_t*>(staged);
  source += part.first_channel;
  for (int64_t i = 0; i < count; ++i) {
    if (bf16)
      to_bfloat16(source + i * in_stride, halves + i * part.channels, part.channels);
    else
      std::memcpy(staged + i * part.channels, source + i * in_stride, static_cast<size_t>(part.channels) * 4);
  }
}

void ConvF32::run(int64_t begin, int64_t end, int thread, const float* x, const float* residual, float* y,
                  std::byte* scratch) const {
  const onednn::SingleThread single;
  const State& state = *state_;
  const ConvShape& s = state.shape;
  const auto t = static_cast<size_t>(thread);
  auto* staged_in = reinterpret_cast<float*>(scratch + state.scratchpad_bytes);
  auto* staged_out = reinterpret_cast<float*>(scratch + state.scratchpad_bytes + state.input_bytes);
  for (int64_t p = begin; p < end; ++p) {
    const Piece& piece = state.pieces[static_cast<size_t>(p)];
    const Unit& u = state.units[piece.unit];
    const float* input = x + (piece.image * s.in_h + piece.in_row) * s.in_w * state.in_stride;
    const int64_t first_pixel = (piece.image * s.out_h + piece.out_row) * s.out_w;
    float* target = y + first_pixel * state.out_stride + u.shape.first_channel;
    const float* from =
        state.residual ? residual + first_pixel * state.residual_stride + u.shape.first_channel : nullptr;
    const int64_t pixels = u.shape.out_rows * s.out_w, channels = u.shape.channels;
    float* values = state.stage_output ? staged_out : target;
    for (const Part& part : u.parts) {
      if (state.stage_input) state.stage(u, part, input, staged_in);
      const float* source = state.stage_input ? staged_in : input;
      const ThreadMemory& m = part.threads[t];
      onednn::check(dnnl_memory_set_data_handle(m.source.get(), const_cast<float*>(source)), "source");
      onednn::check(dnnl_memory_set_data_handle(m.target.get(), values), "target");
      onednn::check(dnnl_memory_set_data_handle(m.scratchpad.get(), scratch), "scratchpad");
      std::array<dnnl_exec_arg_t, 5> arguments{{{DNNL_ARG_SRC, m.source.get()},
                                                {DNNL_ARG_WEIGHTS, part.weights.get()},
                                                {DNNL_ARG_DST, m.target.get()},
                                                {DNNL_ARG_SCRATCHPAD, m.scratchpad.get()},
                                                {DNNL_ARG_BIAS, u.bias.get(true)}}};
      const int count = u.bias && part.first_channel == 0 ? 5 : 4;
      onednn::check(
          dnnl_primitive_execute(part.primitive.get(), state.streams[t].get(), count, arguments.data()),
          "convolution");
    }
    if (state.stage_output) {
      for (int64_t i = 0; i < pixels; ++i)
        std::memcpy(target + i * state.out_stride, values + i * channels, static_cast<size_t>(channels) * 4);
    }
    if (state.residual || state.function != Function::kNone)
      state.finish(target, pixels, channels, state.out_stride, from);
  }
}

ConvShape gemm_f32_shape(int64_t m, int64_t k, int64_t out_c) {
  ConvShape s;
  s.in_h = s.out_h = m;
  s.in_c = k;
  s.out_c = out_c;
  return s;
}

}  // namespace octet::kernels
