#include "kernels/float/onednn.h"

#include <omp.h>

#include "base/error.h"

namespace octet::kernels::onednn {

SingleThread::SingleThread() noexcept : before_(omp_get_max_threads()) {
  if (before_ != 1) omp_set_num_threads(1);
}

SingleThread::~SingleThread() {
  if (before_ != 1) omp_set_num_threads(before_);
}

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

void check(dnnl_status_t status, const char* what) {
  if (status == dnnl_success) return;
  if (status == dnnl_out_of_memory) fail(ErrorCode::kOutOfMemory, "oneDNN: {}: out of memory", what);
  fail(ErrorCode::kInternal, "oneDNN: {}: status {}", what, static_cast<int>(status));
}

}  // namespace octet::kernels::onednn
