#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "base/denormals.h"
#include "base/error.h"
#include "base/shared_cores.h"

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

// How stages run. The chunks of a stage lie in as many ranges as there are threads. A thread works through
// its own range and so meets the same part of the memory in every stage, which its cache still holds. In a
// stage with `needs`, and in the one before it, threads with an odd number go downwards, those with an even
// number upwards: neighbours meet at the same end of their ranges. So what a chunk needs of a neighbour's
// part has ended long before, and a thread goes on with the next stage without waiting. Only when it has
// nothing left to begin it takes chunks of others, of the oldest stage that has not ended, from where their
// owners end.
//
// Of every stage each thread has two words: what nobody has claimed of its range, which anybody changes by
// compare-and-swap, and what the thread has ended, which it alone writes. Both begin with the number of their
// run, so that nothing has to be reset: a word of an earlier run stands for a whole range and for nothing
// ended. A thread that wakes after its run may still claim by what it has read: it claims for its old run,
// which nobody heeds, sees that `current` has changed, and leaves. So only who has claimed a chunk, and then
// seen that its run is under way, reads the stages themselves.
struct ThreadPool::State {
  static constexpr int kEndBits = 16;
  static constexpr uint64_t kChunkMask = (uint64_t{1} << kEndBits) - 1;
  static constexpr int64_t kMostChunks = static_cast<int64_t>(kChunkMask);

  // A number of a run and two numbers of chunks.
  struct Word {
    uint32_t run;
    int64_t first, second;
  };
  struct alignas(16) Progress {
    std::atomic<uint64_t> open{0};  // of the range: first chunk nobody has claimed, in the owner's order; end
    std::atomic<uint64_t> ended{0};  // by the thread: chunks of its own range, chunks of any
  };
  // What can be known of a stage without reading it.
  struct Shape {
    int64_t chunks;
    bool has_needs;
    bool meets;  // odd threads go downwards
  };
  // The words of every thread for up to `capacity` stages.
  struct Table {
    Table(int64_t stages, int64_t threads)
        : capacity(stages),
          row(stages + 4),
          words(static_cast<size_t>(row * threads)),
          shapes(static_cast<size_t>(stages)) {}
    const int64_t capacity, row;               // rows share no cache line
    std::vector<Progress> words;               // [thread][stage]
    std::vector<std::atomic<int64_t>> shapes;  // of the stages

    Progress& at(int64_t stage, int thread) { return words[static_cast<size_t>(thread * row + stage)]; }
  };

  // Twice the number of the latest run, and 1 while it is under way.
  alignas(64) std::atomic<uint64_t> current{0};
  std::atomic<Table*> table{nullptr};
  std::atomic<const Stage*> stages{nullptr};
  std::atomic<int64_t> stage_count{0};
  alignas(64) std::atomic<uint32_t> bell{0};
  std::atomic<uint32_t> parked{0};
  std::atomic<bool> stopping{false};
  bool spin = true;
  const int threads;
  SharedCores shared_cores{threads};
  std::vector<std::unique_ptr<Table>> tables;  // all that ever were: a thread that comes late may read one
  std::vector<std::thread> workers;

  explicit State(int count) : threads(count) {}

