#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"

namespace octet {
namespace {

TEST(ThreadPool, EveryPieceOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 7, 1000})
      for (int64_t grain : {1, 3, 64}) {
        std::vector<int> seen(static_cast<size_t>(count),
                              0);  // unsynchronized on purpose: pieces are disjoint
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int thread) {
          EXPECT_GE(thread, 0);
          EXPECT_LT(thread, threads);
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (int n : seen) EXPECT_EQ(n, 1);
      }
  }
}

TEST(ThreadPool, ManyShortJobsSeeEarlierResults) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int round = 0; round < 5000; ++round) {
    pool.parallel_for(64, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) ++values[static_cast<size_t>(i)];
    });
    if (round % 1000 == 999) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // let them park
  }
  for (int64_t v : values) EXPECT_EQ(v, 5000);
}

// Stages of every size, also empty ones: each adds to what all earlier ones have left.
TEST(ThreadPool, StagesRunInOrder) {
  struct Sum {
    std::vector<int64_t> cells = std::vector<int64_t>(97, 0);
    int64_t expected = 0, count = 0, wrong = 0;
  };
  const auto job = [](void* context, int64_t begin, int64_t end, int) {
    auto& s = *static_cast<Sum*>(context);
    for (int64_t i = begin; i < end; ++i) ++s.cells[static_cast<size_t>(i)];
  };
  const auto check = [](void* context, int64_t, int64_t, int) {
    auto& s = *static_cast<Sum*>(context);
    for (int64_t i = 0; i < s.count; ++i)
      if (s.cells[static_cast<size_t>(i)] != s.expected + 1) ++s.wrong;
    ++s.expected;
  };
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t count : {2, 3, 97}) {
      Sum sum;
      sum.count = count;
      std::vector<ThreadPool::Stage> stages;
      for (int i = 0; i < 50; ++i) {
        stages.push_back({job, &sum, count, 1 + i % 4});
        if (i % 3 == 0) stages.push_back({job, &sum, 0, 1});
        stages.push_back({check, &sum, 1, 1});
      }
      for (int round = 0; round < 40; ++round) pool.run_stages(stages);
      EXPECT_EQ(sum.wrong, 0);
      EXPECT_EQ(sum.expected, 50 * 40);
      for (int64_t i = 0; i < count; ++i) EXPECT_EQ(sum.cells[static_cast<size_t>(i)], 50 * 40);
    }
    pool.run_stages({});
  }
}

// Lines of cells, each made from some of the line before. Three lines are kept: the one that is made, the one
// before, and one that pieces of neighbouring stages may still read.
struct Lines {
  struct Line {
    std::vector<ThreadPool::Needs> needs;
    bool whole = false;  // needs the whole line before
    size_t number = 0;
    Lines* all = nullptr;
  };
  std::vector<uint64_t> kept[3];
  std::vector<Line> lines;
  std::vector<ThreadPool::Stage> stages;

  static void run(void* context, int64_t begin, int64_t end, int) {
    auto& line = *static_cast<Line*>(context);
    const auto& from = line.all->kept[(line.number + 2) % 3];
    auto& to = line.all->kept[line.number % 3];
    for (int64_t i = begin; i < end; ++i) {
      const ThreadPool::Needs n = line.needs[static_cast<size_t>(i)];
      uint64_t sum = static_cast<uint64_t>(i) + 1;
      for (int32_t k = n.first; k < n.last; ++k) sum = sum * 1099511628211u + from[static_cast<size_t>(k)];
      to[static_cast<size_t>(i)] = sum;
    }
  }

  explicit Lines(uint32_t seed) {
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<int32_t>(random() % n); };
    constexpr size_t kMost = 40;
    for (auto& cells : kept) cells.assign(kMost, 0);
    lines.resize(60);
    size_t before = kMost;
    for (size_t s = 0; s < lines.size(); ++s) {
      Line& line = lines[s];
      line.number = s;
      line.all = this;
      line.whole = below(5) == 0;
      line.needs.resize(static_cast<size_t>(below(8) == 0 ? below(3) : 1 + below(kMost)));
      for (size_t i = 0; i < line.needs.size(); ++i) {
        const auto near = static_cast<int32_t>(i * before / line.needs.size());
        const int32_t first = line.whole ? 0 : std::max(0, near - below(3));
        const int32_t last = line.whole ? static_cast<int32_t>(before)
                                        : std::min(static_cast<int32_t>(before), near + below(4));
        line.needs[i] = {first, std::max(first, last)};
      }
      stages.push_back({run, &line, static_cast<int64_t>(line.needs.size()), 1,
                        line.whole || s == 0 ? nullptr : line.needs.data()});
      before = line.needs.size();
    }
  }
};

TEST(ThreadPool, PiecesWaitForWhatTheyNeed) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    Lines serial(seed), parallel(seed);
    ThreadPool alone(1);
    alone.run_stages(serial.stages);
    for (int threads : {2, 3, 4, 8}) {
      ThreadPool pool(threads);
      for (int round = 0; round < 20; ++round) {
        for (auto& cells : parallel.kept) std::fill(cells.begin(), cells.end(), 0);
        pool.run_stages(parallel.stages);
        for (int k = 0; k < 3; ++k)
          ASSERT_EQ(parallel.kept[k], serial.kept[k])
              << "seed " << seed << ", " << threads << " threads, round " << round;
      }
    }
  }
}

TEST(ThreadPool, OneThreadNumberPerThread) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> inside(3);
  for (int round = 0; round < 200; ++round)
    pool.parallel_for(32, 1, [&](int64_t, int64_t, int thread) {
      EXPECT_EQ(inside[static_cast<size_t>(thread)].fetch_add(1), 0);
      inside[static_cast<size_t>(thread)].fetch_sub(1);
    });
}

TEST(ThreadPool, FirstExceptionIsRethrown) {
  for (int threads : {1, 4}) {
    ThreadPool pool(threads);
    const auto body = [](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        if (i == 17) throw std::runtime_error("seventeen");
    };
    for (int round = 0; round < 100; ++round)
      EXPECT_THROW(pool.parallel_for(100, 1, body), std::runtime_error);
    std::atomic<int> count{0};
    pool.parallel_for(10, 1,
                      [&](int64_t begin, int64_t end, int) { count += static_cast<int>(end - begin); });
    EXPECT_EQ(count, 10);
  }
}

TEST(ThreadPool, EndsAtAnyMoment) {
  for (int round = 0; round < 300; ++round) {
    ThreadPool pool(3);
    if (round % 3 > 0) pool.parallel_for(8, 1, [](int64_t, int64_t, int) {});
    if (round % 30 == 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(ThreadPool, ParkedPoolUsesNoCpu) {
  ThreadPool pool(4);
  pool.parallel_for(100, 1, [](int64_t, int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto used = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  const auto before = used();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(used() - before, 20'000);
}

TEST(ThreadPool, DenormalsAreZeroInJobs) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    volatile float small = 1e-38f;
    std::atomic<int64_t> zeros{0};
    pool.parallel_for(100, 1, [&](int64_t begin, int64_t end, int) {
      if (small * 0.01f == 0) zeros += end - begin;
    });
    EXPECT_EQ(zeros, 100);
    EXPECT_NE(small * 0.01f, 0) << "the caller's own arithmetic has changed";
  }
}

TEST(ThreadPool, RefusesNonsense) {
  EXPECT_THROW(ThreadPool(-1), Error);
  EXPECT_THROW(ThreadPool(100'000), Error);
  EXPECT_EQ(ThreadPool(0).threads(), available_cpus());
}

}  // namespace
}  // namespace octet
