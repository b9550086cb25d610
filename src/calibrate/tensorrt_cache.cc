#include "calibrate/tensorrt_cache.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "calibrate/part.h"
#include "quant/quant_params.h"

namespace octet {
namespace {

constexpr std::string_view kPrefix = "TRT-";
constexpr int64_t kLargestFile = int64_t{256} << 20;
constexpr std::string_view kAlgorithms[] = {"EntropyCalibration2", "EntropyCalibration", "MinMaxCalibration",
                                            "LegacyCalibration"};

std::string shown(std::string_view line) {
  std::string text(line.substr(0, 60));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) > 126) c = '?';
  return line.size() > 60 ? text + "..." : text;
}

[[noreturn]] void bad(const std::string& where, size_t line, const std::string& what) {
  fail(ErrorCode::kBadFile, "{}: line {}: {}", where, line, what);
}

void parse_header(std::string_view line, const std::string& where, TensorRtCache& cache) {
  const size_t dash = line.find('-', kPrefix.size());
  const bool split = line.starts_with(kPrefix) && dash != std::string_view::npos;
  const std::string_view version = split ? line.substr(kPrefix.size(), dash - kPrefix.size()) : "";
  const std::string_view algorithm = split ? line.substr(dash + 1) : "";
  if (version.empty() || version.size() > 12 ||
      version.find_first_not_of("0123456789") != std::string_view::npos ||
      std::find(std::begin(kAlgorithms), std::end(kAlgorithms), algorithm) == std::end(kAlgorithms))
    bad(where, 1,
        fmt::format("'{}' is no header of a TensorRT calibration cache: expected TRT-VERSION-ALGORITHM with "
                    "one of EntropyCalibration2, EntropyCalibration, MinMaxCalibration, LegacyCalibration",
                    shown(line)));
  cache.version = version;
  cache.algorithm = algorithm;
}

float parse_scale(std::string_view hex, const std::string& where, size_t line) {
  uint32_t bits = 0;
  const auto [stop, error] = std::from_chars(hex.data(), hex.data() + hex.size(), bits, 16);
  if (error != std::errc() || stop != hex.data() + hex.size() || hex.empty() || hex.size() > 8)
    bad(where, line,
        fmt::format("'{}' is no scale: expected the 8 hexadecimal digits of a float32", shown(hex)));
  const float scale = std::bit_cast<float>(bits);
  if (!std::isfinite(scale) || scale < 0)
    bad(where, line,
        fmt::format("the scale {} is {}: expected a finite number that is not negative", hex, scale));
  return scale;
}

}  // namespace

bool is_tensorrt_cache(std::string_view text) {
  return text.starts_with(kPrefix);
}

TensorRtCache parse_tensorrt_cache(std::string_view text, const std::string& where) {
  TensorRtCache cache;
  std::set<std::string, std::less<>> names;
  size_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1) {
      parse_header(line, where, cache);
      continue;
    }
    if (line.empty()) continue;
    const size_t split = line.rfind(": ");
    if (split == std::string_view::npos || split == 0)
      bad(where, number, fmt::format("'{}' has not the form NAME: HEX", shown(line)));
    std::string name(line.substr(0, split));
    const float scale = parse_scale(line.substr(split + 2), where, number);
    if (!names.insert(name).second)
      bad(where, number, fmt::format("the tensor '{}' appears twice", shown(name)));
    cache.scales.emplace_back(std::move(name), scale);
  }
  if (number == 0) bad(where, 1, "the file is empty");
  return cache;
}

std::string tensorrt_cache_text(const TensorRtCache& cache) {
  std::string text = fmt::format("TRT-{}-{}\n", cache.version, cache.algorithm);
  for (const auto& [name, scale] : cache.scales) {
    if (name.empty() || name.find_first_of("\r\n") != std::string::npos)
      fail(ErrorCode::kInvalidArgument, "a TensorRT cache cannot hold the name '{}'", shown(name));
    text += fmt::format("{}: {:08x}\n", name, std::bit_cast<uint32_t>(scale));
  }
  return text;
}

CalibrationTable table_of(const TensorRtCache& cache) {
  CalibrationTable table;
  table.octet_version = "TensorRT " + cache.version;
  table.method = cache.algorithm == "MinMaxCalibration" ? RangeMethod::kMinMax : RangeMethod::kEntropy;
  table.options.dtype = DType::kInt8;
  table.options.symmetric = true;
  for (const auto& [name, scale] : cache.scales) {
    TableTensor t;
    t.scale = scale > 0 ? scale : 1;
    const float high = std::min(t.scale * 127, std::numeric_limits<float>::max());
    t.range = {-high, high};
    t.min = -high;
    t.max = high;
    table.tensors.emplace(name, t);
  }
  return table;
}

TensorRtCache cache_of(const CalibrationTable& table) {
  TensorRtCache cache;
  if (table.method == RangeMethod::kMinMax) cache.algorithm = "MinMaxCalibration";
  for (const auto& [name, t] : table.tensors)
    cache.scales.emplace_back(name, t.scale > 0 ? t.scale : symmetric_params(t.range, DType::kInt8).scale[0]);
  return cache;
}

LoadedTable parse_any_table(std::string_view text, const std::string& where) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) fail(ErrorCode::kBadFile, "{}: it is empty", where);
  if (!is_tensorrt_cache(text) && text[first] != '{')
    fail(ErrorCode::kBadFile,
         "{}: neither a table of 'octet calibrate' (JSON) nor a TensorRT cache, whose first line is "
         "TRT-VERSION-ALGORITHM: it begins with '{}'",
         where, shown(text.substr(first, text.find('\n', first) - first)));
  if (!is_tensorrt_cache(text)) return {parse_table(text, where), false};
  return {table_of(parse_tensorrt_cache(text, where)), true};
}

LoadedTable load_any_table(const std::filesystem::path& path) {
  const std::string text = read_text(path, kLargestFile);
  if (is_part(std::as_bytes(std::span(text))))
    fail(ErrorCode::kBadFile,
         "'{}' is a part of a calibration: make a table of all parts with 'octet calibrate --merge'",
         path.string());
  return parse_any_table(text, path.string());
}

}  // namespace octet
