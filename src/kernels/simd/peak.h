// What one core can multiply at most in 8 bits: the yardstick of profiles and benchmarks.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace octet::kernels {

// u8 x s8 multiply-adds of one call, which computes on registers alone: `rounds` turns of a loop of the
// instructions that the instruction set's kernels are made of.
using PeakLoop = int64_t (*)(int64_t rounds) noexcept;
int64_t peak_avx2(int64_t rounds) noexcept;        // vpmaddubsw, vpmaddwd, vpaddd
int64_t peak_avxvnni(int64_t rounds) noexcept;     // vpdpbusd
int64_t peak_avx512vnni(int64_t rounds) noexcept;  // vpdpbusd

// Multiply-adds per second of the calling thread, the best of short windows (about 20 ms in all); 0 for the
// reference.
double measure_int8_peak(Isa isa);

}  // namespace octet::kernels
