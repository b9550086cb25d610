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

}  // namespace octet
