#include "base/cpu.h"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace octet {
namespace {

struct NamedIsa {
  Isa isa;
  std::string_view name;
};
constexpr std::array<NamedIsa, 6> kIsas{{{Isa::kReference, "reference"},
                                         {Isa::kAvx2, "avx2"},
                                         {Isa::kAvxVnni, "avxvnni"},
                                         {Isa::kAvx512Vnni, "avx512vnni"},
                                         {Isa::kAvx512VnniVbmi, "avx512vnni-vbmi"},
                                         {Isa::kAmx, "amx"}}};

#if defined(__x86_64__)
// Linux gives a process the tile registers when it asks (Documentation/arch/x86/xstate.rst).
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// The 256-bit dot products without AVX-512, of a CPU that has AVX2.
bool detect_avx_vnni() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  constexpr unsigned kAvxVnniBit = 1u << 4;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnniBit) != 0;
#else
  return false;
#endif
}

Isa detect() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  const auto has = [](unsigned word, unsigned bits) { return (word & bits) == bits; };
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::kReference;
  constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  if (!has(c, kFma | kOsxsave | kAvx | kF16c)) return Isa::kReference;
  // XCR0 says which registers the operating system saves.
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kYmm = 0x6, kZmm = 0xe6;
  if (!has(low, kYmm) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::kReference;
  constexpr unsigned kAvx2Bit = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr unsigned kVbmi = 1u << 1, kVnni = 1u << 11;
  if (!has(b, kAvx2Bit)) return Isa::kReference;
  if (!has(low, kZmm) || !has(b, kF | kDq | kBw | kVl) || !has(c, kVnni))
    return detect_avx_vnni() ? Isa::kAvxVnni : Isa::kAvx2;
  if (!has(c, kVbmi)) return Isa::kAvx512Vnni;
  constexpr unsigned kAmxTile = 1u << 24, kAmxInt8 = 1u << 25, kTiles = 0x60000;
  return has(low, kTiles) && has(d, kAmxTile | kAmxInt8) && may_use_tiles() ? Isa::kAmx
                                                                            : Isa::kAvx512VnniVbmi;
#else
  return Isa::kReference;
#endif
}

std::string possible_names() {
  std::string names;
  for (const Isa isa : possible_isas()) names.append(names.empty() ? "" : ", ").append(isa_name(isa));
  return names;
}

}  // namespace

bool halves_512_bit_vectors() {
#if defined(__x86_64__)
  static const bool halves = [] {
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d) || b != signature_AMD_ebx || !__get_cpuid(1, &a, &b, &c, &d))
      return false;
    const unsigned family = ((a >> 8) & 0xf) + ((a >> 20) & 0xff);
    return family == 0x19;
  }();
  return halves;
#else
  return false;
#endif
}

Isa best_isa() {
  static const Isa isa = detect();
  return isa;
}

bool has_isa(Isa isa) {
  static const bool avx_vnni = best_isa() >= Isa::kAvx2 && detect_avx_vnni();
  return isa == Isa::kAvxVnni ? avx_vnni : isa <= best_isa();
}

std::vector<Isa> possible_isas() {
  std::vector<Isa> isas;
  for (const NamedIsa& named : kIsas)
    if (has_isa(named.isa)) isas.push_back(named.isa);
  return isas;
}

Isa current_isa() {
  const char* wanted = std::getenv("OCTET_ISA");
  if (wanted == nullptr || *wanted == '\0') return best_isa();
  for (const auto& [isa, name] : kIsas) {
    if (name != wanted) continue;
    if (!has_isa(isa))
      fail(ErrorCode::kUnsupported, "OCTET_ISA={}: this CPU lacks it; possible here: {}", wanted,
           possible_names());
    return isa;
  }
  fail(ErrorCode::kInvalidArgument, "OCTET_ISA={}: unknown instruction set; possible here: {}", wanted,
       possible_names());
}

std::string_view isa_name(Isa isa) {
  return kIsas[static_cast<size_t>(isa)].name;
}

}  // namespace octet
