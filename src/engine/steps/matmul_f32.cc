#include "engine/steps/step.h"
#include "kernels/float/fixed_f32.h"

namespace octet::engine {
namespace {

class FixedMatMulStep : public Step {
 public:
  FixedMatMulStep(const StepSetup& setup, kernels::FixedMatMulF32 product)
      : product_(std::move(product)),
        a_(setup.input(0).index),
        b_(setup.input(1).index),
        y_(setup.output().index) {}

  int64_t pieces() const override { return product_.pieces(); }
  int64_t scratch_bytes() const override { return product_.scratch_bytes(); }
  std::string kernel() const override { return product_.kernel(); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    product_.run(begin, end, reinterpret_cast<const float*>(memory[a_]),
                 reinterpret_cast<const float*>(memory[b_]), reinterpret_cast<float*>(memory[y_]), scratch);
  }

 private:
  kernels::FixedMatMulF32 product_;
  int32_t a_, b_, y_;
};

class MatMulF32Step : public Step {
 public:
  MatMulF32Step(const StepSetup& setup, kernels::MatMulF32 product)
      : product_(std::move(product)),
        a_(setup.input(0).index),
        b_(setup.input(1).index),
        y_(setup.output().index) {}

  int64_t pieces() const override { return product_.pieces(); }
  std::string kernel() const override { return "oneDNN sgemm"; }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* /*scratch*/) override {
    product_.run(begin, end, reinterpret_cast<const float*>(memory[a_]),
                 reinterpret_cast<const float*>(memory[b_]), reinterpret_cast<float*>(memory[y_]));
  }

 private:
  kernels::MatMulF32 product_;
  int32_t a_, b_, y_;
};

}  // namespace

std::unique_ptr<Step> prepare_matmul_f32(const StepSetup& setup) {
  setup.expect_arity(2, 2, 1);
  for (const Operand* o : {&setup.input(0), &setup.input(1), &setup.output()}) {
    setup.expect_dtype(*o, DType::kFloat32);
    setup.expect(!o->nhwc(), "a matrix product takes plain tensors");
  }
  // A vector is a matrix of one row or column, which the output does not have.
  Shape a = setup.input(0).shape, b = setup.input(1).shape;
  setup.expect(!a.empty() && !b.empty(), "a matrix product takes no scalars");
  const bool vector_a = a.size() == 1, vector_b = b.size() == 1;
  if (vector_a) a.insert(a.begin(), 1);
  if (vector_b) b.push_back(1);
  kernels::MatMulF32 product(a, b, setup.threads());
  Shape expected = product.output_shape();
  if (vector_b) expected.pop_back();
  if (vector_a) expected.erase(expected.end() - (vector_b ? 1 : 2));
  setup.expect(setup.output().shape == expected, "the output has not the product's shape");
  if (setup.deterministic())
    return std::make_unique<FixedMatMulStep>(setup, kernels::FixedMatMulF32(a, b, setup.isa()));
  return std::make_unique<MatMulF32Step>(setup, std::move(product));
}

}  // namespace octet::engine
