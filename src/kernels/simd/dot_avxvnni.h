// vpdpbusd in its VEX encoding. Internal linkage; only for files compiled for AVX-VNNI.
#pragma once

#include "kernels/simd/intrinsics.h"

namespace octet::kernels {
namespace {

// Adds the products of four u8 and four s8 to each int32, without saturation.
inline __attribute__((always_inline)) void dot(__m256i& acc, __m256i inputs, __m256i weights) {
  acc = _mm256_dpbusd_avx_epi32(acc, inputs, weights);
}

}  // namespace
}  // namespace octet::kernels
