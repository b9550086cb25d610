// What the threads of a pool do about other processes on their cores.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace octet {

// Linux takes a core away for about 4 ms, in the middle of a piece too, from a thread that shares it and has
// had it for 2 ms or more; whoever needs that piece waits as long. And with a process that keeps one of two
// CPUs busy it leaves two threads of a pool together on the other one.
//
// So once a thread has waited for long, every piece is watched for a while: a thread that has lost its core
// in one gives it away from then on, between two pieces and before it would be taken away, and a thread that
// is on the same CPU as another one of the pool moves to one where none is. Without such a wait nothing of
// this costs more than a load.
//
// Threads: `thread` is the number of the calling one, which alone passes it.
class SharedCores {
 public:
  explicit SharedCores(int threads) : cores_(static_cast<size_t>(threads)) {}

  // A thread has waited for long for another one's piece.
  void suspect();
  // Whether pieces are to be watched: before_piece(), the piece, after_piece().
  bool suspects() const { return suspect_until_.load(std::memory_order_relaxed) != 0; }
  void before_piece(int thread);
  void after_piece(int thread);

 private:
  using Clock = std::chrono::steady_clock;
  struct alignas(64) Core {
    Clock::time_point piece, burst, crowded_until;  // when the latest piece and burst began
    int64_t losses = 0;                             // of the thread's core, until the latest burst began
    std::atomic<int> cpu{-1};                       // others read this one
  };

  void suspect(Clock::time_point until);
  void leave_shared_cpu(int thread) const;

  std::atomic<Clock::rep> suspect_until_{0};  // 0: no suspicion
  std::vector<Core> cores_;                   // of the threads
};

}  // namespace octet
