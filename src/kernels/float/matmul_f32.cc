#include "kernels/float/matmul_f32.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/float/onednn.h"

namespace octet::kernels {

MatMulLayout matmul_layout(const Shape& a, const Shape& b) {
  MatMulLayout l;
  if (a.size() < 2 || b.size() < 2) fail(ErrorCode::kInvalidArgument, "a matrix product needs matrices");
  l.m = a[a.size() - 2];
  l.k = a.back();
  l.n = b.back();
  const size_t rank = std::max(a.size(), b.size()), lead = rank - 2;
  const auto dim = [&](const Shape& s, size_t d) { return d + s.size() < rank ? 1 : s[d + s.size() - rank]; };
  bool fits = b[b.size() - 2] == l.k;
  for (size_t d = 0; d < lead; ++d) {
    fits &= dim(a, d) == dim(b, d) || dim(a, d) == 1 || dim(b, d) == 1;
    l.output.push_back(dim(a, d) == 1 ? dim(b, d) : dim(a, d));
  }
  if (!fits)
    fail(ErrorCode::kInvalidArgument, "the shapes {} and {} have no matrix product", to_string(a),
         to_string(b));
  const int64_t count = checked_product(l.output);
  l.output.push_back(l.m);
  l.output.push_back(l.n);
  if (checked_product(l.output) == 0) return l;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at_a = 0, at_b = 0, stride_a = 1, stride_b = 1;
    for (size_t d = lead; d-- > 0;) {
      const int64_t index = rest % l.output[d];
      rest /= l.output[d];
      if (dim(a, d) != 1) at_a += index * stride_a;
      if (dim(b, d) != 1) at_b += index * stride_b;
      stride_a *= dim(a, d);
      stride_b *= dim(b, d);
    }
    l.offsets_a.push_back(at_a * l.m * l.k);
    l.offsets_b.push_back(at_b * l.k * l.n);
  }
  return l;
}

MatMulF32::MatMulF32(const Shape& a, const Shape& b, int threads) {
  MatMulLayout l = matmul_layout(a, b);
  m_ = l.m;
  n_ = l.n;
  k_ = l.k;
  offsets_a_ = std::move(l.offsets_a);
  offsets_b_ = std::move(l.offsets_b);
  output_ = std::move(l.output);
  const auto count = static_cast<int64_t>(offsets_a_.size());
  if (count == 0) return;
  const int64_t wanted = threads > 1 && count > 0 ? ceil_div(int64_t{3} * threads, count) : 1;
  rows_ = std::max<int64_t>(ceil_div(m_, wanted), std::min<int64_t>(m_, 16));
  row_blocks_ = ceil_div(m_, rows_);
}

void MatMulF32::run(int64_t begin, int64_t end, const float* a, const float* b, float* y) const {
  const onednn::SingleThread single;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t matrix = p / row_blocks_, row = p % row_blocks_ * rows_;
    const auto i = static_cast<size_t>(matrix);
    float* out = y + (matrix * m_ + row) * n_;
    const int64_t rows = std::min(rows_, m_ - row);
    if (k_ == 0) {
      std::fill_n(out, rows * n_, 0.0f);
      continue;
    }
    onednn::check(dnnl_sgemm('N', 'N', rows, n_, k_, 1.0f, a + offsets_a_[i] + row * k_, k_,
                             b + offsets_b_[i], n_, 0.0f, out, n_),
                  "matrix product");
  }
}

}  // namespace octet::kernels
