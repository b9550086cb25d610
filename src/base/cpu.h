// Which instruction set the integer kernels use.
#pragma once

#include <string_view>

namespace octet {

// Ordered: each entry contains the ones before it.
enum class Isa { kReference, kAvx2, kAvx512Vnni, kAvx512VnniVbmi, kAmx };

// The best instruction set of this CPU (and its operating system), limited by the environment variable
// OCTET_ISA = reference | avx2 | avx512vnni | avx512vnni-vbmi | amx where it is set. An unknown value, or one
// that this CPU lacks, throws Error.
Isa current_isa();

// The same without the environment variable.
Isa best_isa();

std::string_view isa_name(Isa isa);

// Whether this CPU runs a 512-bit instruction as two halves (AMD's Zen 4), so that it starts one
// multiplication of 64 bytes a cycle where others start two. For the choice among kernels of equal results.
bool halves_512_bit_vectors();

}  // namespace octet
