#include "kernels/float/matmul_f32.h"

#include <algorithm>

#include "kernels/float/kernels.h"

namespace octet::kernels {

void matmul_f32(const MatMulF32Call& c, Isa isa) {
  constexpr int64_t kFew = 4;  // rows for which packing `b` is dearer than the products
  if (c.depth == 0)
    for (int64_t r = 0; r < c.rows; ++r) std::fill_n(c.y + r * c.y_stride, c.columns, 0.0f);
  else if (c.b.transposed && c.b.stride == c.depth && c.rows <= kFew)
    float_kernels(isa).dot_rows(c.b.data, c.columns, c.depth, c.a.data, c.rows, c.a.stride, c.y, c.y_stride);
  else
    sgemm(c.rows, c.columns, c.depth, c.a, c.b, 0, c.y, c.y_stride);
}

}  // namespace octet::kernels
