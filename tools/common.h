// What the subcommands share: files, output, exit.
#pragma once

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
#include "pipeline/files.h"
#include "pipeline/text.h"

namespace octet::tools {

using Json = nlohmann::ordered_json;

// --- output

// To standard output; errors show in flush_output().
void print(std::string_view text);
void print_json(const Json& json);
// Throws Error when anything that was printed could not be written.
void flush_output();
// To standard error, one line.
void note(std::string_view text);
void warn(std::string_view text);
// The two of them; verbose messages are left out.
Log terminal_log();

// Rows of cells as aligned columns, two spaces apart; the first `left` columns are left-aligned, the others
// right-aligned. Each line begins with `indent` spaces.
std::string columns(const std::vector<std::vector<std::string>>& full, size_t left, size_t indent = 2);
std::string size_text(int64_t bytes);             // "1.2 MB"
Json db_json(const std::optional<double>& sqnr);  // null when identical

// Samples that were skipped: warnings (the first few), and as JSON.
void warn_skipped(const std::vector<SkippedSample>& skipped);
Json skipped_json(const std::vector<SkippedSample>& skipped);

// --- files

// An engine file, or a model built in memory.
engine::Engine open_engine(const std::filesystem::path& path, bool deterministic = false);

// Throws Error when `output` cannot be created, or is one of the inputs. Leaves nothing behind.
void check_writable(const std::filesystem::path& output, std::initializer_list<std::filesystem::path> inputs);

}  // namespace octet::tools
