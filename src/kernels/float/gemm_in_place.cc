#include "kernels/float/gemm_in_place.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/float/binary_f32.h"
#include "kernels/float/onednn.h"
#include "kernels/simd/function.h"

namespace octet::kernels {
namespace {

constexpr int64_t kSliceUnit = 64;

}  // namespace

GemmInPlaceF32::GemmInPlaceF32(const GemmInPlaceOptions& options, Isa isa) : options_(options), isa_(isa) {
  const int64_t wanted = options.threads > 1 ? int64_t{3} * options.threads : 1;
  slice_ = round_up(ceil_div(options.columns, wanted), kSliceUnit);
  if (options.bias != nullptr) bias_.assign(options.bias, options.bias + options.columns);
  options_.bias = nullptr;
}

int64_t GemmInPlaceF32::pieces() const {
  return ceil_div(options_.columns, slice_);
}

void GemmInPlaceF32::run(int64_t begin, int64_t end, const float* x, float* y) const {
  const onednn::SingleThread single;
  const GemmInPlaceOptions& o = options_;
  const BinaryF32Kernels& binary = binary_f32_kernels(isa_);
  const FunctionKernel function = choose_function(isa_);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t first = piece * slice_, count = std::min(slice_, o.columns - first);
    float* out = y + first;
    onednn::check(o.transposed ? dnnl_sgemm('N', 'T', o.rows, count, o.depth, 1.0f, x, o.depth,
                                            o.weights + first * o.depth, o.depth, 0.0f, out, o.columns)
                               : dnnl_sgemm('N', 'N', o.rows, count, o.depth, 1.0f, x, o.depth,
                                            o.weights + first, o.columns, 0.0f, out, o.columns),
                  "matrix product");
    for (int64_t r = 0; r < o.rows; ++r) {
      float* row = out + r * o.columns;
      if (!bias_.empty()) binary.add(row, bias_.data() + first, row, count);
      if (o.function != Function::kNone) function(o.function, o.alpha, o.beta, row, row, count);
    }
  }
}

}  // namespace octet::kernels
