// Progress of long work on a terminal.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace octet {

// Draws "label 42/100 [####    ] 35.1 images/s, 2 s left" on standard error when that is a terminal and
// nothing otherwise. The library takes it as an interface so that only the tools print. Thread-safe.
class Progress {
 public:
  virtual ~Progress() = default;
  virtual void start(const std::string& label, int64_t total, const std::string& unit) = 0;
  virtual void advance(int64_t count = 1) = 0;
  virtual void finish() = 0;
};

// Silent.
Progress& no_progress();

// For a terminal; `enabled` false gives one that is silent.
std::unique_ptr<Progress> terminal_progress(bool enabled);

}  // namespace octet
