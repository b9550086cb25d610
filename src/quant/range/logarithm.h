// Natural logarithms that are the same bits on every machine, unlike the standard library's.
#pragma once

#include <span>

namespace octet {

// Of positive normal numbers; error below 4e-16 relative or absolute, whichever is larger.
double logarithm(double x);

// The same in place.
void logarithms(std::span<double> x);

}  // namespace octet
