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

}  // namespace

// How stages run. `word` holds the number of the stage that runs (its epoch, which never repeats) and the
// next chunk of it that nobody has claimed. A thread claims a chunk by increasing the word. That succeeds
// only if the stage is still the one whose fields it has read: they change when all chunks have ended, after
// the word has become another one. Whoever ends the last chunk publishes the next stage. Waiting is for
// `word` to change; those who have parked are woken through `bell`.
struct ThreadPool::State {
  static constexpr int kShift = 32;
  // In place of a chunk: the fields are changing; all stages have ended.
  static constexpr uint64_t kClosed = 0xffffffff, kOver = 0xfffffffe;
  static constexpr int64_t kMostChunks = int64_t{1} << 31;

  alignas(64) std::atomic<uint64_t> word{kOver};
  // Of the stage that runs: written by who publishes it.
  std::atomic<int64_t> chunks{0};
  std::atomic<const Stage*> stage{nullptr};
  alignas(64) std::atomic<int64_t> left{0};  // chunks that have not ended
  alignas(64) std::atomic<uint32_t> bell{0};
  std::atomic<uint32_t> parked{0};
  std::atomic<bool> stopping{false};
  const Stage* end = nullptr;  // written by the caller before it publishes
  bool spin = true;
  std::vector<std::thread> workers;

  static int64_t grain_of(const Stage& s) {
    return std::max({s.grain, int64_t{1}, s.count / kMostChunks + 1});
  }

  static void run_chunks(const Stage& s, int64_t first, int64_t last, int thread) {
    const int64_t grain = grain_of(s);
    s.job(s.context, first * grain, std::min(last * grain, s.count), thread);
  }

  void ring() {
    if (parked.load(std::memory_order_seq_cst) == 0) return;
    bell.fetch_add(1, std::memory_order_seq_cst);
    bell.notify_all();
  }

  // Begins stage `s` and those behind it, as the only thread that works. Returns when one with more than one
  // chunk has been published, of which this thread has claimed the first, or when all have ended.
  const Stage* begin(const Stage* s, int thread) {
    const uint64_t epoch = (word.load(std::memory_order_relaxed) >> kShift) + 1;
    for (; s != end; ++s) {
      const int64_t n = s->count <= 0 ? 0 : (s->count - 1) / grain_of(*s) + 1;
      if (n > 1) {
        word.store(epoch << kShift | kClosed, std::memory_order_relaxed);
        chunks.store(n, std::memory_order_release);  // who sees it sees the word closed
        stage.store(s, std::memory_order_release);
        left.store(n, std::memory_order_relaxed);
        word.store(epoch << kShift | 1, std::memory_order_seq_cst);
        ring();
        return s;
      }
      if (n == 1) run_chunks(*s, 0, 1, thread);
    }
    word.store(epoch << kShift | kOver, std::memory_order_seq_cst);
    ring();
    return nullptr;
  }

  // Ends a chunk of stage `s`; where it was the last, goes on until there is a chunk to work on. Returns the
  // stage of which this thread has then claimed chunk 0, or null.
  const Stage* end_chunk(const Stage* s, int thread) {
    if (left.fetch_sub(1, std::memory_order_acq_rel) != 1) return nullptr;
    return begin(s + 1, thread);
  }

  // Works on pieces until none can be claimed; returns the word that says so.
  uint64_t work(int thread) {
    for (;;) {
      uint64_t now = word.load(std::memory_order_acquire);
      const int64_t chunk = static_cast<int64_t>(now & kClosed);
      const Stage* s = stage.load(std::memory_order_acquire);
      if (chunk >= chunks.load(std::memory_order_acquire)) {
        if (word.load(std::memory_order_acquire) == now) return now;
        continue;
      }
      if (!word.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_relaxed))
        continue;
      run_from(s, chunk, thread);
    }
  }

  // Runs a chunk that this thread has claimed, and what follows from its end.
  void run_from(const Stage* s, int64_t chunk, int thread) {
    while (s != nullptr) {
      run_chunks(*s, chunk, chunk + 1, thread);
      s = end_chunk(s, thread);
      chunk = 0;
    }
  }

  // Waits while `word` holds `old`: spins, then yields, then sleeps in the kernel.
  void wait_change(uint64_t old) {
    const auto start = Clock::now();
    for (;;) {
      for (int i = 0; i < 16; ++i) {
        if (word.load(std::memory_order_acquire) != old) return;
        pause_briefly();
      }
      const auto waited = Clock::now() - start;
      if (waited > kSpin + kYield) break;
      if (!spin || waited > kSpin) sched_yield();
    }
    parked.fetch_add(1, std::memory_order_seq_cst);
    for (;;) {
      const uint32_t rung = bell.load(std::memory_order_seq_cst);
      if (word.load(std::memory_order_seq_cst) != old) break;
      bell.wait(rung, std::memory_order_seq_cst);
    }
    parked.fetch_sub(1, std::memory_order_seq_cst);
  }

  void worker(int thread) {
    for (;;) {
      const uint64_t seen = work(thread);
      if (stopping.load(std::memory_order_acquire)) return;  // set before the word that wakes for it
      wait_change(seen);
    }
  }

  void run(const Stage* first, const Stage* last) {
    end = last;
    run_from(begin(first, 0), 0, 0);
    for (;;) {
      const uint64_t seen = work(0);
      if ((seen & kClosed) == kOver) return;
      wait_change(seen);
    }
  }

  void stop() {
    stopping.store(true, std::memory_order_seq_cst);
    word.fetch_add(uint64_t{1} << kShift, std::memory_order_seq_cst);
    bell.fetch_add(1, std::memory_order_seq_cst);
    bell.notify_all();
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
  const Stage stage{job, context, count, grain};
  run_stages({&stage, 1});
}

void ThreadPool::run_stages(std::span<const Stage> stages) {
  State& s = *state_;
  if (!s.workers.empty()) return s.run(stages.data(), stages.data() + stages.size());
  for (const Stage& stage : stages)
    if (stage.count > 0) stage.job(stage.context, 0, stage.count, 0);
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
