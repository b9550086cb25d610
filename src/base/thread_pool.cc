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

// How stages run. The chunks of a stage lie in as many ranges as there are threads. Each range is a word of
// its own: the stage's number (its epoch), the first chunk that nobody has claimed, and the end. A thread
// claims from the front of its own range, so that it meets in every stage the same part of the memory, which
// its cache still holds; when that is empty, from the back of the others. A claim succeeds only while the
// word is unchanged, and a word without chunks never changes before the next stage: so who claims a chunk has
// read the fields of its stage, which are written before the words. Whoever ends the last chunk publishes the
// next stage. Waiting is for `current` to change; those who have parked are woken through `bell`.
struct ThreadPool::State {
  static constexpr int kEndBits = 16;
  static constexpr uint64_t kChunkMask = (uint64_t{1} << kEndBits) - 1;
  static constexpr int64_t kMostChunks = static_cast<int64_t>(kChunkMask);

  struct alignas(64) Range {
    std::atomic<uint64_t> word{0};  // epoch, first chunk, end
  };
  struct Claim {
    const Stage* stage;
    int64_t chunk;
  };

  // The epoch of the stage that runs, and in the lowest bit whether all stages have ended.
  alignas(64) std::atomic<uint64_t> current{1};
  std::atomic<const Stage*> stage{nullptr};  // written by who publishes it
  alignas(64) std::atomic<int64_t> left{0};  // chunks that have not ended
  alignas(64) std::atomic<uint32_t> bell{0};
  std::atomic<uint32_t> parked{0};
  std::atomic<bool> stopping{false};
  const Stage* end = nullptr;  // written by the caller before it publishes
  bool spin = true;
  std::vector<Range> ranges;  // one for each thread
  std::vector<std::thread> workers;

  static uint64_t pack(uint64_t epoch, int64_t first, int64_t last) {
    return (epoch << kEndBits | static_cast<uint64_t>(first)) << kEndBits | static_cast<uint64_t>(last);
  }

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

  // Begins stage `s` and those behind it, as the only thread that works. Returns a chunk of the first one
  // with more than one, which has been published, or none when all have ended.
  Claim begin(const Stage* s, int thread) {
    const uint64_t epoch = (current.load(std::memory_order_relaxed) >> 1) + 1;
    for (; s != end; ++s) {
      const int64_t n = s->count <= 0 ? 0 : (s->count - 1) / grain_of(*s) + 1;
      if (n > 1) {
        left.store(n, std::memory_order_relaxed);
        stage.store(s, std::memory_order_relaxed);
        const auto count = static_cast<int64_t>(ranges.size());
        int64_t own = -1;
        for (int64_t r = 0; r < count; ++r) {
          int64_t first = n * r / count;
          const int64_t last = n * (r + 1) / count;
          if (r == thread && first < last) own = first++;
          ranges[r].word.store(pack(epoch, first, last), std::memory_order_release);
        }
        current.store(epoch << 1, std::memory_order_seq_cst);
        ring();
        if (own >= 0) return {s, own};
        return claim(epoch << 1, thread);
      }
      if (n == 1) run_chunks(*s, 0, 1, thread);
    }
    current.store(epoch << 1 | 1, std::memory_order_seq_cst);
    ring();
    return {nullptr, 0};
  }

  // A chunk of the stage that `now`, read from `current`, stands for; none where all are claimed.
  Claim claim(uint64_t now, int thread) {
    const Stage* s = stage.load(std::memory_order_acquire);
    const uint64_t epoch = now >> 1 & 0xffffffff;  // as much of it as a word holds
    const size_t count = ranges.size();
    for (size_t k = 0; k < count; ++k) {
      const size_t r = (static_cast<size_t>(thread) + k) % count;
      uint64_t word = ranges[r].word.load(std::memory_order_acquire);
      for (;;) {
        const auto first = static_cast<int64_t>(word >> kEndBits & kChunkMask),
                   last = static_cast<int64_t>(word & kChunkMask);
        if (word >> 2 * kEndBits != epoch || first >= last) break;
        const uint64_t rest = k == 0 ? pack(epoch, first + 1, last) : pack(epoch, first, last - 1);
        if (ranges[r].word.compare_exchange_weak(word, rest, std::memory_order_acq_rel,
                                                 std::memory_order_acquire))
          return {s, k == 0 ? first : last - 1};
      }
    }
    return {nullptr, 0};
  }

  // Works on pieces until none can be claimed; returns what `current` was then.
  uint64_t work(int thread) {
    for (;;) {
      const uint64_t now = current.load(std::memory_order_acquire);
      const Claim c = now & 1 ? Claim{nullptr, 0} : claim(now, thread);
      if (c.stage != nullptr)
        run_from(c, thread);
      else if (current.load(std::memory_order_acquire) == now)
        return now;
    }
  }

  // Runs a chunk that this thread has claimed, and what follows from its end: whoever ends the last chunk of
  // a stage goes on with the next.
  void run_from(Claim c, int thread) {
    while (c.stage != nullptr) {
      run_chunks(*c.stage, c.chunk, c.chunk + 1, thread);
      if (left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      c = begin(c.stage + 1, thread);
    }
  }

  // Waits while `current` holds `old`: spins, then yields, then sleeps in the kernel.
  void wait_change(uint64_t old) {
    const auto start = Clock::now();
    for (;;) {
      for (int i = 0; i < 16; ++i) {
        if (current.load(std::memory_order_acquire) != old) return;
        pause_briefly();
      }
      const auto waited = Clock::now() - start;
      if (waited > kSpin + kYield) break;
      if (!spin || waited > kSpin) sched_yield();
    }
    parked.fetch_add(1, std::memory_order_seq_cst);
    for (;;) {
      const uint32_t rung = bell.load(std::memory_order_seq_cst);
      if (current.load(std::memory_order_seq_cst) != old) break;
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
    run_from(begin(first, 0), 0);
    for (;;) {
      const uint64_t seen = work(0);
      if (seen & 1) return;
      wait_change(seen);
    }
  }

  void stop() {
    stopping.store(true, std::memory_order_seq_cst);
    current.fetch_add(2, std::memory_order_seq_cst);
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
  state_->ranges = std::vector<State::Range>(static_cast<size_t>(threads));
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
