// The one thread pool. Nothing else in Octet creates threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace octet {

// A fixed set of workers that share pieces of one job at a time.
//
// Threads: run(), run_stages() and parallel_for() may be called from one thread at a time per pool; they
// block until every piece is done. The caller works as thread 0. Threads without a piece spin briefly, give
// their core to others, then park. A thread holds a piece only while it works on it, so that one whose core
// is taken away between pieces holds nobody up. In all jobs denormal floats are zero (base/denormals.h).
class ThreadPool {
 public:
  // `threads` >= 1 counts the caller, so `threads` - 1 are created. 0 means one per available CPU.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // A job: runs pieces [begin, end) on worker `thread`. Must not throw: use parallel_for where it can.
  using Job = void (*)(void* context, int64_t begin, int64_t end, int thread);

  // Runs `job` over pieces [0, count). Threads claim `grain` pieces at a time, so that a slow core does not
  // hold up the rest; each begins in its own part of them, which is the same in every job of as many pieces.
  void run(int64_t count, int64_t grain, Job job, void* context);

  // Pieces [first, last) of the stage before.
  struct Needs {
    int32_t first = 0, last = 0;
  };
  // Pieces [0, count) of a job, `grain` at a time. With `needs`, of which there is one for each piece (and
  // `grain` is 1), a piece begins as soon as those pieces have ended; else the whole stage before must have.
  struct Stage {
    Job job = nullptr;
    void* context = nullptr;
    int64_t count = 0, grain = 1;
    const Needs* needs = nullptr;
  };
  // Runs the stages. Nobody joins or forks in between. A piece never begins before all stages but the one
  // before its own have ended, so at most two neighbouring stages are under way at any time.
  void run_stages(std::span<const Stage> stages);

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
