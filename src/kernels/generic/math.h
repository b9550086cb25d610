// exp, log, power, sine and cosine of the generic operators: fixed sequences of IEEE double operations (no
// libm), so that the float32 results are the same bits on every machine. Errors before the rounding to
// float32: below 1e-14 relative (sine and cosine: absolute).
#pragma once

namespace octet::kernels::generic {

double exp_exact(double x) noexcept;  // 0 and infinity beyond the range of double
double log_exact(double x) noexcept;  // NaN below 0, -infinity at 0
double pow_exact(double base, double exponent) noexcept;
double sin_exact(double x) noexcept;
double cos_exact(double x) noexcept;

}  // namespace octet::kernels::generic
