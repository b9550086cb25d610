// Denormal floats cost x86 CPUs a hundred cycles an operation, and no network means them: activations that
// fade away in float layers would be many times slower than others.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace octet {

// While this exists, the calling thread takes denormal floats for zero and makes none (FTZ and DAZ of MXCSR;
// FZ of FPCR on AArch64). Integers and conversions of halves are not concerned.
class DenormalsAreZero {
 public:
  DenormalsAreZero() : before_(read()) { write(before_ | kBits); }
  ~DenormalsAreZero() { write(before_); }
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kBits = 0x8040;
  static uint64_t read() {
    return _mm_getcsr();
  }
  static void write(uint64_t bits) {
    _mm_setcsr(static_cast<unsigned>(bits));
  }
#elif defined(__aarch64__)
  static constexpr uint64_t kBits = uint64_t{1} << 24;
  static uint64_t read() {
    uint64_t bits;
    __asm__ volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
  }
  static void write(uint64_t bits) {
    __asm__ volatile("msr fpcr, %0" : : "r"(bits));
  }
#else
  static constexpr uint64_t kBits = 0;
  static uint64_t read() {
    return 0;
  }
  static void write(uint64_t) {}
#endif

  const uint64_t before_;
};

}  // namespace octet
