#include "data/array_data.h"

#include <xxhash.h>

#include <cstring>
#include <vector>

#include "base/file.h"
#include "data/sample_hashes.h"
#include "tensor/npy.h"

namespace octet {
namespace {

class ArrayData final : public Dataset {
 public:
  ArrayData(std::map<std::string, Tensor> arrays, const std::string& file, int64_t limit)
      : arrays_(std::move(arrays)),
        count_(samples(arrays_, file, limit)),
        hashes_(static_cast<size_t>(count_)) {
    for (int64_t i = 0; i < count_; ++i) names_.push_back(fmt::format("{}:{}", file, i));
  }

  int64_t size() const override { return count_; }
  const std::string& name(int64_t i) const override { return names_[index(i)]; }
  bool images() const override { return false; }

  Sample load(int64_t i) const override {
    Sample sample;
    for (const auto& [name, array] : arrays_) sample.inputs.emplace(name, slice(array, i).clone());
    for (auto& [name, tensor] : sample.inputs)
      if (tensor.dtype() == DType::kBool) normalize(tensor);
    hash(i);
    return sample;
  }

  uint64_t content_hash() const override {
    return hashes_.combine([this](size_t i) -> const std::string& { return names_[i]; },
                           [this](size_t i) { hash(static_cast<int64_t>(i)); });
  }
  uint64_t sample_hash(int64_t i) const override {
    return hashes_.get(index(i), [this](size_t k) { hash(static_cast<int64_t>(k)); });
  }

 private:
  static int64_t samples(const std::map<std::string, Tensor>& arrays, const std::string& file,
                         int64_t limit) {
    int64_t count = -1;
    std::string first;
    for (const auto& [name, array] : arrays) {
      if (array.rank() == 0)
        fail(ErrorCode::kBadFile, "'{}': array '{}' is a scalar; expected samples along the first axis", file,
             name);
      if (count >= 0 && array.shape()[0] != count)
        fail(ErrorCode::kBadFile, "'{}': array '{}' has {} samples, but '{}' has {}", file, name,
             array.shape()[0], first, count);
      count = array.shape()[0];
      first = name;
    }
    if (count <= 0) fail(ErrorCode::kBadFile, "'{}' holds no samples", file);
    return limit > 0 ? std::min(count, limit) : count;
  }

  size_t index(int64_t i) const {
    if (i < 0 || i >= count_) fail(ErrorCode::kInternal, "sample {} of {}", i, count_);
    return static_cast<size_t>(i);
  }

  Tensor slice(const Tensor& array, int64_t i) const {
    Shape shape = array.shape();
    shape[0] = 1;
    const int64_t bytes = array.bytes() / array.shape()[0];
    const auto* data = static_cast<const std::byte*>(array.raw());
    return Tensor::view(array.dtype(), std::move(shape), data + bytes * static_cast<int64_t>(index(i)));
  }

  static void normalize(Tensor& mask) {
    auto* bytes = static_cast<uint8_t*>(mask.raw());
    for (int64_t i = 0; i < mask.count(); ++i) bytes[i] = bytes[i] != 0;
  }

  void hash(int64_t i) const {
    std::vector<uint64_t> parts;
    for (const auto& [name, array] : arrays_) {
      const Tensor part = slice(array, i);
      const std::string what =
          fmt::format("{} {} {}", name, dtype_name(part.dtype()), to_string(part.shape()));
      parts.push_back(XXH3_64bits(what.data(), what.size()));
      parts.push_back(XXH3_64bits(part.raw(), static_cast<size_t>(part.bytes())));
    }
    hashes_.set(index(i), XXH3_64bits(parts.data(), parts.size() * sizeof(uint64_t)));
  }

  std::map<std::string, Tensor> arrays_;
  int64_t count_;
  std::vector<std::string> names_;
  mutable SampleHashes hashes_;
};

// The elements where they lie in the file, if they are in C order.
Tensor map_npy(const std::filesystem::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  const NpyHeader header = parse_npy_header(file->bytes(), path.string());
  if (header.fortran_order) return parse_npy(file->bytes(), path.string());
  Tensor view = Tensor::view(header.dtype, header.shape, file->bytes().data() + header.data_offset, file);
  if (view.bytes() != static_cast<int64_t>(file->bytes().size() - header.data_offset))
    fail(ErrorCode::kBadFile, "'{}': {} bytes of elements, expected {} for {} of shape {}", path.string(),
         file->bytes().size() - header.data_offset, view.bytes(), dtype_name(header.dtype),
         to_string(header.shape));
  return view;
}

}  // namespace

std::unique_ptr<Dataset> open_arrays(const std::filesystem::path& path, int64_t limit) {
  std::map<std::string, Tensor> arrays;
  if (path.extension() == ".npz")
    arrays = named_arrays(read_npz(path), path.string());
  else
    arrays.emplace("", map_npy(path));
  return std::make_unique<ArrayData>(std::move(arrays), path.filename().string(), limit);
}

std::map<std::string, Tensor> named_arrays(std::map<std::string, Tensor> arrays, const std::string& file) {
  if (arrays.empty()) fail(ErrorCode::kBadFile, "'{}' holds no arrays", file);
  if (arrays.size() == 1 && arrays.begin()->first == "arr_0") {
    auto node = arrays.extract(arrays.begin());
    node.key() = "";
    arrays.insert(std::move(node));
  }
  return arrays;
}

}  // namespace octet
