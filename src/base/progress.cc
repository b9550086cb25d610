#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <string_view>

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kInterval(100);

class Silent final : public Progress {
 public:
  void start(const std::string&, int64_t, const std::string&) override {}
  void advance(int64_t) override {}
  void finish() override {}
};

class Terminal final : public Progress {
 public:
  ~Terminal() override { finish(); }

  void start(const std::string& label, int64_t total, const std::string& unit) override {
    const std::lock_guard lock(mutex_);
    label_ = label;
    unit_ = unit;
    total_ = total;
    done_ = 0;
    start_ = drawn_ = Clock::now();
    draw();
  }

  void advance(int64_t count) override {
    done_.fetch_add(count, std::memory_order_relaxed);
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return;  // somebody else is drawing
    const auto now = Clock::now();
    if (now - drawn_ < kInterval) return;
    drawn_ = now;
    draw();
  }

  void finish() override {
    const std::lock_guard lock(mutex_);
    if (!visible_) return;
    visible_ = false;
    put("\r\x1b[K");
  }

 private:
  void draw() {
    const int64_t done = done_.load(std::memory_order_relaxed);
    std::string line = fmt::format("\r{} {}", label_, done);
    if (total_ > 0) {
      constexpr int64_t kWidth = 20;
      const auto filled = static_cast<size_t>(std::clamp<int64_t>(done * kWidth / total_, 0, kWidth));
      line += fmt::format("/{} [{}{}]", total_, std::string(filled, '#'), std::string(kWidth - filled, ' '));
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (done > 0 && seconds > 0) {
      const double rate = static_cast<double>(done) / seconds;
      line += fmt::format(" {:.1f} {}/s", rate, unit_);
      if (total_ > done) line += fmt::format(", {:.0f} s left", static_cast<double>(total_ - done) / rate);
    }
    visible_ = true;
    put(line + "\x1b[K");
  }

  static void put(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
      if (n <= 0) return;
      text.remove_prefix(static_cast<size_t>(n));
    }
  }

  std::mutex mutex_;
  std::string label_, unit_;
  int64_t total_ = 0;
  std::atomic<int64_t> done_{0};
  Clock::time_point start_, drawn_;
  bool visible_ = false;
};

}  // namespace

Progress& no_progress() {
  static Silent silent;
  return silent;
}

std::unique_ptr<Progress> terminal_progress(bool enabled) {
  if (enabled && ::isatty(STDERR_FILENO) == 1) return std::make_unique<Terminal>();
  return std::make_unique<Silent>();
}

}  // namespace octet
