#include "base/shared_cores.h"

#include <sched.h>
#include <sys/resource.h>

namespace octet {
namespace {

constexpr auto kSuspect = std::chrono::milliseconds(50);   // after a long wait
constexpr auto kLoss = std::chrono::microseconds(500);     // a piece that takes longer may have lost its core
constexpr auto kCrowded = std::chrono::milliseconds(500);  // after a loss
constexpr auto kBurst = std::chrono::microseconds(1800);   // of work, before the core is given away

// How often the calling thread's core was given to another thread while it could have gone on.
int64_t lost_cores() {
  rusage usage{};
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

}  // namespace

void SharedCores::suspect() {
  suspect(Clock::now() + kSuspect);
}

void SharedCores::suspect(Clock::time_point until) {
  const Clock::rep ticks = until.time_since_epoch().count();
  if (suspect_until_.load(std::memory_order_relaxed) < ticks)
    suspect_until_.store(ticks, std::memory_order_relaxed);
}

void SharedCores::before_piece(int thread) {
  Core& core = cores_[static_cast<size_t>(thread)];
  const auto now = Clock::now();
  if (now - core.piece > kSuspect) core.losses = lost_cores();
  core.piece = now;
  core.cpu.store(sched_getcpu(), std::memory_order_relaxed);
}

void SharedCores::after_piece(int thread) {
  Core& core = cores_[static_cast<size_t>(thread)];
  const auto now = Clock::now();
  if (now - core.piece > kLoss) {
    const int64_t losses = lost_cores();
    if (losses > core.losses) {
      core.crowded_until = now + kCrowded;
      suspect(core.crowded_until);
    }
    core.losses = losses;
  }
  if (now.time_since_epoch().count() > suspect_until_.load(std::memory_order_relaxed))
    suspect_until_.store(0, std::memory_order_relaxed);
  if (now - core.burst < kBurst) return;
  leave_shared_cpu(thread);
  if (now < core.crowded_until) {
    sched_yield();
    core.losses = lost_cores();  // which counts this one
  }
  core.burst = Clock::now();
}

// The later of two threads moves. Afterwards it may run wherever it might before.
void SharedCores::leave_shared_cpu(int thread) const {
  const int here = sched_getcpu();
  bool shared = false;
  for (int t = 0; t < thread; ++t)
    shared |= cores_[static_cast<size_t>(t)].cpu.load(std::memory_order_relaxed) == here;
  cpu_set_t allowed;  // too small for more than 1024 CPUs: then nobody moves
  if (!shared || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t target = allowed;
  for (const Core& core : cores_) {
    const int cpu = core.cpu.load(std::memory_order_relaxed);
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(static_cast<size_t>(cpu), &target);
  }
  if (CPU_COUNT(&target) > 0 && sched_setaffinity(0, sizeof target, &target) == 0)
    sched_setaffinity(0, sizeof allowed, &allowed);
}

}  // namespace octet
