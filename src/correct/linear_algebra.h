// Symmetric positive definite systems in float64, on all threads; the same bits for any number of them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace octet {

// The lower triangle of `a` [n][n] becomes L with L L^T = a; what is above stays. False, and `a` is spoilt,
// when `a` is not positive definite.
bool cholesky(std::vector<double>& a, int64_t n, ThreadPool& pool);

// Rows x of `rows` [count][n] become x (L L^T)^-1.
void solve_rows(const std::vector<double>& l, int64_t n, std::vector<double>& rows, int64_t count,
                ThreadPool& pool);

}  // namespace octet
