// Which instruction set the integer kernels use.
#pragma once

#include <string_view>
#include <vector>

namespace octet {

// Ordered by speed. Each entry contains the ones before it, except that those with AVX-512 do not contain
// kAvxVnni: Cascade Lake and Zen 4 lack it.
enum class Isa { kReference, kAvx2, kAvxVnni, kAvx512Vnni, kAvx512VnniVbmi, kAmx };

// Whether every CPU that has `isa` has `part` too.
constexpr bool contains(Isa isa, Isa part) {
  return part == isa || (part < isa && part != Isa::kAvxVnni);
}

// The best instruction set of this CPU (and its operating system), limited by the environment variable
// OCTET_ISA = reference | avx2 | avxvnni | avx512vnni | avx512vnni-vbmi | amx where it is set. An unknown
// value, or one that this CPU lacks, throws Error.
Isa current_isa();

// The same without the environment variable.
Isa best_isa();

// Whether this CPU has `isa`, and all that it has, in order.
bool has_isa(Isa isa);
std::vector<Isa> possible_isas();

std::string_view isa_name(Isa isa);

// Whether this CPU runs a 512-bit instruction as two halves (AMD's Zen 4), so that it starts one
// multiplication of 64 bytes a cycle where others start two. For the choice among kernels of equal results.
bool halves_512_bit_vectors();

}  // namespace octet
