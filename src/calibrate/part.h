// A part of a calibration: everything that was observed over some samples of a data set, as plain numbers.
// Processes make parts side by side, or one after the other; merged in any order they give the table that one
// run gives, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "calibrate/calibrate.h"

namespace octet {

struct PartSample {
  int64_t index = 0;  // in the whole data set
  uint64_t name_hash = 0, content_hash = 0;
  bool skipped = false;  // it could not be read: `name` and `reason` say more
  std::string name, reason;
  friend bool operator==(const PartSample&, const PartSample&) = default;
};

struct PartTensor {
  StatisticsData statistics;
  bool copied = false;           // another value's bytes: not in the table unless a run made it
  std::vector<double> energies;  // see reader_energies(); one per channel, or none
  friend bool operator==(const PartTensor&, const PartTensor&) = default;
};

struct CalibrationPart {
  // What parts must have in common.
  std::string octet_version, model_name, preprocess, target;
  uint64_t model_hash = 0;
  uint64_t names_hash = 0;  // of all names of the whole data set
  int64_t total = 0;        // samples of the whole data set
  RangeMethod method = RangeMethod::kMse;
  RangeOptions options;

  std::string isa;                  // of all processors that took part: "avx2" or "avx2, avx512vnni"
  std::vector<PartSample> samples;  // sorted by index
  std::map<std::string, PartTensor, std::less<>> tensors;
  friend bool operator==(const CalibrationPart&, const CalibrationPart&) = default;
};

// XXH3 over the hashes of the names of a data set; `name_hash` of one.
uint64_t name_hash(const std::string& name);
uint64_t names_hash(const Dataset& data);

// Adds `from` to `to`. Throws Error that says what differs, or which sample is in both; `from_name` and
// `to_name` name them there (as "part 'a'").
void merge_part(CalibrationPart& to, const CalibrationPart& from, const std::string& to_name,
                const std::string& from_name);

struct Calibrated {
  CalibrationTable table;
  std::vector<std::string> problems;  // one line per value whose statistics are suspicious
  std::vector<SkippedSample> skipped;
};

// The table of a whole data set. Throws Error when samples are missing, or none could be read.
Calibrated table_of_part(const CalibrationPart& part);

// The file: 32 bytes of prefix (magic, format version, size, XXH3 of the rest), then the numbers, counts of
// histograms with 7 bits a byte. The same bytes for equal parts.
std::string part_bytes(const CalibrationPart& part);
// `where` names the file in errors. Everything is checked: sizes before memory is taken for them, and
// statistics for contradictions.
CalibrationPart parse_part(std::span<const std::byte> bytes, const std::string& where);

bool is_part(std::span<const std::byte> bytes);
void save_part(const CalibrationPart& part, const std::filesystem::path& path);  // atomically
CalibrationPart load_part(const std::filesystem::path& path);

}  // namespace octet
