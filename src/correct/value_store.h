// Activations of many samples that wait for their readers, in memory and beyond a limit in a file.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "tensor/tensor.h"

namespace octet {

// A tensor as it is kept: 16-bit steps of `scale` (`steps`), or as it is.
struct StoredValue {
  Tensor data;  // int16 when `steps`
  bool steps = false;
  float scale = 1;

  Tensor floats() const;  // of a float32 tensor
};

// A float32 tensor in 16-bit steps of max |x| / 32767: 8 bits more than the tensors that it is compared with.
// As it is when a value is not finite.
StoredValue store_in_steps(const Tensor& tensor);

// Values by key and sample. Threads: all functions may be called at once, but not for the same value.
class ValueStore {
 public:
  // Beyond `memory_bytes` values go to a file without a name in the folder for temporary files.
  explicit ValueStore(int64_t memory_bytes);
  ~ValueStore();
  ValueStore(const ValueStore&) = delete;
  ValueStore& operator=(const ValueStore&) = delete;

  // Replaces what was there. The elements are not copied: they must be the caller's to give away.
  void put(int32_t key, int64_t sample, StoredValue value);
  // Throws Error when it is not there or the file cannot be read.
  StoredValue get(int32_t key, int64_t sample) const;
  void drop(int32_t key, int64_t sample);

  int64_t spilled_bytes() const;  // the file's size

 private:
  struct Entry {
    StoredValue value;  // `data` is not there when it is in the file
    int64_t bytes = 0, offset = -1;
    DType dtype = DType::kFloat32;  // of what is in the file
    Shape shape = {};
  };
  int64_t reserve(int64_t bytes);  // a place in the file

  const int64_t limit_;
  mutable std::mutex mutex_;
  std::map<std::pair<int32_t, int64_t>, Entry> entries_;
  int64_t used_ = 0;
  int file_ = -1;
  int64_t file_bytes_ = 0;
  std::multimap<int64_t, int64_t> free_;  // size to offset of places that were given up
};

}  // namespace octet
