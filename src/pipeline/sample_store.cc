#include "pipeline/sample_store.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "base/checked.h"
#include "data/sample_hashes.h"

namespace octet {
namespace {

constexpr int64_t kMostSamples = int64_t{1} << 20;
constexpr int64_t kMostBytes = int64_t{1} << 38;

[[noreturn]] void file_failed(const char* what) {
  fail(ErrorCode::kIo,
       "cannot {} the temporary file of the calibration data: {}: free some space, or set TMPDIR", what,
       std::generic_category().message(errno));
}

int nameless_file() {
  const std::string folder = std::filesystem::temp_directory_path().string();
  int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file >= 0) return file;
  std::string name = folder + "/octet-samples-XXXXXX";
  file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) file_failed("create");
  unlink(name.c_str());
  return file;
}

bool open_batch(const std::vector<runtime::TensorInfo>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const runtime::TensorInfo& t) { return !t.shape.empty() && t.shape[0] < 0; });
}

}  // namespace

SampleStore::SampleStore(std::vector<runtime::TensorInfo> inputs,
                         const std::vector<runtime::TensorInfo>& outputs, std::string source,
                         int64_t memory_bytes)
    : inputs_(std::move(inputs)),
      source_(std::move(source)),
      limit_(memory_bytes),
      batched_(open_batch(inputs_) && open_batch(outputs)) {}

SampleStore::~SampleStore() {
  if (file_ >= 0) close(file_);
}

void SampleStore::bad(const std::string& what) const {
  fail(ErrorCode::kInvalidArgument, "{}, batch {}: {}", source_, batches_, what);
}

void SampleStore::check(const runtime::TensorInfo& input, const CalibrationArray& array) const {
  if (array.data == nullptr) bad(fmt::format("no data for the input '{}'", input.name));
  if (array.dtype != input.dtype)
    bad(fmt::format("'{}' is {}, but the network's input is {}: convert it", input.name,
                    dtype_name(array.dtype), dtype_name(input.dtype)));
  bool fits = array.shape.size() == input.shape.size();
  for (size_t d = 0; fits && d < array.shape.size(); ++d) {
    const int64_t wanted = input.shape[d], given = array.shape[d];
    fits = given > 0 && (wanted < 0 || wanted == given || (d == 0 && wanted > 0 && given % wanted == 0));
  }
  if (!fits)
    bad(fmt::format("'{}' has shape {}, but the network's input is {}", input.name, to_string(array.shape),
                    input.shape_text));
}

// How many samples a batch is; 1 where it is one by itself.
int64_t SampleStore::samples_in(const std::vector<const CalibrationArray*>& arrays) const {
  int64_t count = -1;
  for (size_t i = 0; i < arrays.size(); ++i) {
    if (inputs_[i].shape.empty()) return 1;
    const int64_t wanted = inputs_[i].shape[0];
    if (wanted < 0 && !batched_) return 1;
    const int64_t here = arrays[i]->shape[0] / std::max<int64_t>(wanted, 1);
    if (count >= 0 && here != count)
      bad(fmt::format("'{}' has {} samples, but '{}' has {}", inputs_[0].name, count, inputs_[i].name, here));
    count = here;
  }
  return std::max<int64_t>(count, 1);
}

void SampleStore::keep(Part& part, const std::byte* data) {
  const DType dtype = inputs_[part.input].dtype;
  const int64_t bytes = dtype_bytes(dtype, checked_product(part.shape));
  if (checked_add(used_ + file_bytes_, bytes) > kMostBytes || size() >= kMostSamples)
    fail(ErrorCode::kInvalidArgument,
         "{}: more than {} samples or {} GB of data: hundreds of samples are enough to calibrate with",
         source_, kMostSamples, kMostBytes >> 30);
  if (used_ + bytes <= limit_) {
    part.data = Tensor(dtype, part.shape);
    std::memcpy(part.data.raw(), data, static_cast<size_t>(bytes));
    used_ += bytes;
    return;
  }
  if (file_ < 0) file_ = nameless_file();
  part.offset = file_bytes_;
  for (int64_t done = 0; done < bytes;) {
    const ssize_t wrote = pwrite(file_, data + done, static_cast<size_t>(bytes - done), part.offset + done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) file_failed("write");
    done += wrote;
  }
  file_bytes_ += bytes;
}

