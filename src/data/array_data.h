// Samples along the first axis of arrays.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "data/dataset.h"

namespace octet {

// A .npy (mapped; samples are copied out one by one) or .npz file (read whole).
std::unique_ptr<Dataset> open_arrays(const std::filesystem::path& path, int64_t limit);

// Arrays of one .npz by input name. Throws Error when there is none; the lone name arr_0 (numpy's for an
// unnamed one) becomes "".
std::map<std::string, Tensor> named_arrays(std::map<std::string, Tensor> arrays, const std::string& file);

}  // namespace octet
