#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "base/error.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(40);    // busy, with pauses
constexpr auto kYield = std::chrono::microseconds(150);  // after that, giving the core to others
constexpr int kMaxThreads = 1024;

void pause_briefly() {
#if defined(__x86_64__)
  for (int i = 0; i < 4; ++i) __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Waits while `word` holds `old`: spins, then yields, then sleeps in the kernel. Returns the new value.
uint32_t wait_change(const std::atomic<uint32_t>& word, uint32_t old, bool spin) {
  uint32_t now = word.load(std::memory_order_acquire);
  if (now != old) return now;
  const auto start = Clock::now();
  for (;;) {
    for (int i = 0; i < 16; ++i) {
      now = word.load(std::memory_order_acquire);
      if (now != old) return now;
      pause_briefly();
    }
    const auto waited = Clock::now() - start;
    if (waited > kSpin + kYield) break;
    if (!spin || waited > kSpin) sched_yield();
  }
  while ((now = word.load(std::memory_order_acquire)) == old) word.wait(old, std::memory_order_acquire);
  return now;
}

}  // namespace

// How a job runs: the caller writes the job, opens the gate and bumps `generation`, which wakes the workers.
// A worker joins while the gate is open and leaves when no piece is left to claim. The caller closes the gate
// once it finds no piece either, and waits only for those that joined: a worker that is parked or preempted
// holds nobody up.
struct ThreadPool::State {
  static constexpr uint32_t kOpen = 1, kOne = 2;  // gate = 2 * workers inside + open

  alignas(64) std::atomic<uint32_t> generation{0};
  std::atomic<bool> stopping{false};
  alignas(64) std::atomic<uint32_t> gate{0};
  alignas(64) std::atomic<int64_t> next{0};
  alignas(64) Job job = nullptr;  // this line: written by the caller while the gate is 0
  void* context = nullptr;
  int64_t count = 0, grain = 1;
  bool spin = true;
  std::vector<std::thread> workers;

  void work(int thread) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      job(context, begin, std::min(begin + grain, count), thread);
    }
  }

  bool join() {
    uint32_t now = gate.load(std::memory_order_relaxed);
    while (now & kOpen)
      if (gate.compare_exchange_weak(now, now + kOne, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    return false;
  }

  void worker(int thread) {
    uint32_t seen = 0;
    for (;;) {
      seen = wait_change(generation, seen, spin);
      if (stopping.load(std::memory_order_relaxed)) return;
      if (!join()) continue;
      work(thread);
      if (gate.fetch_sub(kOne, std::memory_order_seq_cst) == kOne) gate.notify_one();
    }
  }

  void stop() {
    stopping.store(true, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_seq_cst);
    generation.notify_all();
    for (std::thread& thread : workers) thread.join();
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads < 0 || threads > kMaxThreads)
    fail(ErrorCode::kInvalidArgument, "{} threads; expected 0 (one per CPU) to {}", threads, kMaxThreads);
  const int cpus = available_cpus();
  if (threads == 0) threads = std::min(cpus, kMaxThreads);
  state_->spin = threads <= cpus;
  state_->workers.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int i = 1; i < threads; ++i)
      state_->workers.emplace_back([state = state_.get(), i] { state->worker(i); });
  } catch (const std::system_error& error) {
    const size_t created = state_->workers.size();
    state_->stop();
    fail(ErrorCode::kIo, "cannot create thread {} of {}: {}", created + 2, threads, error.what());
  }
}

ThreadPool::~ThreadPool() {
  state_->stop();
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::run(int64_t count, int64_t grain, Job job, void* context) {
  if (count <= 0) return;
  State& s = *state_;
  grain = std::max<int64_t>(grain, 1);
  if (count <= grain || s.workers.empty()) return job(context, 0, count, 0);
  s.job = job;
  s.context = context;
  s.count = count;
  s.grain = grain;
  s.next.store(0, std::memory_order_relaxed);
  s.gate.store(State::kOpen, std::memory_order_release);
  s.generation.fetch_add(
      1, std::memory_order_seq_cst);  // a full barrier between it and notify's look for sleepers
  s.generation.notify_all();
  s.work(0);
  uint32_t inside = s.gate.fetch_and(~State::kOpen, std::memory_order_acq_rel) & ~State::kOpen;
  while (inside != 0) inside = wait_change(s.gate, inside, s.spin);
}

void ThreadPool::parallel_for(int64_t count, int64_t grain,
                              const std::function<void(int64_t, int64_t, int)>& body) {
  struct Shared {
    const std::function<void(int64_t, int64_t, int)>& body;
    std::atomic<bool> failed{false};
    std::exception_ptr first{};  // written by the one that sets `failed`
  } shared{body};
  run(
      count, grain,
      [](void* context, int64_t begin, int64_t end, int thread) {
        auto& s = *static_cast<Shared*>(context);
        if (s.failed.load(std::memory_order_relaxed)) return;
        try {
          s.body(begin, end, thread);
        } catch (...) {
          if (!s.failed.exchange(true)) s.first = std::current_exception();
        }
      },
      &shared);
  if (shared.first) std::rethrow_exception(shared.first);
}

int available_cpus() {
  // Machines with more CPUs than a fixed set holds need a larger one.
  for (int capacity = 1024; capacity <= 1 << 16; capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(capacity));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(capacity));
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace octet
