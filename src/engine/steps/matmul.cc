#include "kernels/matmul/matmul.h"

#include <algorithm>

#include "base/checked.h"
#include "engine/steps/matrices.h"

namespace octet::engine {
namespace {

constexpr int64_t kRows = 240, kColumns = 256;  // of a piece; the right operand is packed for each

class MatMulStep : public Step {
 public:
  explicit MatMulStep(const StepSetup& setup)
      : MatMulStep(setup, permuted(setup, setup.input(0), "a_perm"),
                   permuted(setup, setup.input(1), "b_perm"),
                   permuted_result(setup, setup.output(), "y_perm")) {}

  int64_t pieces() const override { return batches_.count() * row_pieces_ * column_pieces_; }
  int64_t scratch_bytes() const override {
    kernels::MatMulCall call = call_;
    call.columns = std::min(call.columns, kColumns);
    return kernel_.matmul_scratch(call);
  }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i % column_pieces_ * kColumns, row = i / column_pieces_ % row_pieces_ * kRows;
      const int64_t batch = i / column_pieces_ / row_pieces_;
      kernels::MatMulCall call = call_;
      call.rows = std::min(kRows, call.rows - row);
      call.columns = std::min(kColumns, call.columns - column);
      call.a.data = reinterpret_cast<const uint8_t*>(memory[a_]) + batches_.offset(a_strides_, batch) +
                    row * call.a.row_stride;
      call.b.data = reinterpret_cast<const uint8_t*>(memory[b_]) + batches_.offset(b_strides_, batch) +
                    column * call.b.column_stride;
      const int64_t to = batches_.offset(y_strides_, batch) + row * call.output.row_stride +
                         column * call.output.column_stride;
      call.output.data = memory[y_] + to * (call.output.is_float ? 4 : 1);
      kernel_.matmul(call, scratch);
    }
  }

 private:
  MatMulStep(const StepSetup& setup, const Strided& a, const Strided& b, const Strided& y)
      : kernel_(kernels::choose_matmul(setup.isa())), batches_(y, 2) {
    const ScalarQuant qa = scalar_quant(setup, setup.input(0)), qb = scalar_quant(setup, setup.input(1));
    call_.rows = a.rows();
    call_.depth = a.columns();
    call_.columns = b.columns();
    setup.expect(b.rows() == call_.depth && y.rows() == call_.rows && y.columns() == call_.columns,
                 "the shapes are not those of a matrix product");
    setup.expect(call_.depth <= kernels::kMaxMatMulDepth, "its sums could exceed 32 bits");
    setup.expect(std::min({call_.rows, call_.depth, call_.columns}) > 0, "a matrix is empty");
    call_.a = {nullptr, a.row_stride(), a.column_stride(), qa.zero};
    call_.b = {nullptr, b.row_stride(), b.column_stride(), qb.zero};
    call_.output = matmul_output(setup, setup.output(), y, qa.scale * qb.scale);
    a_strides_ = batches_.strides_of(setup, a, 2);
    b_strides_ = batches_.strides_of(setup, b, 2);
    y_strides_ = batches_.strides_of(setup, y, 2);
    row_pieces_ = ceil_div(call_.rows, kRows);
    column_pieces_ = ceil_div(call_.columns, kColumns);
    a_ = setup.input(0).index;
    b_ = setup.input(1).index;
    y_ = setup.output().index;
  }

  const kernels::MatMulKernel& kernel_;
  Batches batches_;
  kernels::MatMulCall call_;
  std::vector<int64_t> a_strides_, b_strides_, y_strides_;
  int64_t row_pieces_ = 1, column_pieces_ = 1;
  int32_t a_ = -1, b_ = -1, y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_matmul(const StepSetup& setup) {
  setup.expect_arity(2, 2, 1);
  const DType dtype = setup.output().def->dtype;
  setup.expect(dtype == DType::kUInt8 || dtype == DType::kFloat32, "the output is neither uint8 nor float32");
  return std::make_unique<MatMulStep>(setup);
}

}  // namespace octet::engine
