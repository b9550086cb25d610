#include "kernels/lut/lut.h"

namespace octet::kernels {
namespace {

int64_t pieces(const LutCall& call) {
  return call.pixels;
}

void run(const LutCall& call, int64_t begin, int64_t end) noexcept {
  for (int64_t p = begin; p < end; ++p)
    for (int64_t c = 0; c < call.channels; ++c)
      call.output[p * call.out_stride + c] = call.table[call.input[p * call.in_stride + c]];
}

}  // namespace

extern const LutKernel lut_reference;
const LutKernel lut_reference = {"reference", Isa::kReference, pieces, run};

}  // namespace octet::kernels
