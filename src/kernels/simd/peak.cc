#include "kernels/simd/peak.h"

#include <algorithm>
#include <chrono>

namespace octet::kernels {

double measure_int8_peak(Isa isa) {
  if (isa < Isa::kAvx2) return 0;
  const PeakLoop loop = isa >= Isa::kAvx512Vnni ? peak_avx512vnni
                        : isa == Isa::kAvxVnni  ? peak_avxvnni
                                                : peak_avx2;
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::milliseconds(20);
  double best = 0;
  for (auto start = Clock::now(); start < end;) {
    const auto work = static_cast<double>(loop(2000));
    const auto now = Clock::now();
    best = std::max(best, work / std::chrono::duration<double>(now - start).count());
    start = now;
  }
  return best;
}

}  // namespace octet::kernels
