#include "data/labels.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include "base/file.h"

namespace octet {
namespace {

constexpr int64_t kAmbiguous = -2;

std::string normal(const std::string& file) {
  return std::filesystem::path(file).lexically_normal().generic_string();
}

std::string base_name(const std::string& file) {
  return std::filesystem::path(file).filename().string();
}

}  // namespace

std::vector<Label> read_labels(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  std::vector<Label> labels;
  int64_t line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line(text.data() + at, end - at);
    at = end + 1;
    ++line_number;
    constexpr std::string_view kSpace = " \t\r";
    const size_t last = line.find_last_not_of(kSpace);
    if (last == std::string_view::npos) continue;
    line = line.substr(0, last + 1);
    line.remove_prefix(line.find_first_not_of(kSpace));
    const auto bad = [&] {
      fail(ErrorCode::kBadFile, "{}:{}: found '{}', expected a file name and a class number", path.string(),
           line_number, line.substr(0, 100));
    };
    const size_t space = line.find_last_of(" \t");
    if (space == std::string_view::npos) bad();
    Label label;
    const char* stop = line.data() + line.size();
    const auto [parsed, error] = std::from_chars(line.data() + space + 1, stop, label.label);
    if (error != std::errc() || parsed != stop || label.label < 0) bad();
    const std::string_view file = line.substr(0, space);
    label.file = file.substr(0, file.find_last_not_of(kSpace) + 1);
    labels.push_back(std::move(label));
  }
  if (labels.empty()) fail(ErrorCode::kBadFile, "'{}' holds no labels", path.string());
  return labels;
}

std::vector<int64_t> match_labels(const Dataset& data, const std::vector<Label>& labels) {
  std::map<std::string, int64_t> by_name, by_base;
  for (const Label& l : labels) {
    const auto [it, added] = by_name.emplace(normal(l.file), l.label);
    if (!added && it->second != l.label)
      fail(ErrorCode::kBadFile, "labels: '{}' has the classes {} and {}", l.file, it->second, l.label);
    if (!added) continue;
    const auto [base, unique] = by_base.emplace(base_name(l.file), l.label);
    if (!unique) base->second = kAmbiguous;
  }
  std::vector<int64_t> result(static_cast<size_t>(data.size()), -1);
  bool any = false;
  for (int64_t i = 0; i < data.size(); ++i) {
    int64_t label = -1;
    if (const auto it = by_name.find(data.name(i)); it != by_name.end())
      label = it->second;
    else if (const auto base = by_base.find(base_name(data.name(i))); base != by_base.end())
      label = std::max<int64_t>(base->second, -1);
    result[static_cast<size_t>(i)] = label;
    any |= label >= 0;
  }
  if (!any)
    fail(ErrorCode::kInvalidArgument,
         "no sample has a label: the data begins with '{}', the labels with '{}'", data.name(0),
         labels.empty() ? "" : labels[0].file);
  return result;
}

}  // namespace octet
