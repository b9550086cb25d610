// Class labels of images.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace octet {

struct Label {
  std::string file;
  int64_t label = 0;  // class index, >= 0
};

// Lines of "file class"; empty lines are skipped. A file name may contain spaces. Throws Error that names the
// line.
std::vector<Label> read_labels(const std::filesystem::path& path);

// Class of each sample, -1 where it has none. Samples match by relative name, else by file name alone where
// that is unambiguous among the labels. Throws Error when no sample has a label, or a file has two.
std::vector<int64_t> match_labels(const Dataset& data, const std::vector<Label>& labels);

}  // namespace octet
