#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "engine/steps/epilogue.h"
#include "kernels/convert/convert.h"
#include "kernels/norm/norm.h"
#include "kernels/simd/function.h"

namespace octet::engine {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kChunkBytes = 16 << 10;  // of pixels that stay in the first cache

// InstanceNormalization of channels-last images with a function and a quantization behind it. A piece has
// some channels of an image.
class InstanceNormStep : public Step {
 public:
  explicit InstanceNormStep(const StepSetup& setup)
      : kernel_(kernels::choose_norm(setup.isa())),
        convert_(kernels::choose_convert(setup.isa())),
        function_kernel_(kernels::choose_function(setup.isa())) {
    const Operand& x = setup.input(0);
    setup.expect_nhwc(x, DType::kFloat32);
    channels_ = x.shape[1];
    images_ = x.shape[0];
    pixels_ = checked_mul(x.shape[2], x.shape[3]);
    setup.expect(images_ > 0 && channels_ > 0 && pixels_ > 0, "an image is empty");
    scale_ = setup.floats(1, channels_).data();
    bias_ = setup.floats(2, channels_).data();
    epsilon_ = setup.float_value("epsilon", 0);
    setup.expect(std::isfinite(epsilon_) && epsilon_ >= 0, "'epsilon' is not a small number");
    function_ = function_of(setup);
    alpha_ = setup.float_value("alpha", 0);
    beta_ = setup.float_value("beta", 0);
    in_stride_ = x.pixel_stride;
    x_ = x.index;
    bind_outputs(setup, x);
    // Whole lines of memory; bytes between pixels belong to the last channels.
    const int64_t blocks = std::min<int64_t>(ceil_div(channels_, kLanes), std::max(1, setup.threads()));
    block_ = round_up(ceil_div(channels_, blocks), kLanes);
    chunk_ = round_up(std::max<int64_t>(1, kChunkBytes / 4 / std::min(block_, channels_)), kLanes);
  }

  int64_t pieces() const override { return images_ * ceil_div(channels_, block_); }
  int64_t scratch_bytes() const override {
    return checked_mul(std::min(block_, channels_), (kLanes + 2 + chunk_) * 4);
  }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    const int64_t blocks = ceil_div(channels_, block_);
    for (int64_t i = begin; i < end; ++i)
      run_block(memory, i / blocks, i % blocks * block_, reinterpret_cast<float*>(scratch));
  }

 private:
  // `output` and `bytes` say which outputs there are, in this order.
  void bind_outputs(const StepSetup& setup, const Operand& x) {
    size_t next = 0;
    const auto take = [&](const char* name, DType dtype, int64_t& stride) {
      if (setup.int_value(name, 0, 0, 1) == 0) return int32_t{-1};
      const Operand& o = setup.output(next++);
      setup.expect_nhwc(o, dtype);
      setup.expect_same_shape(x, o);
      stride = o.pixel_stride;
      return o.index;
    };
    y_ = take("output", DType::kFloat32, y_stride_);
    bytes_ = take("bytes", DType::kUInt8, bytes_stride_);
    setup.expect(next == setup.outputs().size() && next > 0, "its outputs are not those that it names");
    if (bytes_ < 0) return;
    const Operand& bytes = setup.output(next - 1);
    const QuantParams& q = bytes.def->quant;
    const auto count = static_cast<int64_t>(q.scale.size());
    setup.expect(count == 1 || (count == channels_ && q.axis == 1), "the scales do not fit the channels");
    for (int64_t c = 0; c < round_up(channels_, 64) + 64; ++c) {
      const auto i = static_cast<size_t>(std::min(c, count - 1));
      out_scale_.push_back(q.scale[i]);
      out_zero_.push_back(q.zero_point[i]);
    }
    offset_.assign(out_scale_.size(), 0.0f);
    per_channel_ = count > 1;
    fills_ = bytes.def->parent < 0;
  }

