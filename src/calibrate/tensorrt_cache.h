// TensorRT's calibration caches:
//
//   TRT-8401-EntropyCalibration2
//   input: 3c010a14
//   conv1/relu:0: 3d2b9bf1
//
// Version and algorithm, then a tensor a line: its name (which may contain colons and blanks) and the bits of
// a float32, big-endian in hexadecimal: the scale amax / 127 of a symmetric int8 tensor.
// Source: NVIDIA, "TensorRT Developer Guide", INT8 calibration caches; the files that TensorRT 7 to 10 write.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "calibrate/table.h"

namespace octet {

struct TensorRtCache {
  std::string version = "8601";                       // digits
  std::string algorithm = "EntropyCalibration2";      // or EntropyCalibration, MinMaxCalibration ...
  std::vector<std::pair<std::string, float>> scales;  // in the file's order; finite, not negative
  friend bool operator==(const TensorRtCache&, const TensorRtCache&) = default;
};

// Whether a text begins as a cache does.
bool is_tensorrt_cache(std::string_view text);

// Throws Error (kBadFile) that names `where` and the line.
TensorRtCache parse_tensorrt_cache(std::string_view text, const std::string& where);
// Each line ends with a newline; parse_tensorrt_cache gives the same bits. Throws Error for a name that no
// line can hold.
std::string tensorrt_cache_text(const TensorRtCache& cache);

// As a table without a model: scales as they are, the ranges +-127 * scale. Scales of 0 (tensors that were
// never anything but 0) become 1.
CalibrationTable table_of(const TensorRtCache& cache);
// The symmetric scales of a table's ranges, by name.
TensorRtCache cache_of(const CalibrationTable& table);

// A table of either form. Files above 256 MB are refused.
struct LoadedTable {
  CalibrationTable table;
  bool from_tensorrt = false;
};
LoadedTable parse_any_table(std::string_view text, const std::string& where);
LoadedTable load_any_table(const std::filesystem::path& path);

}  // namespace octet
