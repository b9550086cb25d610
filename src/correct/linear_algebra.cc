#include "correct/linear_algebra.h"

#include <algorithm>
#include <cmath>

#include "correct/vector_loops.h"

namespace octet {
namespace {

using loops::kBlock;
using loops::kLanes;

// c [rows][columns] -= a [rows][depth] * b [columns][depth]^T; strides n.
void subtract_product(const double* a, const double* b, double* c, int64_t rows, int64_t columns,
                      int64_t depth, int64_t n) {
  double turned[kBlock * kBlock];
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t j = 0; j < columns; ++j) turned[k * kBlock + j] = b[j * n + k];
    for (int64_t j = columns; j < kBlock; ++j) turned[k * kBlock + j] = 0;
  }
  loops::of(current_isa()).subtract_product(a, turned, c, rows, columns, depth, n);
}

bool factor_block(double* a, int64_t size, int64_t n) {
  for (int64_t j = 0; j < size; ++j) {
    double d = a[j * n + j];
    for (int64_t k = 0; k < j; ++k) d -= a[j * n + k] * a[j * n + k];
    if (!(d > 0) || !std::isfinite(d)) return false;
    const double root = std::sqrt(d);
    a[j * n + j] = root;
    for (int64_t i = j + 1; i < size; ++i) {
      double s = a[i * n + j];
      for (int64_t k = 0; k < j; ++k) s -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = s / root;
    }
  }
  return true;
}

}  // namespace

bool cholesky(std::vector<double>& a, int64_t n, ThreadPool& pool) {
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t size = std::min(kBlock, n - at), next = at + size;
    double* diagonal = &a[at * n + at];
    if (!factor_block(diagonal, size, n)) return false;
    const int64_t blocks = (n - next + kBlock - 1) / kBlock;
    pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = next + begin * kBlock; i < std::min(n, next + end * kBlock); ++i) {
        double* row = &a[i * n + at];
        for (int64_t j = 0; j < size; ++j) {
          double s = row[j];
          for (int64_t k = 0; k < j; ++k) s -= row[k] * diagonal[j * n + k];
          row[j] = s / diagonal[j * n + j];
        }
      }
    });
    pool.parallel_for(blocks * blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t i = next + t / blocks * kBlock, j = next + t % blocks * kBlock;
        if (j > i) continue;
        subtract_product(&a[i * n + at], &a[j * n + at], &a[i * n + j], std::min(kBlock, n - i),
                         std::min(kBlock, n - j), size, n);
      }
    });
  }
  return true;
}

void solve_rows(const std::vector<double>& l, int64_t n, std::vector<double>& rows, int64_t count,
                ThreadPool& pool) {
  const loops::Loops& vector = loops::of(current_isa());
  pool.parallel_for((count + kLanes - 1) / kLanes, 1, [&](int64_t begin, int64_t end, int) {
    std::vector<double> x(n * kLanes);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kLanes, lanes = std::min(kLanes, count - first);
      std::fill(x.begin(), x.end(), 0);
      for (int64_t r = 0; r < lanes; ++r)
        for (int64_t i = 0; i < n; ++i) x[i * kLanes + r] = rows[(first + r) * n + i];
      for (int64_t i = 0; i < n; ++i) {  // L y = x
        double s[kLanes] = {};
        vector.add_rows(&l[i * n], x.data(), s, i);
        for (int64_t r = 0; r < kLanes; ++r) x[i * kLanes + r] = (x[i * kLanes + r] - s[r]) / l[i * n + i];
      }
      for (int64_t i = n - 1; i >= 0; --i) {  // L^T z = y, column by column of L^T
        for (int64_t r = 0; r < kLanes; ++r) x[i * kLanes + r] /= l[i * n + i];
        double y[kLanes];
        std::copy_n(&x[i * kLanes], kLanes, y);
        vector.subtract_outer(&l[i * n], y, x.data(), i);
      }
      for (int64_t r = 0; r < lanes; ++r)
        for (int64_t i = 0; i < n; ++i) rows[(first + r) * n + i] = x[i * kLanes + r];
    }
  });
}

}  // namespace octet
