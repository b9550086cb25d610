#include <algorithm>

#include "base/checked.h"
#include "engine/steps/step.h"
#include "kernels/generic/pad_indices.h"
#include "kernels/resize/resize.h"

namespace octet::engine {
namespace {

using kernels::ResizeCall;

// Rows and columns around images: resizing by a map of sources.
class PadStep : public Step {
 public:
  explicit PadStep(const StepSetup& setup) : kernel_(kernels::choose_resize(setup.isa())) {
    setup.expect_arity(1, 1, 1);
    const Operand &x = setup.input(0), &y = setup.output();
    setup.expect_nhwc(x, DType::kUInt8);
    setup.expect_nhwc(y, DType::kUInt8);
    const Shape &in = x.shape, &out = y.shape;
    const auto pads = setup.int_list("pads", 4, -(1 << 24), 1 << 24);
    setup.expect(in[0] == out[0] && in[1] == out[1] && out[2] == in[2] + pads[0] + pads[2] &&
                     out[3] == in[3] + pads[1] + pads[3],
                 "the shapes do not fit the pads");
    setup.expect(in[2] > 0 && in[3] > 0 && std::max(in[2], in[3]) < (1 << 24),
                 "an image is empty or too large");
    setup.expect(x.def->quant == y.def->quant, "padding changes the quantization");
    const std::string mode = setup.attributes().get_string("mode", "constant");
    setup.expect(mode == "constant" || mode == "edge" || mode == "reflect" || mode == "wrap",
                 "an unknown mode");
    rows_ = indices(in[2], pads[0], out[2], mode);
    columns_ = indices(in[3], pads[1], out[3], mode);
    fill_ = setup.zero_points(x, in[1]);
    call_.images = in[0];
    call_.channels = in[1];
    call_.in_h = in[2];
    call_.in_w = in[3];
    call_.out_h = out[2];
    call_.out_w = out[3];
    call_.rows.index0 = rows_.data();
    call_.columns.index0 = columns_.data();
    call_.in_stride = x.pixel_stride;
    call_.out_stride = y.pixel_stride;
    // Whole tensors are copied with what stands between their pixels.
    if (x.def->parent < 0 && y.def->parent < 0 && x.pixel_stride == y.pixel_stride)
      call_.channels = x.pixel_stride;
    fill_.resize(static_cast<size_t>(round_up(call_.channels, 64)) + 64);
    call_.fill = fill_.data();
    x_ = x.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return kernel_.pieces(call_); }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    ResizeCall call = call_;
    call.input = reinterpret_cast<const uint8_t*>(memory[x_]);
    call.output = reinterpret_cast<uint8_t*>(memory[y_]);
    kernel_.run(call, begin, end);
  }

 private:
  static std::vector<int32_t> indices(int64_t size, int64_t before, int64_t out, const std::string& mode) {
    const auto wide = kernels::generic::pad_indices(size, before, out, mode);
    return {wide.begin(), wide.end()};
  }

  const kernels::ResizeKernel& kernel_;
  ResizeCall call_;
  std::vector<int32_t> rows_, columns_;
  std::vector<uint8_t> fill_;
  int32_t x_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_pad(const StepSetup& setup) {
  return std::make_unique<PadStep>(setup);
}

}  // namespace octet::engine
