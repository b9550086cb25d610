#include "kernels/float/matmul_f32.h"

#include <algorithm>

#include "base/checked.h"
#include "engine/steps/matrices.h"
#include "kernels/float/fixed_f32.h"

namespace octet::engine {
namespace {

using kernels::MatMulF32Call;
using kernels::MatrixF32;

constexpr int64_t kMinRows = 16, kMinColumns = 64;  // of a piece, where there are more

struct Product {
  Strided a, b, y;
};

// A vector is a matrix of one row or column, which the result does not have.
Product product_of(const StepSetup& setup) {
  const Operand &a = setup.input(0), &b = setup.input(1), &y = setup.output();
  for (const Operand* o : {&a, &b, &y}) {
    setup.expect_dtype(*o, DType::kFloat32);
    setup.expect(!o->nhwc(), "a matrix product takes plain tensors");
  }
  setup.expect(!a.shape.empty() && !b.shape.empty(), "a matrix product takes no scalars");
  const bool row = a.shape.size() == 1, column = b.shape.size() == 1;
  const auto with = [](Shape shape, bool last, bool before_last) {
    if (last) shape.push_back(1);
    if (before_last) shape.insert(shape.end() - (shape.empty() ? 0 : 1), 1);
    return dense(shape);
  };
  const Product p{row ? with(a.shape, false, true) : permuted(setup, a, "a_perm"),
                  column ? with(b.shape, true, false) : permuted(setup, b, "b_perm"),
                  row || column ? with(y.shape, column, row) : permuted_result(setup, y, "y_perm")};
  setup.expect(p.y.shape.size() >= 2 && p.b.rows() == p.a.columns() && p.y.rows() == p.a.rows() &&
                   p.y.columns() == p.b.columns(),
               "the shapes are not those of a matrix product");
  return p;
}

class MatMulF32Step : public Step {
 public:
  MatMulF32Step(const StepSetup& setup, const Product& p)
      : batches_(p.y, 2), isa_(setup.isa()), deterministic_(setup.deterministic()) {
    call_.rows = p.a.rows();
    call_.depth = p.a.columns();
    call_.columns = p.b.columns();
    // The stride along a dimension of one element is any.
    const auto together = [](int64_t size, int64_t stride) { return size == 1 || stride == 1; };
    setup.expect(together(p.a.columns(), p.a.column_stride()) && together(p.y.columns(), p.y.column_stride()),
                 "the rows of a matrix are not dense");
    call_.a.stride = std::max(p.a.row_stride(), p.a.columns());
    call_.y_stride = std::max(p.y.row_stride(), p.y.columns());
    call_.b.transposed = !together(p.b.columns(), p.b.column_stride());
    setup.expect(!call_.b.transposed || together(p.b.rows(), p.b.row_stride()),
                 "neither the rows nor the columns of a matrix are dense");
    call_.b.stride = call_.b.transposed ? std::max(p.b.column_stride(), p.b.rows())
                                        : std::max(p.b.row_stride(), p.b.columns());
    a_strides_ = batches_.strides_of(setup, p.a, 2);
    b_strides_ = batches_.strides_of(setup, p.b, 2);
    y_strides_ = batches_.strides_of(setup, p.y, 2);
    cut(setup.threads());
    a_ = setup.input(0).index;
    b_ = setup.input(1).index;
    y_ = setup.output().index;
  }

  int64_t pieces() const override { return batches_.count() * row_pieces_ * column_pieces_; }
  int64_t scratch_bytes() const override { return deterministic_ ? kernels::fixed_matmul_scratch(call_) : 0; }
  std::string kernel() const override {
    return deterministic_ ? "fixed order " + std::string(isa_name(isa_)) : "oneDNN sgemm";
  }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t column = i % column_pieces_ * columns_, row = i / column_pieces_ % row_pieces_ * rows_;
      const int64_t batch = i / column_pieces_ / row_pieces_;
      MatMulF32Call call = call_;
      call.rows = std::min(rows_, call.rows - row);
      call.columns = std::min(columns_, call.columns - column);
      call.a.data = reinterpret_cast<const float*>(memory[a_]) + batches_.offset(a_strides_, batch) +
                    row * call.a.stride;
      call.b.data = reinterpret_cast<const float*>(memory[b_]) + batches_.offset(b_strides_, batch) +
                    column * (call.b.transposed ? call.b.stride : 1);
      call.y = reinterpret_cast<float*>(memory[y_]) + batches_.offset(y_strides_, batch) +
               row * call.y_stride + column;
      if (deterministic_)
        kernels::fixed_matmul(call, isa_, scratch);
      else
        kernels::matmul_f32(call, isa_);
    }
  }

 private:
  // Pieces of rows, and where these are few of columns too, so that the threads share the work.
  void cut(int threads) {
    const int64_t count = batches_.count(), wanted = threads > 1 ? int64_t{3} * threads : 1;
    const auto size = [&](int64_t whole, int64_t smallest, int64_t pieces) {
      return std::max<int64_t>(ceil_div(whole, ceil_div(wanted, std::max<int64_t>(pieces, 1))),
                               std::clamp<int64_t>(whole, 1, smallest));
    };
    rows_ = size(call_.rows, kMinRows, count);
    row_pieces_ = ceil_div(call_.rows, rows_);
    columns_ = round_up(size(call_.columns, kMinColumns, count * row_pieces_), kernels::kFixedBlock);
    column_pieces_ = ceil_div(call_.columns, columns_);
  }

  Batches batches_;
  MatMulF32Call call_;
  std::vector<int64_t> a_strides_, b_strides_, y_strides_;
  int64_t rows_ = 1, columns_ = 1, row_pieces_ = 1, column_pieces_ = 1;
  int32_t a_ = -1, b_ = -1, y_ = -1;
  Isa isa_;
  bool deterministic_;
};

}  // namespace

std::unique_ptr<Step> prepare_matmul_f32(const StepSetup& setup) {
  setup.expect_arity(2, 2, 1);
  return std::make_unique<MatMulF32Step>(setup, product_of(setup));
}

}  // namespace octet::engine
