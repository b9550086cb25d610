#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "engine/steps/matrices.h"

namespace octet::engine {
namespace {

constexpr int64_t kRows = 240;    // of a piece; keys and values are packed for each
constexpr int64_t kMinRows = 48;  // where more pieces than heads are wanted

enum Input : size_t { kQ, kK, kV, kMask, kInputs };

class AttentionStep : public Step {
 public:
  explicit AttentionStep(const StepSetup& setup)
      : AttentionStep(setup, permuted(setup, setup.input(kQ), "q_perm"),
                      permuted(setup, setup.input(kK), "k_perm"), permuted(setup, setup.input(kV), "v_perm"),
                      permuted_result(setup, setup.output(), "y_perm")) {}

  int64_t pieces() const override { return batches_.count() * row_pieces_; }
  int64_t scratch_bytes() const override { return kernel_.attention_scratch(call_); }
  std::string kernel() const override { return std::string(kernel_.name); }

  void run(Memory memory, int64_t begin, int64_t end, int /*thread*/, std::byte* scratch) override {
    const auto bytes = [&](int32_t tensor) { return reinterpret_cast<const uint8_t*>(memory[tensor]); };
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % row_pieces_ * piece_rows_, batch = i / row_pieces_;
      kernels::AttentionCall call = call_;
      call.rows = std::min(piece_rows_, call.rows - row);
      call.q.data = bytes(tensor_[kQ]) + batches_.offset(strides_[kQ], batch) + row * call.q.row_stride;
      call.k.data = bytes(tensor_[kK]) + batches_.offset(strides_[kK], batch);
      call.v.data = bytes(tensor_[kV]) + batches_.offset(strides_[kV], batch);
      if (tensor_[kMask] >= 0)
        call.mask = reinterpret_cast<const float*>(memory[tensor_[kMask]]) +
                    batches_.offset(strides_[kMask], batch) + row * call.mask_row_stride;
      const int64_t to = batches_.offset(y_strides_, batch) + row * call.output.row_stride;
      call.output.data = memory[y_] + to * (call.output.is_float ? 4 : 1);
      kernel_.attention(call, scratch);
    }
  }

 private:
  AttentionStep(const StepSetup& setup, const Strided& q, const Strided& k, const Strided& v,
                const Strided& y)
      : kernel_(kernels::choose_matmul(setup.isa())), batches_(y, 2) {
    const ScalarQuant qq = scalar_quant(setup, setup.input(kQ)), qk = scalar_quant(setup, setup.input(kK)),
                      qv = scalar_quant(setup, setup.input(kV));
    call_.rows = q.rows();
    call_.depth = q.columns();
    call_.keys = k.columns();
    call_.columns = v.columns();
    setup.expect(k.rows() == call_.depth && v.rows() == call_.keys && y.rows() == call_.rows &&
                     y.columns() == call_.columns,
                 "the shapes are not those of attention");
    setup.expect(std::max(call_.depth, call_.keys) <= kernels::kMaxMatMulDepth,
                 "its sums could exceed 32 bits");
    setup.expect(std::min({call_.rows, call_.depth, call_.keys, call_.columns}) > 0, "a matrix is empty");
    call_.q = {nullptr, q.row_stride(), q.column_stride(), qq.zero};
    call_.k = {nullptr, k.row_stride(), k.column_stride(), qk.zero};
    call_.v = {nullptr, v.row_stride(), v.column_stride(), qv.zero};
    call_.score_scale = static_cast<float>(setup.float_value("scale", 1) * qq.scale * qk.scale);
    const double step = setup.float_value("probability_scale", 0);
    setup.expect(std::isfinite(step) && step > 0, "the probabilities have no scale");
    call_.probability_scale = static_cast<float>(1 / step);
    call_.probability_zero = static_cast<int32_t>(setup.int_value("probability_zero", 0, 0, 255));
    call_.output = matmul_output(setup, setup.output(), y, step * qv.scale);
    const Strided* operands[] = {&q, &k, &v};
    for (size_t i = 0; i < kMask; ++i) {
      strides_[i] = batches_.strides_of(setup, *operands[i], 2);
      tensor_[i] = setup.input(i).index;
    }
    if (setup.has_input(kMask)) read_mask(setup, y);
    y_strides_ = batches_.strides_of(setup, y, 2);
    y_ = setup.output().index;
    cut(setup.threads());
  }

  void read_mask(const StepSetup& setup, const Strided& y) {
    const Operand& mask = setup.input(kMask);
    setup.expect_dtype(mask, DType::kFloat32);
    Strided m = permuted(setup, mask, "");
    const auto along = [&](int64_t size, int64_t wanted, int64_t stride) {
      setup.expect(size == 1 || size == wanted, "the mask does not broadcast to the scores");
      return size == 1 ? int64_t{0} : stride;
    };
    call_.mask_row_stride = along(m.rows(), y.rows(), m.row_stride());
    call_.mask_key_stride = along(m.columns(), call_.keys, m.column_stride());
    strides_[kMask] = batches_.strides_of(setup, m, 2);
    tensor_[kMask] = mask.index;
  }

  void cut(int threads) {
    const int64_t heads = std::max<int64_t>(batches_.count(), 1);
    const int64_t wanted = ceil_div(int64_t{threads} > 1 ? int64_t{threads} * 2 : 1, heads);
    piece_rows_ = std::clamp(ceil_div(call_.rows, wanted), kMinRows, kRows);
    row_pieces_ = ceil_div(call_.rows, piece_rows_);
    piece_rows_ = ceil_div(call_.rows, row_pieces_);
  }

  const kernels::MatMulKernel& kernel_;
  Batches batches_;
  kernels::AttentionCall call_;
  std::vector<int64_t> strides_[kInputs], y_strides_;
  int32_t tensor_[kInputs] = {-1, -1, -1, -1};
  int64_t row_pieces_ = 1, piece_rows_ = 1;
  int32_t y_ = -1;
};

}  // namespace

std::unique_ptr<Step> prepare_attention(const StepSetup& setup) {
  setup.expect_arity(kMask, kInputs, 1);
  const DType dtype = setup.output().def->dtype;
  setup.expect(dtype == DType::kUInt8 || dtype == DType::kFloat32, "the output is neither uint8 nor float32");
  return std::make_unique<AttentionStep>(setup);
}

}  // namespace octet::engine