  static uint64_t pack(const Word& w) {
    return (uint64_t{w.run} << kEndBits | static_cast<uint64_t>(w.first)) << kEndBits |
           static_cast<uint64_t>(w.second);
  }
  static Word unpack(uint64_t bits) {
    return {static_cast<uint32_t>(bits >> 2 * kEndBits), static_cast<int64_t>(bits >> kEndBits & kChunkMask),
            static_cast<int64_t>(bits & kChunkMask)};
  }
  static int64_t pack(const Shape& s) { return s.chunks << 2 | (s.has_needs ? 2 : 0) | (s.meets ? 1 : 0); }
  static bool is_later(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

  static int64_t grain_of(const Stage& s) {
    return std::max({s.grain, int64_t{1}, s.count / kMostChunks + 1});
  }
  static int64_t chunks_of(const Stage& s) { return s.count <= 0 ? 0 : (s.count - 1) / grain_of(s) + 1; }
  static void run_chunk(const Stage& s, int64_t chunk, int thread) {
    const int64_t grain = grain_of(s);
    s.job(s.context, chunk * grain, std::min((chunk + 1) * grain, s.count), thread);
  }

  int64_t range_begin(int64_t chunks, int thread) const { return chunks * thread / threads; }
  int64_t range_size(int64_t chunks, int thread) const {
    return range_begin(chunks, thread + 1) - range_begin(chunks, thread);
  }
  static bool goes_down(const Shape& s, int thread) { return s.meets && thread % 2 == 1; }
  // Chunk number `i` in the order of the owner of a range.
  int64_t chunk_at(const Shape& s, int thread, int64_t i) const {
    return goes_down(s, thread) ? range_begin(s.chunks, thread + 1) - 1 - i
                                : range_begin(s.chunks, thread) + i;
  }

  void ring() {
    if (parked.load(std::memory_order_seq_cst) == 0) return;
    bell.fetch_add(1, std::memory_order_seq_cst);
    bell.notify_all();
  }

  // One thread's part in one run.
  struct Part {
    State& state;
    Table& table;
    const uint64_t current;  // while the run is under way
    const uint32_t run;
    const int thread;
    const int64_t stage_count;
    int64_t oldest = 0;  // stages before it have ended
    int64_t own = 0;     // stages before it have nothing left in this thread's range

    bool is_over() const { return state.current.load(std::memory_order_acquire) != current; }
    Shape shape(int64_t stage) const {
      const int64_t bits = table.shapes[static_cast<size_t>(stage)].load(std::memory_order_acquire);
      return {bits >> 2, (bits & 2) != 0, (bits & 1) != 0};
    }

    Word ended_by(int64_t stage, int by) const {
      const Word w = unpack(table.at(stage, by).ended.load(std::memory_order_seq_cst));
      return w.run == run ? w : Word{run, 0, 0};
    }

    bool has_ended(int64_t stage) const {
      int64_t left = shape(stage).chunks;
      for (int t = 0; t < state.threads && left > 0; ++t) left -= ended_by(stage, t).second;
      return left <= 0;
    }

    // Position of a chunk in its owner's order, or -1: the next of the own range, the last of another.
    int64_t claim(int64_t stage, int owner) {
      std::atomic<uint64_t>& word = table.at(stage, owner).open;
      uint64_t bits = word.load(std::memory_order_acquire);
      for (;;) {
        Word w = unpack(bits);
        if (is_later(w.run, run)) return -1;
        if (w.run != run) w = {run, 0, state.range_size(shape(stage).chunks, owner)};
        if (w.first >= w.second) return -1;
        const int64_t position = owner == thread ? w.first++ : --w.second;
        if (word.compare_exchange_weak(bits, pack(w), std::memory_order_acq_rel, std::memory_order_acquire))
          return position;
      }
    }

    // Undoes the latest claim of the own range.
    void give_back(int64_t stage) {
      std::atomic<uint64_t>& word = table.at(stage, thread).open;
      uint64_t bits = word.load(std::memory_order_relaxed);
      for (;;) {
        Word w = unpack(bits);
        --w.first;
        if (word.compare_exchange_weak(bits, pack(w), std::memory_order_acq_rel, std::memory_order_relaxed))
          return;
      }
    }

    // Whether the chunks of `stage` that are needed have been ended, by their owners.
    bool have_ended(int64_t stage, const Needs& needs) const {
      if (needs.first >= needs.last) return true;
      const Shape s = shape(stage);
      const int64_t guess = needs.first * state.threads / std::max<int64_t>(s.chunks, 1) - 1;
      for (int t = static_cast<int>(std::max<int64_t>(guess, 0)); t < state.threads; ++t) {
        const int64_t begin = state.range_begin(s.chunks, t), end = state.range_begin(s.chunks, t + 1);
        const int64_t first = std::max<int64_t>(begin, needs.first),
                      last = std::min<int64_t>(end, needs.last);
        if (first >= last) continue;
        if (ended_by(stage, t).first < (goes_down(s, t) ? end - first : last - begin)) return false;
      }
      return true;
    }

    // Runs a chunk that this thread has claimed.
    void work(int64_t stage, int owner, int64_t position) {
      const Stage& s = state.stages.load(std::memory_order_acquire)[stage];
      const bool watched = state.shared_cores.suspects();
      if (watched) [[unlikely]]
        state.shared_cores.before_piece(thread);
      run_chunk(s, state.chunk_at(shape(stage), owner, position), thread);
      Word w = ended_by(stage, thread);
      w.first += owner == thread ? 1 : 0;
      ++w.second;
      table.at(stage, thread).ended.store(pack(w), std::memory_order_seq_cst);
      state.ring();
      if (watched) [[unlikely]]
        state.shared_cores.after_piece(thread);
    }

    // Works through the own range, of `oldest` and of the stage behind it. Whether there was anything to do.
    bool work_own() {
      bool worked = false;
      while (own < stage_count && own <= oldest + 1) {
        if (own > oldest && !shape(own).has_needs) break;
        const int64_t position = claim(own, thread);
        if (position < 0) {
          ++own;
          continue;
        }
        if (is_over()) break;
        if (own > oldest) {
          const Stage& s = state.stages.load(std::memory_order_acquire)[own];
          const int64_t chunk = state.chunk_at(shape(own), thread, position);
          if (!have_ended(own - 1, s.needs[chunk])) {
            give_back(own);
            break;
          }
        }
        work(own, thread, position);
        worked = true;
      }
      return worked;
    }

    // Works on one chunk of somebody else's range of `oldest`.
    bool help() {
      for (int k = 1; k < state.threads; ++k) {
        const int owner = (thread + k) % state.threads;
        const int64_t position = claim(oldest, owner);
        if (position < 0) continue;
        if (is_over()) return false;
        work(oldest, owner, position);
        return true;
      }
      return false;
    }

    // Whether this thread has done anything; at the end of all stages, too.
    bool advance() {
      const int64_t before = oldest;
      while (oldest < stage_count && has_ended(oldest)) ++oldest;
      own = std::max(own, oldest);
      return oldest == stage_count || work_own() || help() || oldest > before;
    }
  };

  // Calls `done` until it is true: spins, then yields, then sleeps in the kernel until the bell rings.
  // Whether that took long.
  template <typename Done>
  bool wait_until(const Done& done) {
    const auto start = Clock::now();
    bool yielded = false;
    for (;;) {
      for (int i = 0; i < 16; ++i) {
        if (done()) return yielded && Clock::now() - start > kSpin + kYield;
        pause_briefly();
      }
      const auto waited = Clock::now() - start;
      if (waited > kSpin + kYield) break;
      yielded = !spin || waited > kSpin;
      if (yielded) sched_yield();
    }
    parked.fetch_add(1, std::memory_order_seq_cst);
    for (;;) {
      const uint32_t rung = bell.load(std::memory_order_seq_cst);
      if (done()) break;
      bell.wait(rung, std::memory_order_seq_cst);
    }
    parked.fetch_sub(1, std::memory_order_seq_cst);
    return true;
  }

  // Takes part in the run that `now`, read from `current`, stands for, until all of its stages have ended.
  void take_part(uint64_t now, int thread) {
    Part part{*this,  *table.load(std::memory_order_acquire),     now, static_cast<uint32_t>(now >> 1),
              thread, stage_count.load(std::memory_order_acquire)};
    while (part.oldest < part.stage_count && !part.is_over())
      if (wait_until([&] { return part.advance() || part.is_over(); })) shared_cores.suspect();
  }

  void worker(int thread) {
    const DenormalsAreZero denormals_are_zero;
    for (uint64_t seen = 0;;) {
      uint64_t now = 0;
      wait_until([&] {
        now = current.load(std::memory_order_seq_cst);
        return (now & 1 && now != seen) || stopping.load(std::memory_order_seq_cst);
      });
      if (stopping.load(std::memory_order_acquire)) return;
      take_part(now, thread);
      seen = now;
    }
  }

  void reserve(int64_t count) {
    if (!tables.empty() && tables.back()->capacity >= count) return;
    const int64_t capacity = std::max<int64_t>(count, tables.empty() ? 4 : tables.back()->capacity * 2);
    tables.push_back(std::make_unique<Table>(capacity, threads));
    table.store(tables.back().get(), std::memory_order_release);
  }

  void run(std::span<const Stage> all) {
    const DenormalsAreZero denormals_are_zero;
    const auto small = [](const Stage& s) { return chunks_of(s) <= 1; };
    if (workers.empty() || std::all_of(all.begin(), all.end(), small)) {
      for (const Stage& s : all)
        if (s.count > 0) s.job(s.context, 0, s.count, 0);
      return;
    }
    const auto count = static_cast<int64_t>(all.size());
    reserve(count);
    const auto overlaps = [&](size_t i) {
      return i > 0 && i < all.size() && all[i].needs != nullptr && grain_of(all[i]) == 1 &&
             grain_of(all[i - 1]) == 1;
    };
    for (size_t i = 0; i < all.size(); ++i) {
      const int64_t bits = pack(Shape{chunks_of(all[i]), overlaps(i), overlaps(i) || overlaps(i + 1)});
      std::atomic<int64_t>& shape = tables.back()->shapes[i];
      if (shape.load(std::memory_order_relaxed) != bits) shape.store(bits, std::memory_order_release);
    }
    stages.store(all.data(), std::memory_order_release);
    stage_count.store(count, std::memory_order_release);
    const uint64_t now = (current.load(std::memory_order_relaxed) | 1) + 2;
    current.store(now, std::memory_order_seq_cst);
    ring();
    take_part(now, 0);
    current.store(now - 1, std::memory_order_seq_cst);
  }

  void stop() {
    stopping.store(true, std::memory_order_seq_cst);
    bell.fetch_add(1, std::memory_order_seq_cst);
    bell.notify_all();
    for (std::thread& thread : workers) thread.join();
  }
};

ThreadPool::ThreadPool(int threads) {
  if (threads < 0 || threads > kMaxThreads)
    fail(ErrorCode::kInvalidArgument, "{} threads; expected 0 (one per CPU) to {}", threads, kMaxThreads);
  const int cpus = available_cpus();
  if (threads == 0) threads = std::min(cpus, kMaxThreads);
  state_ = std::make_unique<State>(threads);
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
  state_->run(stages);
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
