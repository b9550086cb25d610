// A dense array of known shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/dtype.h"

namespace octet {

using Shape = std::vector<int64_t>;

std::string to_string(const Shape& shape);  // "1x3x224x224", "scalar" for rank 0

// Contiguous, row-major, in ONNX's logical order. Copies share the elements; use clone() for a deep copy.
// Owns its memory, or keeps its owner (a mapped file, an arena) alive through a shared pointer, or borrows
// (view()).
class Tensor {
 public:
  Tensor() = default;
  // Zero-filled, 64-byte aligned. Throws Error when the size overflows or exceeds what the memory limit
  // leaves.
  Tensor(DType dtype, Shape shape);

  // Elements that someone else owns; `owner` keeps them alive, null when the caller does.
  static Tensor view(DType dtype, Shape shape, void* data, std::shared_ptr<const void> owner = nullptr);
  static Tensor view(DType dtype, Shape shape, const void* data,
                     std::shared_ptr<const void> owner = nullptr) {
    return view(dtype, std::move(shape), const_cast<void*>(data), std::move(owner));
  }
  template <typename T>
  static Tensor of(Shape shape, std::span<const T> values);
  template <typename T>
  static Tensor of(Shape shape, std::initializer_list<T> values) {
    return of<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
  }
  template <typename T>
  static Tensor scalar(T value) {
    return of<T>({}, {value});
  }

  bool defined() const { return data_ != nullptr || count_ == 0; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t count() const { return count_; }  // elements; -1 for a default-constructed tensor
  int64_t bytes() const { return dtype_bytes(dtype_, count_); }
  void* raw() { return data_; }
  const void* raw() const { return data_; }

  // Elements as T, which must be the tensor's dtype.
  template <typename T>
  std::span<T> as() {
    check(DTypeOf<T>::value);
    return {static_cast<T*>(data_), static_cast<size_t>(count_)};
  }
  template <typename T>
  std::span<const T> as() const {
    check(DTypeOf<T>::value);
    return {static_cast<const T*>(data_), static_cast<size_t>(count_)};
  }

  Tensor clone() const;
  // The same elements under another shape of equal count.
  Tensor reshaped(Shape shape) const;

 private:
  void check(DType expected) const;

  DType dtype_ = DType::kFloat32;
  Shape shape_;
  int64_t count_ = -1;
  void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

// Elements of any integer or float dtype (not 4-bit), converted.
std::vector<int64_t> to_int64(const Tensor& tensor);
std::vector<float> to_float(const Tensor& tensor);
// A float of 16 bits.
inline bool is_half(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}
// float32 rounded to `half`, which is float16 or bfloat16.
Tensor narrowed(const Tensor& floats, DType half);

// Limit on the bytes of all tensors of the process together (--memory-limit); at first the machine's memory.
// Views of mapped files do not count. Thread-safe.
void set_memory_limit(int64_t bytes);
int64_t memory_limit();

template <typename T>
Tensor Tensor::of(Shape shape, std::span<const T> values) {
  Tensor t(DTypeOf<T>::value, std::move(shape));
  if (t.count() != static_cast<int64_t>(values.size()))
    fail(ErrorCode::kInternal, "{} values for a tensor of shape {}", values.size(), to_string(t.shape()));
  for (size_t i = 0; i < values.size(); ++i) t.as<T>()[i] = values[i];
  return t;
}

}  // namespace octet
