// The one thread pool. Nothing else in Octet creates threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace octet {

// A fixed set of workers that share pieces of one job at a time.
//
// Threads: `parallel_for` may be called from one thread at a time per pool; it blocks until every piece is
// done. The caller works as thread 0. Workers spin briefly between jobs, then park.
class ThreadPool {
 public:
  // `threads` >= 1 counts the caller, so `threads` - 1 are created. 0 means one per available CPU.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // A job: runs pieces [begin, end) on worker `thread`. Must not throw: use parallel_for_throwing where it
  // can.
  using Job = void (*)(void* context, int64_t begin, int64_t end, int thread);

  // Runs `job` over pieces [0, count). Threads claim `grain` pieces at a time, so that a slow core does not
  // hold up the rest.
  void run(int64_t count, int64_t grain, Job job, void* context);

  // The same for any callable (begin, end, thread). The first exception is rethrown after all threads have
  // stopped.
  void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t, int)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Number of CPUs that this process may use.
int available_cpus();

}  // namespace octet
