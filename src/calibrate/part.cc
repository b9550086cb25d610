// Merging parts and making the table of them; part_file.cc reads and writes them.
#include "calibrate/part.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "data/sample_hashes.h"

namespace octet {
namespace {

[[noreturn]] void differ(const std::string& a, const std::string& b, const std::string& what) {
  fail(ErrorCode::kInvalidArgument, "{} does not belong to {}: {}", b, a, what);
}

// A hash says little: only that they differ.
void check_same(const CalibrationPart& to, const CalibrationPart& from, const std::string& a,
                const std::string& b) {
  if (to.octet_version != from.octet_version)
    differ(a, b,
           fmt::format("it was made by octet {}, the other by {}: make all parts with one version",
                       from.octet_version, to.octet_version));
  if (to.model_hash != from.model_hash)
    differ(a, b,
           fmt::format("it was made for another model ('{}' of hash {:016x}, the other for '{}' of hash "
                       "{:016x})",
                       from.model_name, from.model_hash, to.model_name, to.model_hash));
  if (to.preprocess != from.preprocess)
    differ(a, b,
           fmt::format("its preprocessing is \"{}\", the other's \"{}\"", from.preprocess, to.preprocess));
  if (to.total != from.total || to.names_hash != from.names_hash)
    differ(a, b,
           fmt::format("it was made from other data ({} samples, the other from {}, or under other names): "
                       "every part takes the whole --data with the same --limit",
                       from.total, to.total));
  if (to.target != from.target)
    differ(a, b, fmt::format("it was made for target {}, the other for {}", from.target, to.target));
  if (to.method != from.method || !(to.options == from.options))
    differ(a, b,
           fmt::format("its method is {} (percentile {}), the other's {} (percentile {})",
                       range_method_name(from.method), from.options.percentile, range_method_name(to.method),
                       to.options.percentile));
  for (const auto* pair : {&to, &from}) {
    const CalibrationPart& other = pair == &to ? from : to;
    for (const auto& [name, tensor] : pair->tensors) {
      const auto found = other.tensors.find(name);
      if (found == other.tensors.end())
        differ(a, b,
               fmt::format("only one of them has the tensor '{}': give all parts the same options", name));
      if (found->second.statistics.channels.size() != tensor.statistics.channels.size() ||
          found->second.copied != tensor.copied || found->second.energies != tensor.energies)
        differ(a, b, fmt::format("the tensor '{}' is another one there", name));
    }
  }
}

// "avx2" and "avx2, avx512vnni" -> "avx2, avx512vnni"
std::string join_isas(const std::string& a, const std::string& b) {
  std::set<std::string> names;
  for (const std::string* text : {&a, &b})
    for (size_t at = 0; at < text->size();) {
      const size_t end = std::min(text->find(", ", at), text->size());
      names.insert(text->substr(at, end - at));
      at = end + 2;
    }
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

// The first samples that the part lacks, counted from 1: "4, 5, 7".
std::string first_missing(const CalibrationPart& part, int64_t missing) {
  constexpr int64_t kShown = 5;
  std::string text;
  int64_t found = 0;
  auto next = part.samples.begin();
  for (int64_t i = 0; found < std::min(missing, kShown); ++i) {
    if (next != part.samples.end() && next->index == i) {
      ++next;
      continue;
    }
    text += fmt::format("{}{}", found++ > 0 ? ", " : "", i + 1);
  }
  return text + (missing > kShown ? ", ..." : "");
}

}  // namespace

uint64_t name_hash(const std::string& name) {
  return XXH3_64bits(name.data(), name.size());
}

uint64_t names_hash(const Dataset& data) {
  std::vector<uint64_t> hashes;
  for (int64_t i = 0; i < data.size(); ++i) hashes.push_back(name_hash(data.name(i)));
  return combine_hashes(hashes);
}

void merge_part(CalibrationPart& to, const CalibrationPart& from, const std::string& to_name,
                const std::string& from_name) {
  check_same(to, from, to_name, from_name);
  std::vector<PartSample> samples;
  std::merge(to.samples.begin(), to.samples.end(), from.samples.begin(), from.samples.end(),
             std::back_inserter(samples),
             [](const PartSample& a, const PartSample& b) { return a.index < b.index; });
  for (size_t i = 1; i < samples.size(); ++i)
    if (samples[i].index == samples[i - 1].index)
      fail(ErrorCode::kInvalidArgument, "sample {} of {} is in {} as well as in {}: give each part once",
           samples[i].index + 1, to.total, to_name, from_name);
  to.samples = std::move(samples);
  to.isa = join_isas(to.isa, from.isa);
  for (auto& [name, tensor] : to.tensors) {
    TensorStatistics sum = TensorStatistics::from_data(tensor.statistics);
    sum.merge(TensorStatistics::from_data(from.tensors.find(name)->second.statistics));
    tensor.statistics = sum.data();
  }
}

Calibrated table_of_part(const CalibrationPart& part) {
  const int64_t missing = part.total - static_cast<int64_t>(part.samples.size());
  if (missing > 0)
    fail(ErrorCode::kInvalidArgument,
         "the parts do not make up the data: {} of {} samples are missing (number {}); give all parts",
         missing, part.total, first_missing(part, missing));

  Calibrated result;
  CalibrationTable& table = result.table;
  table.octet_version = part.octet_version;
  table.model_name = part.model_name;
  table.model_hash = part.model_hash;
  table.method = part.method;
  table.options = part.options;
  table.preprocess = part.preprocess;
  table.isa = part.isa;
  std::vector<uint64_t> hashes;
  for (const PartSample& s : part.samples) {
    hashes.push_back(s.name_hash);
    hashes.push_back(s.content_hash);
    if (s.skipped) result.skipped.push_back({s.index, s.name, s.reason});
  }
  table.data_hash = combine_hashes(hashes);
  table.samples = part.samples.size() - result.skipped.size();
  if (table.samples == 0)
    fail(ErrorCode::kInvalidArgument, "none of the {} samples could be read: {}", part.total,
         result.skipped.empty() ? "there is none" : result.skipped.front().reason);

  // Some at a time: what fits a file may be more than fits memory when it is spread out.
  constexpr size_t kAtOnce = 512;
  for (auto next = part.tensors.begin(); next != part.tensors.end();) {
    ValueStatistics values;
    Energies energies;
    for (; next != part.tensors.end() && values.size() < kAtOnce; ++next) {
      const auto& [name, tensor] = *next;
      TensorStatistics statistics = TensorStatistics::from_data(tensor.statistics);
      // Values that others only copy are often views that no step makes; nobody needs their ranges.
      if (tensor.copied && statistics.count() == 0) continue;
      values.emplace(name, std::move(statistics));
      if (!tensor.energies.empty()) energies.emplace(name, tensor.energies);
    }
    table.tensors.merge(choose_ranges(values, table.method, table.options, energies));
    for (std::string& line : problems(values)) result.problems.push_back(std::move(line));
  }
  return result;
}

}  // namespace octet
