#include "correct/value_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "correct/vector_loops.h"

namespace octet {
namespace {

int open_nameless_file() {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::temp_directory_path(ignored);
  if (folder.empty()) folder = "/tmp";
  std::string name = (folder / "octet-XXXXXX").string();
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0)
    fail(ErrorCode::kBadFile, "cannot create a temporary file in '{}': {}", folder.string(),
         std::strerror(errno));
  unlink(name.c_str());
  return file;
}

// All of `bytes` by pread or pwrite.
template <typename Transfer>
void transfer_all(int64_t bytes, int64_t offset, const char* what, const Transfer& transfer) {
  int64_t done = 0;
  while (done < bytes) {
    const ssize_t some = transfer(done, bytes - done, offset + done);
    if (some < 0 && errno == EINTR) continue;
    if (some <= 0)
      fail(ErrorCode::kBadFile, "cannot {} the temporary file of activations: {}", what,
           some == 0 ? "it is too short" : std::strerror(errno));
    done += some;
  }
}

}  // namespace

Tensor StoredValue::floats() const {
  if (!steps) return data;
  Tensor out(DType::kFloat32, data.shape());
  const auto from = data.as<int16_t>();
  const auto to = out.as<float>();
  for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<float>(from[i]) * scale;
  return out;
}

StoredValue store_in_steps(const Tensor& tensor) {
  const float* x = tensor.as<float>().data();
  const int64_t count = tensor.count();
  const loops::Loops& vector = loops::of(current_isa());
  const float extreme = vector.extreme(x, count);
  if (!(extreme <= 3.4e38f)) return {tensor.clone(), false, 1};
  StoredValue out{Tensor(DType::kInt16, tensor.shape()), true, std::max(extreme / 32767, 1e-37f)};
  vector.to_steps(x, 1 / out.scale, out.data.as<int16_t>().data(), count);
  return out;
}

ValueStore::ValueStore(int64_t memory_bytes) : limit_(memory_bytes) {}

ValueStore::~ValueStore() {
  if (file_ >= 0) close(file_);
}

int64_t ValueStore::reserve(int64_t bytes) {
  if (const auto found = free_.find(bytes); found != free_.end()) {
    const int64_t offset = found->second;
    free_.erase(found);
    return offset;
  }
  if (file_ < 0) file_ = open_nameless_file();
  const int64_t offset = file_bytes_;
  file_bytes_ += bytes;
  return offset;
}

void ValueStore::put(int32_t key, int64_t sample, StoredValue value) {
  drop(key, sample);
  const int64_t bytes = value.data.bytes();
  Entry entry;
  entry.bytes = bytes;
  int file = -1;
  {
    const std::lock_guard lock(mutex_);
    if (used_ + bytes > limit_ && bytes > 0) {
      entry.offset = reserve(bytes);
      file = file_;
    } else {
      used_ += bytes;
    }
  }
  if (file >= 0) {
    const auto* from = static_cast<const char*>(value.data.raw());
    transfer_all(bytes, entry.offset, "write", [&](int64_t done, int64_t rest, int64_t at) {
      return pwrite(file, from + done, static_cast<size_t>(rest), at);
    });
    entry.dtype = value.data.dtype();
    entry.shape = value.data.shape();
    value.data = Tensor();
  }
  entry.value = std::move(value);
  const std::lock_guard lock(mutex_);
  entries_[{key, sample}] = std::move(entry);
}

StoredValue ValueStore::get(int32_t key, int64_t sample) const {
  Entry entry;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find({key, sample});
    if (found == entries_.end())
      fail(ErrorCode::kInternal, "value {} of sample {} is used before it is made", key, sample);
    entry = found->second;
  }
  if (entry.offset < 0) return entry.value;
  Tensor data(entry.dtype, entry.shape);
  auto* to = static_cast<char*>(data.raw());
  transfer_all(data.bytes(), entry.offset, "read", [&](int64_t done, int64_t rest, int64_t at) {
    return pread(file_, to + done, static_cast<size_t>(rest), at);
  });
  entry.value.data = std::move(data);
  return entry.value;
}

void ValueStore::drop(int32_t key, int64_t sample) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find({key, sample});
  if (found == entries_.end()) return;
  if (found->second.offset < 0)
    used_ -= found->second.bytes;
  else
    free_.emplace(found->second.bytes, found->second.offset);
  entries_.erase(found);
}

int64_t ValueStore::spilled_bytes() const {
  const std::lock_guard lock(mutex_);
  return file_bytes_;
}

}  // namespace octet
