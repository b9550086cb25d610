// Four kernel rows at a time, as bytes, multiplied by vpdpbusd.
#include "kernels/depthwise/avx2_body.h"
#include "kernels/simd/dot_avxvnni.h"

namespace octet::kernels {
namespace {

struct Dot {
  static constexpr int kRows = 4;
  OCTET_FORCE_INLINE void interleave(const __m256i (&rows)[4], __m256i (&out)[4]) {
    interleave_bytes(rows[0], rows[1], rows[2], rows[3], out);
  }
  static void copy_weights(const std::byte* from, std::byte* to) { __builtin_memcpy(to, from, 16); }
  OCTET_FORCE_INLINE void add(__m256i& sum, __m256i inputs, __m256i weights) { dot(sum, inputs, weights); }
};

}  // namespace

const ConvKernel depthwise_avxvnni = {"avxvnni", Isa::kAvxVnni, supports, scratch_bytes<Dot>,
                                      pieces,    run<Dot>,      pixels};

}  // namespace octet::kernels
