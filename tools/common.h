// What the subcommands share: files, output, exit.
#pragma once

#include <csignal>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "calibrate/dataset_runner.h"
#include "engine/engine.h"

namespace octet::tools {

using Json = nlohmann::ordered_json;

// A command line that contradicts itself; ends with exit status 2.
class UsageError : public Error {
 public:
  explicit UsageError(std::string message) : Error(ErrorCode::kInvalidArgument, std::move(message)) {}
};

// --- output

// To standard output; errors show in flush_output().
void print(std::string_view text);
void print_json(const Json& json);
// Throws Error when anything that was printed could not be written.
void flush_output();
// To standard error, one line.
void note(std::string_view text);
void warn(std::string_view text);

// Rows of cells as aligned columns, two spaces apart; the first `left` columns are left-aligned, the others
// right-aligned. Each line begins with `indent` spaces.
std::string columns(const std::vector<std::vector<std::string>>& full, size_t left, size_t indent = 2);
std::string size_text(int64_t bytes);                    // "1.2 MB"
std::string db_text(const std::optional<double>& sqnr);  // "23.4 dB", "identical"
Json db_json(const std::optional<double>& sqnr);         // null when identical
std::string hash_text(uint64_t hash);                    // 16 hexadecimal digits
std::string plural(int64_t count, std::string_view noun);

// Samples that were skipped: warnings (the first few), and as JSON.
void warn_skipped(const std::vector<SkippedSample>& skipped);
Json skipped_json(const std::vector<SkippedSample>& skipped);

// --- files

enum class FileKind { kEngine, kTable, kModel };
// By the first bytes; throws Error when the file cannot be read or is empty. What is neither engine nor table
// counts as a model.
FileKind file_kind(const std::filesystem::path& path);

// 64-bit XXH3 of the content.
uint64_t file_hash(const std::filesystem::path& path);
uint64_t content_hash(const MappedFile& file);

// An engine file, or a model built in memory.
engine::Engine open_engine(const std::filesystem::path& path, bool deterministic = false);

// Throws Error when `output` cannot be created, or is one of the inputs. Leaves nothing behind.
void check_writable(const std::filesystem::path& output, std::initializer_list<std::filesystem::path> inputs);

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

}  // namespace octet::tools