void SampleStore::add(std::span<const CalibrationArray> batch) {
  ++batches_;
  std::vector<const CalibrationArray*> arrays;
  for (const runtime::TensorInfo& input : inputs_) {
    const auto found = std::find_if(batch.begin(), batch.end(),
                                    [&](const CalibrationArray& a) { return a.name == input.name; });
    if (found == batch.end()) {
      std::string names;
      for (const CalibrationArray& a : batch) names += (names.empty() ? "'" : ", '") + a.name + "'";
      bad(fmt::format("the input '{}' is missing; the batch has {}", input.name,
                      names.empty() ? "no arrays" : names));
    }
    check(input, *found);
    arrays.push_back(&*found);
  }
  for (const CalibrationArray& a : batch)
    if (std::none_of(inputs_.begin(), inputs_.end(),
                     [&](const auto& input) { return input.name == a.name; })) {
      std::string names;
      for (const auto& input : inputs_) names += (names.empty() ? "'" : ", '") + input.name + "'";
      bad(fmt::format("the network has no input '{}'; it has {}", a.name, names));
    }
  const int64_t count = samples_in(arrays);
  for (int64_t s = 0; s < count; ++s) {
    Stored stored;
    stored.name = fmt::format("{}, batch {}, sample {}", source_, batches_, s + 1);
    std::vector<uint64_t> hashes;
    for (size_t i = 0; i < arrays.size(); ++i) {
      Part part{i, arrays[i]->shape, {}, -1};
      if (!part.shape.empty()) part.shape[0] /= count;
      const auto bytes = static_cast<size_t>(dtype_bytes(inputs_[i].dtype, checked_product(part.shape)));
      const auto* data = static_cast<const std::byte*>(arrays[i]->data) + static_cast<size_t>(s) * bytes;
      hashes.push_back(XXH3_64bits(data, bytes));
      keep(part, data);
      stored.parts.push_back(std::move(part));
    }
    stored.hash = XXH3_64bits(hashes.data(), hashes.size() * sizeof(uint64_t));
    samples_.push_back(std::move(stored));
  }
}

void SampleStore::finish() const {
  if (samples_.empty())
    fail(ErrorCode::kInvalidArgument, "{} gave no data: calibration needs at least one sample", source_);
}

const SampleStore::Stored& SampleStore::at(int64_t i) const {
  if (i < 0 || i >= size()) fail(ErrorCode::kInternal, "sample {} of {}", i, size());
  return samples_[static_cast<size_t>(i)];
}

Sample SampleStore::load(int64_t i) const {
  Sample sample;
  for (const Part& part : at(i).parts) {
    const runtime::TensorInfo& input = inputs_[part.input];
    Tensor tensor = part.data;
    if (part.offset >= 0) {
      tensor = Tensor(input.dtype, part.shape);
      auto* to = static_cast<std::byte*>(tensor.raw());
      for (int64_t done = 0; done < tensor.bytes();) {
        const ssize_t got =
            pread(file_, to + done, static_cast<size_t>(tensor.bytes() - done), part.offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) file_failed("read");
        done += got;
      }
    }
    sample.inputs.emplace(input.name, std::move(tensor));
  }
  return sample;
}

uint64_t SampleStore::content_hash() const {
  std::vector<uint64_t> pairs;
  for (const Stored& s : samples_) {
    pairs.push_back(XXH3_64bits(s.name.data(), s.name.size()));
    pairs.push_back(s.hash);
  }
  return combine_hashes(pairs);
}

void read_batches(Calibrator& calibrator, const std::vector<runtime::TensorInfo>& inputs,
                  const std::vector<Shape>& shapes, int64_t limit, SampleStore& store) {
  for (;;) {
    std::vector<CalibrationArray> arrays;
    for (size_t i = 0; i < inputs.size(); ++i)
      arrays.push_back({inputs[i].name, inputs[i].dtype, shapes[i], nullptr});
    if (!calibrator.next_batch(arrays)) break;
    store.add(arrays);
    if (limit > 0 && store.size() >= limit) break;
  }
  store.finish();
}

}  // namespace octet
