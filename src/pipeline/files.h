// What a file is, its hash, and writing without being interrupted.
#pragma once

#include <csignal>
#include <cstdint>
#include <filesystem>

#include "base/file.h"

namespace octet {

enum class FileKind { kEngine, kTable, kModel };
// By the first bytes; throws Error when the file cannot be read or is empty. What is neither engine nor table
// counts as a model.
FileKind file_kind(const std::filesystem::path& path);

// 64-bit XXH3 of the content.
uint64_t file_hash(const std::filesystem::path& path);
uint64_t content_hash(const MappedFile& file);

// Interrupts (SIGINT, SIGTERM, SIGHUP) wait until this goes: around the writing of files, so that no
// temporary file stays behind.
class HoldSignals {
 public:
  HoldSignals();
  ~HoldSignals();
  HoldSignals(const HoldSignals&) = delete;
  HoldSignals& operator=(const HoldSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace octet
