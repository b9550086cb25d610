// oneDNN inside pieces of our thread pool: one thread, no exceptions of its own. Only for the .cc files of
// this folder.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

namespace octet::kernels::onednn {

// While it lives, oneDNN (which uses OpenMP) runs in the calling thread alone. Restores what was set before.
class SingleThread {
 public:
  SingleThread() noexcept;
  ~SingleThread();
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  int before_;
};

// The one CPU engine of the process; oneDNN engines may be shared by threads.
const dnnl::engine& cpu();

// Throws Error for a status other than success.
void check(dnnl_status_t status, const char* what);

}  // namespace octet::kernels::onednn
