#include "kernels/float/sgemm.h"

#include <algorithm>

#include "kernels/float/onednn.h"

namespace octet::kernels {

void sgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b, float beta, float* c,
           int64_t c_stride) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) c[i * c_stride + j] *= beta;
    return;
  }
  const onednn::SingleThread single;
  onednn::check(dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0f, a.data,
                           a.stride, b.data, b.stride, beta, c, c_stride),
                "matrix product");
}

}  // namespace octet::kernels
