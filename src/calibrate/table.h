// The calibration table: what a run over data found, as a readable JSON file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "quant/range/range.h"

namespace octet {

// Per channel of one tensor; all vectors have one entry per channel, or none where channels were not
// observed.
struct TableChannels {
  std::vector<float> min, max;
  std::vector<double> mean, mean_square;        // of the values
  std::vector<double> min_mean, min_deviation;  // over samples, of each sample's smallest value
  std::vector<double> max_mean, max_deviation;  // and of its largest
  bool empty() const { return min.empty(); }
  friend bool operator==(const TableChannels&, const TableChannels&) = default;
};

// What one method chose and its error.
struct MethodRange {
  Range range;
  double mse = 0;  // expected_mse() of the grid
  friend bool operator==(const MethodRange&, const MethodRange&) = default;
};

struct TableTensor {
  Range range;             // what the method chose
  float min = 0, max = 0;  // observed, of finite values; 0 without any
  uint64_t count = 0;      // values, of which:
  uint64_t nan = 0, infinite = 0, zeros = 0;
  TableChannels channels;
  // A symmetric scale that is to be kept as it is (from a TensorRT cache); 0 where the range decides.
  float scale = 0;
  std::map<RangeMethod, MethodRange> methods;  // each method's choice
  friend bool operator==(const TableTensor&, const TableTensor&) = default;
};

// Entry of a tensor that was observed.
TableTensor table_tensor(const TensorStatistics& statistics, Range range);

struct CalibrationTable {
  // Where it comes from.
  std::string octet_version;
  std::string model_name;   // the model file's name without its folder, for people
  uint64_t model_hash = 0;  // 64-bit XXH3 of the model
  uint64_t data_hash = 0;   // and of the data
  uint64_t samples = 0;
  RangeMethod method = RangeMethod::kMse;
  RangeOptions options;
  std::string preprocess;
  std::string isa;

  std::map<std::string, TableTensor, std::less<>> tensors;  // by name

  friend bool operator==(const CalibrationTable&, const CalibrationTable&) = default;
};

// Takes the ranges of another method from what the table recorded. Throws Error naming a tensor that has no
// choice of it.
void choose_method(CalibrationTable& table, RangeMethod method);

// The file's text: the same bytes for equal tables, one tensor a line. Numbers are written so that reading
// gives the same bits (-0 is written as 0). Throws Error where the table breaks the rules that parse_table
// checks, or a name is not UTF-8.
std::string table_text(const CalibrationTable& table);

// Reads what table_text wrote; `where` names the file in errors. Strict: unknown, missing and repeated
// fields, numbers that are not finite, ranges that are not ordered and contradictory counts throw Error,
// naming the tensor and the field.
CalibrationTable parse_table(std::string_view text, const std::string& where);

// Throws Error when the file cannot be written; then nothing of it remains.
void save_table(const CalibrationTable& table, const std::filesystem::path& path);
// Files above 256 MB are refused.
CalibrationTable load_table(const std::filesystem::path& path);

// Throws Error, saying for which model the table was made and what to do, unless `model_hash` is its model's.
void check_belongs(const CalibrationTable& table, uint64_t model_hash);

}  // namespace octet
