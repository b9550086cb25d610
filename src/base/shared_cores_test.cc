#include "base/shared_cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <thread>

#include "base/thread_pool.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;

TEST(SharedCores, SuspicionEndsByItself) {
  SharedCores cores(1);
  EXPECT_FALSE(cores.suspects());
  cores.suspect();
  EXPECT_TRUE(cores.suspects());
  const auto end = Clock::now() + std::chrono::seconds(30);
  while (cores.suspects() && Clock::now() < end) {
    cores.before_piece(0);
    cores.after_piece(0);
  }
  EXPECT_FALSE(cores.suspects());
}

TEST(SharedCores, ThreadsOfOneCpuPart) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || available_cpus() < 2) GTEST_SKIP() << "one CPU";
  // The scheduler may move the thread at any time, too: then the next attempt counts.
  bool parted = false;
  for (int attempt = 0; attempt < 100 && !parted; ++attempt) {
    SharedCores cores(2);
    cores.suspect();
    cpu_set_t here;
    CPU_ZERO(&here);
    const int cpu = sched_getcpu();
    CPU_SET(static_cast<size_t>(cpu), &here);
    ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
    cores.before_piece(0);
    cores.before_piece(1);
    ASSERT_EQ(sched_setaffinity(0, sizeof allowed, &allowed), 0);
    if (sched_getcpu() != cpu) continue;
    cores.after_piece(0);
    if (sched_getcpu() != cpu) continue;
    cores.after_piece(1);
    parted = sched_getcpu() != cpu;
    cpu_set_t after;
    ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&after, &allowed)) << "the thread may no longer run everywhere";
  }
  EXPECT_TRUE(parted);
}

}  // namespace
}  // namespace octet
