#include "kernels/float/binary_f32.h"

#include <algorithm>

#include "engine/steps/pixels.h"

namespace octet::engine {
namespace {

using kernels::BinaryF32Call;
using kernels::BinaryOp;
using kernels::BinaryShape;

constexpr int64_t kBlock = 4096;  // elements of a plain tensor that are one row
constexpr int64_t kPixels = 64;   // pixels that are one piece

BinaryOp op_of(const StepSetup& setup) {
  const std::string op = setup.attributes().get_string("op", "");
  if (op == "Add") return BinaryOp::kAdd;
  if (op == "Sub") return BinaryOp::kSub;
  if (op == "Mul") return BinaryOp::kMul;
  if (op == "Div") return BinaryOp::kDiv;
  setup.fail_here("there is no operator '" + op + "'");
}

class BinaryF32Step : public Step {
 public:
  explicit BinaryF32Step(const StepSetup& setup) : isa_(setup.isa()) {
    const Operand &a = setup.input(0), &b = setup.input(1), &y = setup.output();
    for (const Operand* o : {&a, &b, &y}) setup.expect_dtype(*o, DType::kFloat32);
    const PixelPair pixels = pixel_pair(setup, a, y);
    call_.op = op_of(setup);
    call_.channels = pixels.channels;
    call_.a_stride = pixels.in_stride;
    call_.out_stride = pixels.out_stride;
    pixels_ = pixels.count;
    if (b.count() == 1 && (b.shape != a.shape || b.nhwc() != a.nhwc())) {
      call_.shape = BinaryShape::kScalar;
    } else if (b.shape == a.shape && b.nhwc() == a.nhwc()) {
      call_.b_stride = b.nhwc() ? b.pixel_stride : pixels.channels;
    } else {
      setup.expect(a.nhwc() && b.shape.size() == 1 && b.shape[0] == pixels.channels,
                   "the second operand fits neither the first nor its channels");
      call_.shape = BinaryShape::kChannel;
    }
    if (!a.nhwc()) split_plain(pixels.channels);
    a_ = a.index;
    b_ = b.index;
    y_ = y.index;
  }

  int64_t pieces() const override { return plain_ ? pixels_ : ceil_div(pixels_, kPixels); }
  std::string kernel() const override { return std::string(isa_name(isa_)); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    const auto* a = reinterpret_cast<const float*>(memory[a_]);
    const auto* b = reinterpret_cast<const float*>(memory[b_]);
    auto* y = reinterpret_cast<float*>(memory[y_]);
    if (!plain_) {
      run_binary_f32(call_, isa_, begin * kPixels, std::min(end * kPixels, pixels_), a, b, y);
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      BinaryF32Call call = call_;
      const int64_t at = i * kBlock;
      call.channels = std::min(kBlock, elements_ - at);
      run_binary_f32(call, isa_, 0, 1, a + at, call_.shape == BinaryShape::kScalar ? b : b + at, y + at);
    }
  }

 private:
  void split_plain(int64_t elements) {
    plain_ = true;
    elements_ = elements;
    pixels_ = ceil_div(elements, kBlock);
  }

  Isa isa_;
  BinaryF32Call call_;
  bool plain_ = false;
  int64_t pixels_ = 1, elements_ = 0;
  int32_t a_ = -1, b_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_binary_f32(const StepSetup& setup) {
  setup.expect_arity(2, 2, 1);
  return std::make_unique<BinaryF32Step>(setup);
}

}  // namespace octet::engine
