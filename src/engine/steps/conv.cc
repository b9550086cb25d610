#include "kernels/conv/conv.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "engine/steps/convolution.h"
#include "engine/steps/epilogue.h"
#include "engine/steps/pixels.h"
#include "kernels/convert/convert.h"

namespace octet::engine {
namespace {

using kernels::ConvCall;
using kernels::ConvShape;
using kernels::PixelRange;

// Inputs of both kinds, in this order.
enum Input : size_t {
  kX,
  kWeights,
  kScale,
  kBias,
  kOutScale,
  kOutZero,
  kResidual,
  kResidualScale,
  kXScale,
  kXZero,
  kInputs
};

// A float output is not channels-last: pieces are written to scratch memory and transposed from there.
struct Planes {
  int64_t images = 0, pixels = 0;  // no images: the output is channels-last
  int64_t piece = 0;               // pixels of a piece
  int64_t stride = 0;              // elements between planes
};

// Which of the step's output channels, and where their packed weights stand.
struct Channels {
  int64_t first, all;
  int64_t weights_at, all_weights;  // bytes
};

Channels all_channels(const ConvShape& shape) {
  return {0, shape.out_c, 0, kernels::packed_conv_bytes(shape)};
}

class ConvStep : public Step {
 public:
  // `shape` is that of the `channels`.
  ConvStep(const StepSetup& setup, const ConvShape& shape, int64_t in_stride, int64_t residual_stride,
           int64_t out_stride, const Channels& channels, const Planes& planes = {})
      : kernel_(kernels::choose_conv(shape, setup.isa())),
        planes_(planes),
        transpose_(kernels::choose_convert(setup.isa())) {
    const bool float_output = setup.output().def->dtype == DType::kFloat32;
    call_.shape = shape;
    call_.in_pixel_stride = in_stride;
    call_.out_pixel_stride = out_stride;
    call_.float_output = float_output;
    call_.tile_blocks = static_cast<int>(setup.int_value("tile_blocks", 0, 0, kernels::kMostTileBlocks));
    call_.threads = setup.threads();
    call_.weights = setup.bytes(kWeights, channels.all_weights).data() + channels.weights_at;
    first_channel_ = channels.first;
    x_ = setup.input(kX).index;
    y_ = setup.output().index;

    dynamic_ = setup.has_input(kXScale);
    if (dynamic_)
      read_dynamic(setup);
    else
      setup.expect(!setup.has_input(kXZero), "a zero-point of the input without its scale");
    // The zero-point 1 where only the run gives it.
    pad_pixel_ =
        dynamic_ ? std::vector<uint8_t>(shape.in_c, 1) : setup.zero_points(setup.input(kX), shape.in_c);
    pad_pixel_.resize(round_up(shape.in_c, kernels::kChannelPad) + kernels::kOverread);
    call_.pad_pixel = pad_pixel_.data();
    acc_init_.resize(round_up(shape.out_c, kernels::kChannelPad));
    kernels::conv_acc_init(shape, call_.weights, pad_pixel_.data(), acc_init_.data());
    call_.acc_init = acc_init_.data();

    epilogue_.read_attributes(setup, float_output);
    epilogue_.read_scale(setup, kScale, channels.all);
    epilogue_.read_bias(setup, kBias, channels.all);
    epilogue_.read_out(setup, kOutScale, kOutZero, channels.all);
    const bool late = epilogue_.epilogue.function != kernels::Function::kNone && !float_output;
    setup.expect(!late || epilogue_.epilogue.out_scale != nullptr,
                 "a function before an 8-bit output needs out_scale and out_zero");
    if (setup.has_input(kResidual)) {
      setup.expect(!float_output, "a float output takes no residual");
      const Operand& residual = setup.input(kResidual);
      setup.expect_dtype(residual, DType::kUInt8);
      setup.expect(residual.def->layout == setup.output().def->layout,
                   "the residual has another layout than the output");
      setup.expect_same_shape(residual, setup.output());
      epilogue_.read_residual_scale(setup, kResidualScale, channels.all);
      residual_ = residual.index;
      call_.residual_pixel_stride = residual_stride;
    }
    if (channels.all != shape.out_c) epilogue_.keep(channels.first, shape.out_c);
    call_.epilogue = epilogue_.epilogue;
  }