  void run_block(Memory memory, int64_t image, int64_t first, float* scratch) const {
    const int64_t channels = std::min(block_, channels_ - first), at = image * pixels_;
    float *mean = scratch, *inverse = mean + channels, *lanes = inverse + channels,
          *values = lanes + kLanes * channels;
    kernels::NormPixels n;
    n.channels = channels;
    n.stride = in_stride_;
    const float* x = reinterpret_cast<const float*>(memory[x_]) + at * in_stride_ + first;
    for (const bool squares : {false, true}) {
      std::fill_n(lanes, kLanes * channels, 0.0f);
      n.mean = squares ? mean : nullptr;
      for (int64_t p = 0; p < pixels_; p += chunk_) {
        n.input = x + p * in_stride_;
        n.pixels = std::min(chunk_, pixels_ - p);
        kernel_.add_lanes(n, lanes);
      }
      for (int64_t half = kLanes / 2; half > 0; half /= 2)
        for (int64_t i = 0; i < half * channels; ++i) lanes[i] += lanes[i + half * channels];
      for (int64_t c = 0; c < channels; ++c) {
        const float average = lanes[c] / static_cast<float>(pixels_);
        (squares ? inverse : mean)[c] = squares ? 1.0f / std::sqrt(average + epsilon_) : average;
      }
    }
    n.mean = mean;
    n.inverse = inverse;
    n.scale = scale_ + first;
    n.bias = bias_ + first;
    for (int64_t p = 0; p < pixels_; p += chunk_) {
      n.input = x + p * in_stride_;
      n.pixels = std::min(chunk_, pixels_ - p);
      kernel_.normalize(n, values);
      if (function_ != kernels::Function::kNone)
        function_kernel_(function_, alpha_, beta_, values, values, n.pixels * channels);
      write(memory, at + p, first, n.pixels, channels, values);
    }
  }

  void write(Memory memory, int64_t pixel, int64_t first, int64_t pixels, int64_t channels,
             const float* values) const {
    if (y_ >= 0) {
      float* y = reinterpret_cast<float*>(memory[y_]) + pixel * y_stride_ + first;
      for (int64_t p = 0; p < pixels; ++p) std::copy_n(values + p * channels, channels, y + p * y_stride_);
    }
    if (bytes_ < 0) return;
    kernels::ConvertCall call;
    call.op = kernels::ConvertOp::kQuantize;
    call.channels = channels;
    call.pixels = pixels;
    call.input = values;
    call.in_layout = call.out_layout = Layout::kNhwc;
    call.in_stride = channels;
    call.output = memory[bytes_] + pixel * bytes_stride_ + first;
    call.out_stride = bytes_stride_;
    if (fills_ && first + channels == channels_) call.fill = bytes_stride_ - first;
    call.scale = out_scale_.data() + first;
    call.zero_point = out_zero_.data() + first;
    call.offset = offset_.data();
    call.per_channel = per_channel_;
    convert_.run(call, 0, convert_.pieces(call));
  }

  const kernels::NormKernel& kernel_;
  const kernels::ConvertKernel& convert_;
  kernels::FunctionKernel function_kernel_;
  int64_t images_ = 0, channels_ = 0, pixels_ = 0, block_ = 0, chunk_ = 0;
  int64_t in_stride_ = 0, y_stride_ = 0, bytes_stride_ = 0;
  const float *scale_ = nullptr, *bias_ = nullptr;
  float epsilon_ = 0, alpha_ = 0, beta_ = 0;
  kernels::Function function_ = kernels::Function::kNone;
  std::vector<float> out_scale_, offset_;
  std::vector<int32_t> out_zero_;
  bool per_channel_ = false, fills_ = false;
  int32_t x_ = -1, y_ = -1, bytes_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_instance_norm(const StepSetup& setup) {
  setup.expect_arity(3, 3, setup.outputs().size());
  return std::make_unique<InstanceNormStep>(setup);
}

}  // namespace octet::engine
