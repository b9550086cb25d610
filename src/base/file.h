// Files: mapped reading, atomic writing, names made safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace octet {

// A file mapped read-only. Copies share the mapping.
class MappedFile {
 public:
  // Throws Error (not found, is a folder, permission ...).
  explicit MappedFile(const std::filesystem::path& path);
  std::span<const std::byte> bytes() const;
  const std::filesystem::path& path() const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

// Writes beside `path` into a temporary file; commit() syncs it and renames it to `path`. Without commit()
// nothing remains and a file that was at `path` before is untouched.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  int64_t written() const { return written_; }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
  int64_t written_ = 0;
};

// Whole file as text; throws Error when it is larger than `limit` bytes.
std::string read_text(const std::filesystem::path& path, int64_t limit = 64 << 20);

// The last 200 characters of `name`, each outside [A-Za-z0-9._-] replaced by '_'; never empty, "." or "..".
std::string safe_file_name(std::string_view name);

}  // namespace octet