  int64_t pieces() const override {
    return planes_.images > 0 ? planes_.images * ceil_div(planes_.pixels, planes_.piece)
                              : kernel_.pieces(call_);
  }
  int64_t scratch_bytes() const override {
    const int64_t own = dynamic_ ? static_cast<int64_t>(acc_init_.size() * 8 + pad_pixel_.size()) : 0;
    return checked_add(checked_add(kernel_scratch(), round_up(own, 64)), tile_bytes());
  }
  std::string kernel() const override { return std::string(kernel_.name); }

  std::optional<PixelRange> writes(int64_t piece) const override {
    if (planes_.images > 0) return std::nullopt;
    const PixelRange made = kernel_.pixels(call_, piece);
    return PixelRange{made.first * pixels_, made.last * pixels_};
  }
  std::optional<PixelRange> reads(int32_t tensor, int64_t piece) const override {
    if (planes_.images > 0 || (tensor != x_ && tensor != residual_)) return std::nullopt;
    const PixelRange made = kernel_.pixels(call_, piece);
    if (tensor == residual_ && tensor != x_) return with_overread(made, call_.residual_pixel_stride);
    return with_overread(pixels_read(call_.shape, made), call_.in_pixel_stride);
  }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    ConvCall call = call_;
    call.input = reinterpret_cast<const uint8_t*>(memory[x_]);
    call.output = memory[y_] + first_channel_ * (call.float_output ? 4 : 1);
    if (residual_ >= 0) call.residual = reinterpret_cast<const uint8_t*>(memory[residual_]) + first_channel_;
    if (dynamic_) take_zero_and_scale(memory, call, scratch + kernel_scratch() + tile_bytes());
    if (planes_.images == 0) return kernel_.run(call, begin, end, scratch);
    for (int64_t i = begin; i < end; ++i) run_planes(call, i, memory[y_], scratch);
  }

  // Each of the kernel's output pixels is that many of the tensor's.
  void set_pixels(int64_t pixels) { pixels_ = pixels; }

 private:
  // What the kernel needs for a whole piece, or for the last and shorter one.
  int64_t kernel_scratch() const {
    int64_t bytes = kernel_.scratch_bytes(call_);
    if (const int64_t rest = planes_.images > 0 ? planes_.pixels % planes_.piece : 0; rest > 0) {
      ConvCall last = call_;
      last.shape.in_w = last.shape.out_w = rest;
      bytes = std::max(bytes, kernel_.scratch_bytes(last));
    }
    return round_up(bytes, 64);
  }
  int64_t tile_bytes() const {
    return planes_.images > 0 ? round_up(planes_.piece * call_.shape.out_c * 4, 64) : 0;
  }

  void run_planes(ConvCall call, int64_t index, std::byte* output, std::byte* scratch) const {
    const int64_t pieces_of_image = ceil_div(planes_.pixels, planes_.piece);
    const int64_t image = index / pieces_of_image, first = index % pieces_of_image * planes_.piece;
    const int64_t count = std::min(planes_.piece, planes_.pixels - first);
    call.shape.in_w = call.shape.out_w = count;
    call.input += (image * planes_.pixels + first) * call.in_pixel_stride;
    std::byte* tile = scratch + kernel_scratch();
    call.output = tile;
    std::byte* to = output + (image * call.shape.out_c * planes_.pixels + first) * 4;
    // Their lines come while the kernel computes.
    for (int64_t c = 0; c < call.shape.out_c; ++c)
      for (int64_t b = 0; b < count * 4; b += 64) __builtin_prefetch(to + c * planes_.stride * 4 + b, 1, 2);
    kernel_.run(call, 0, kernel_.pieces(call), scratch);

    kernels::ConvertCall planes;
    planes.op = kernels::ConvertOp::kCopy32;
    planes.channels = call.shape.out_c;
    planes.pixels = count;
    planes.input = tile;
    planes.in_layout = Layout::kNhwc;
    planes.in_stride = call.out_pixel_stride;
    planes.output = to;
    planes.out_plane_stride = planes_.stride;
    transpose_.run(planes, 0, transpose_.pieces(planes));
  }

  void read_dynamic(const StepSetup& setup) {
    const auto expect_scalar = [&](const Operand& operand, DType dtype) {
      setup.expect_dtype(operand, dtype);
      setup.expect(operand.count() == 1, "scale and zero-point of the input are not one number each");
    };
    setup.expect(setup.input(kX).def->quant.scale.empty(), "the input has two scales");
    expect_scalar(setup.input(kXScale), DType::kFloat32);
    x_scale_ = setup.input(kXScale).index;
    if (!setup.has_input(kXZero)) return;
    expect_scalar(setup.input(kXZero), DType::kUInt8);
    x_zero_ = setup.input(kXZero).index;
  }

