#include "common.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "base/file.h"
#include "build/build.h"
#include "onnx/onnx.h"

namespace octet::tools {

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void print_json(const Json& json) {
  print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

void flush_output() {
  errno = 0;
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  fail(ErrorCode::kIo, "cannot write to standard output: {}",
       errno != 0 ? std::generic_category().message(errno) : "the device refused");
}

void note(std::string_view text) {
  fmt::print(stderr, "note: {}\n", text);
}

void warn(std::string_view text) {
  fmt::print(stderr, "warning: {}\n", text);
}

Log terminal_log() {
  return [](Severity severity, std::string_view text) {
    if (severity == Severity::kInfo) note(text);
    if (severity <= Severity::kWarning) warn(text);
  };
}

namespace {

// Exporters give nodes names of hundreds of characters; their beginning and end tell them apart. --json has
// them whole.
std::string shortened(const std::string& text) {
  constexpr size_t kMost = 60, kHead = 28;
  if (text.size() <= kMost) return text;
  return text.substr(0, kHead) + "..." + text.substr(text.size() - (kMost - kHead - 3));
}

}  // namespace

std::string columns(const std::vector<std::vector<std::string>>& full, size_t left, size_t indent) {
  std::vector<std::vector<std::string>> rows = full;
  for (auto& row : rows)
    for (size_t c = 0; c + 1 < row.size(); ++c) row[c] = shortened(row[c]);
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) {
      if (widths.size() <= c) widths.push_back(0);
      widths[c] = std::max(widths[c], row[c].size());
    }
  std::string text;
  for (const auto& row : rows) {
    std::string line(indent, ' ');
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string fill(widths[c] - row[c].size(), ' ');
      line += (c == 0 ? "" : "  ") + (c < left ? row[c] + fill : fill + row[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string size_text(int64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  const auto size = static_cast<double>(bytes);
  if (bytes < 10'000'000) return fmt::format("{:.0f} kB", size / 1e3);
  return bytes < 10'000'000'000 ? fmt::format("{:.1f} MB", size / 1e6) : fmt::format("{:.1f} GB", size / 1e9);
}

Json db_json(const std::optional<double>& sqnr) {
  return sqnr ? Json(*sqnr) : Json(nullptr);
}

void warn_skipped(const std::vector<SkippedSample>& skipped) {
  constexpr size_t kShown = 5;
  for (size_t i = 0; i < std::min(kShown, skipped.size()); ++i) warn("skipped: " + skipped[i].reason);
  if (skipped.size() > kShown) warn(fmt::format("skipped {} samples in all", skipped.size()));
}

Json skipped_json(const std::vector<SkippedSample>& skipped) {
  Json list = Json::array();
  for (const SkippedSample& s : skipped) list.push_back({{"name", s.name}, {"reason", s.reason}});
  return list;
}

engine::Engine open_engine(const std::filesystem::path& path, bool deterministic) {
  switch (file_kind(path)) {
    case FileKind::kEngine: {
      const engine::Engine engine = engine::Engine::load(path);
      return deterministic ? engine.deterministic() : engine;
    }
    case FileKind::kTable:
      fail(ErrorCode::kBadFile, "'{}' is no model: expected an ONNX model or an engine", path.string());
    case FileKind::kModel:
      break;
  }
  BuildOptions options;
  options.deterministic = deterministic;
  return engine::Engine(build_engine(import_onnx(path), options));
}

void check_writable(const std::filesystem::path& output,
                    std::initializer_list<std::filesystem::path> inputs) {
  for (const auto& input : inputs) {
    std::error_code error;
    if (std::filesystem::equivalent(input, output, error))
      throw UsageError(fmt::format("'{}' is the input: give the result another name", output.string()));
  }
  const HoldSignals hold;
  const AtomicFile probe(output);
}

}  // namespace octet::tools