  // The arrays of the call that depend on the input's scale and zero-point, into a thread's own memory.
  void take_zero_and_scale(Memory memory, ConvCall& call, std::byte* at) const {
    const float x_scale = *reinterpret_cast<const float*>(memory[x_scale_]);
    const uint8_t zero = x_zero_ < 0 ? 0 : *reinterpret_cast<const uint8_t*>(memory[x_zero_]);
    const size_t channels = acc_init_.size();
    auto* acc_init = reinterpret_cast<int32_t*>(at);
    auto* scale = reinterpret_cast<float*>(at + channels * 4);
    auto* pad_pixel = reinterpret_cast<uint8_t*>(at + channels * 8);
    for (size_t c = 0; c < channels; ++c) {
      acc_init[c] = static_cast<int32_t>(static_cast<uint32_t>(acc_init_[c]) * zero);
      scale[c] = call_.epilogue.scale[c] * x_scale;
    }
    std::fill_n(pad_pixel, pad_pixel_.size(), zero);
    call.acc_init = acc_init;
    call.pad_pixel = pad_pixel;
    call.epilogue.scale = scale;
  }

  const kernels::ConvKernel& kernel_;
  const Planes planes_;
  const kernels::ConvertKernel& transpose_;
  ConvCall call_;
  EpilogueData epilogue_;
  std::vector<int32_t> acc_init_;
  std::vector<uint8_t> pad_pixel_;
  int64_t first_channel_ = 0, pixels_ = 1;
  bool dynamic_ = false;  // scale and zero-point of the input are tensors
  int32_t x_ = -1, y_ = -1, residual_ = -1, x_scale_ = -1, x_zero_ = -1;
};

void expect_output(const StepSetup& setup) {
  const DType dtype = setup.output().def->dtype;
  setup.expect(dtype == DType::kUInt8 || dtype == DType::kFloat32, "the output is neither uint8 nor float32");
}

int64_t stride_of_residual(const StepSetup& setup) {
  return setup.has_input(kResidual) ? setup.input(kResidual).pixel_stride : 0;
}

// A piece's results fit into the first cache.
constexpr int64_t kPlanesPiece = 6144, kFewestPixels = 48;

// A convolution of single pixels whose float output is plain.
std::unique_ptr<Step> prepare_planes(const StepSetup& setup, ConvShape s) {
  const Operand &x = setup.input(kX), &y = setup.output();
  setup.expect_dtype(y, DType::kFloat32);
  setup.expect(s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 && s.groups == 1 &&
                   s.out_h == s.in_h && s.out_w == s.in_w,
               "only a convolution of single pixels has a plain output");
  Planes planes;
  planes.images = s.batch;
  planes.pixels = checked_mul(s.out_h, s.out_w);
  planes.stride = y.def->plane_stride > 0 ? y.def->plane_stride : planes.pixels;
  planes.piece = std::max(kFewestPixels, kPlanesPiece / s.out_c / kFewestPixels * kFewestPixels);
  planes.piece = std::min(planes.piece, planes.pixels);
  s.batch = s.in_h = s.out_h = 1;
  s.in_w = s.out_w = planes.piece;
  return std::make_unique<ConvStep>(setup, s, x.pixel_stride, 0, s.out_c, all_channels(s), planes);
}

// Neighbouring pixels of a row are the channels of one: their window is wider, and moves on by all of them.
std::unique_ptr<Step> prepare_pixels(const StepSetup& setup, ConvShape s, int64_t pixels) {
  const Operand &x = setup.input(kX), &y = setup.output();
  setup.expect(s.out_w % pixels == 0 && s.groups == 1 && s.dilation_w == 1 && y.pixel_stride == s.out_c &&
                   !setup.has_input(kResidual),
               "its pixels cannot be made together");
  s.out_w /= pixels;
  s.out_c = checked_mul(s.out_c, pixels);
  s.kernel_w += (pixels - 1) * s.stride_w;
  s.stride_w *= pixels;
  auto step = std::make_unique<ConvStep>(setup, s, x.pixel_stride, 0, s.out_c, all_channels(s));
  step->set_pixels(pixels);
  return step;
}

// Convolutions with smaller windows of the same input, one behind the other among the output's channels.
class PartsStep : public Step {
 public:
  PartsStep(const StepSetup& setup, const ConvShape& whole) {
    constexpr size_t kNumbers = 5;  // channels, top, left, height, width
    const auto numbers = setup.attributes().get_ints("parts");
    setup.expect(!numbers.empty() && numbers.size() % kNumbers == 0 && whole.groups == 1,
                 "'parts' are not five numbers each");
    std::vector<ConvShape> shapes;
    Channels channels{0, 0, 0, 0};
    for (size_t i = 0; i < numbers.size(); i += kNumbers) {
      const auto [count, top, left, height, width] =
          std::array{numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3], numbers[i + 4]};
      setup.expect(count > 0 && count <= whole.out_c && top >= 0 && left >= 0 && height > 0 && width > 0 &&
                       top <= whole.kernel_h && height <= whole.kernel_h - top && left <= whole.kernel_w &&
                       width <= whole.kernel_w - left && top * whole.dilation_h <= whole.pad_top &&
                       left * whole.dilation_w <= whole.pad_left,
                   "a part is not inside of the window");
      ConvShape s = whole;
      s.out_c = count;
      s.kernel_h = height;
      s.kernel_w = width;
      s.pad_top -= top * whole.dilation_h;
      s.pad_left -= left * whole.dilation_w;
      channels.all = checked_add(channels.all, count);
      channels.all_weights = checked_add(channels.all_weights, kernels::packed_conv_bytes(s));
      shapes.push_back(s);
    }
    setup.expect(channels.all == whole.out_c, "the parts have other channels than the output");
    for (const ConvShape& s : shapes) {
      parts_.push_back(std::make_unique<ConvStep>(setup, s, setup.input(kX).pixel_stride,
                                                  stride_of_residual(setup), setup.output().pixel_stride,
                                                  channels));
      channels.first += s.out_c;
      channels.weights_at += kernels::packed_conv_bytes(s);
      first_piece_.push_back(pieces_);
      pieces_ += parts_.back()->pieces();
      scratch_ = std::max(scratch_, parts_.back()->scratch_bytes());
    }
  }

  int64_t pieces() const override { return pieces_; }
  int64_t scratch_bytes() const override { return scratch_; }
  std::string kernel() const override { return parts_[0]->kernel(); }

  void run(Memory memory, int64_t begin, int64_t end, int thread, std::byte* scratch) override {
    for (size_t i = 0; i < parts_.size(); ++i) {
      const int64_t first = std::max<int64_t>(begin - first_piece_[i], 0),
                    last = std::min(end - first_piece_[i], parts_[i]->pieces());
      if (first < last) parts_[i]->run(memory, first, last, thread, scratch);
    }
  }

 private:
  std::vector<std::unique_ptr<ConvStep>> parts_;
  std::vector<int64_t> first_piece_;
  int64_t pieces_ = 0, scratch_ = 0;
};

}  // namespace

std::unique_ptr<Step> prepare_conv(const StepSetup& setup) {
  setup.expect_arity(kBias + 1, kInputs, 1);
  const Operand &x = setup.input(kX), &y = setup.output();
  setup.expect_nhwc(x, DType::kUInt8);
  expect_output(setup);
  setup.expect(y.shape.size() == 4, "the output is no image");
  const ConvShape s = read_convolution(setup);
  if (!y.nhwc()) return prepare_planes(setup, s);
  if (setup.attributes().has("parts")) return std::make_unique<PartsStep>(setup, s);
  if (const int64_t pixels = setup.int_value("pixels", 1, 1, 64); pixels > 1)
    return prepare_pixels(setup, s, pixels);
  return std::make_unique<ConvStep>(setup, s, x.pixel_stride, stride_of_residual(setup), y.pixel_stride,
                                    all_channels(s));
}

std::unique_ptr<Step> prepare_gemm(const StepSetup& setup) {
  setup.expect_arity(kBias + 1, kInputs, 1);
  const Operand &x = setup.input(kX), &y = setup.output();
  setup.expect_dtype(x, DType::kUInt8);
  expect_output(setup);
  setup.expect(!x.nhwc() && !y.nhwc() && x.shape.size() >= 2 && x.shape.size() == y.shape.size(),
               "input and output are not plain matrices");
  ConvShape s;
  s.in_c = x.shape.back();
  s.out_c = y.shape.back();
  setup.expect(x.count() > 0 && y.count() > 0, "a matrix is empty");
  s.in_w = s.out_w = x.count() / s.in_c;
  setup.expect(s.in_w == y.count() / s.out_c, "input and output differ in rows");
  return std::make_unique<ConvStep>(setup, s, s.in_c, s.out_c, s.out_c, all_channels(s));
}

}  // namespace octet::engine
