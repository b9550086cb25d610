#include "tensor/tensor.h"

#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "tensor/half.h"

namespace octet {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kSpare = 64;  // so that vector loads may run past the last element

// The bytes that all tensors of the process have and may have.
struct Memory {
  std::atomic<int64_t> used{0};
  std::atomic<int64_t> limit{physical_memory()};

  static int64_t physical_memory() {
    return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  }
};

Memory& memory() {
  static Memory memory;
  return memory;
}

// Bytes of `memory()` that a tensor holds; gives them back.
class Share {
 public:
  Share(DType dtype, const Shape& shape, int64_t bytes) : bytes_(bytes) {
    const int64_t limit = memory().limit.load(std::memory_order_relaxed);
    const int64_t before = memory().used.fetch_add(bytes, std::memory_order_relaxed);
    if (bytes <= limit && before <= limit - bytes) return;
    memory().used.fetch_sub(bytes, std::memory_order_relaxed);
    fail(ErrorCode::kOutOfMemory, "a {} tensor of shape {} needs {} bytes, {} are in use; the limit is {}",
         dtype_name(dtype), to_string(shape), bytes, before, limit);
  }
  Share(Share&& other) noexcept : bytes_(std::exchange(other.bytes_, 0)) {}
  Share& operator=(Share&&) = delete;
  ~Share() { memory().used.fetch_sub(bytes_, std::memory_order_relaxed); }

 private:
  int64_t bytes_;
};

int64_t element_count(DType dtype, const Shape& shape) {
  for (int64_t dim : shape)
    if (dim < 0)
      fail(ErrorCode::kInvalidArgument, "negative dimension {} in shape {}", dim, to_string(shape));
  int64_t count = 1;
  bool overflow = false;
  for (int64_t dim : shape) {
    if (dim == 0) return 0;
    overflow |= __builtin_mul_overflow(count, dim, &count);
  }
  int64_t bits;
  if (overflow || __builtin_mul_overflow(count, dtype_bits(dtype), &bits))
    fail(ErrorCode::kInvalidArgument, "size overflow: {} tensor of shape {}", dtype_name(dtype),
         to_string(shape));
  return count;
}

template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_same_v<To, int64_t> && std::is_floating_point_v<From>) {
    if (std::isnan(value)) return 0;
    if (value >= static_cast<From>(0x1p63)) return std::numeric_limits<int64_t>::max();
    if (value < static_cast<From>(-0x1p63)) return std::numeric_limits<int64_t>::min();
  }
  if constexpr (std::is_same_v<To, int64_t> && std::is_same_v<From, uint64_t>)
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return std::numeric_limits<int64_t>::max();
  return static_cast<To>(value);
}

template <typename To>
std::vector<To> convert_all(const Tensor& tensor) {
  if (!tensor.defined()) fail(ErrorCode::kInternal, "conversion of an undefined tensor");
  std::vector<To> result(static_cast<size_t>(tensor.count()));
  const auto each = [&](auto element, auto decode) {
    using From = decltype(element);
    const char* data = static_cast<const char*>(tensor.raw());
    for (size_t i = 0; i < result.size(); ++i) {
      From value;  // views may be unaligned
      std::memcpy(&value, data + i * sizeof(From), sizeof value);
      result[i] = convert<To>(decode(value));
    }
  };
  const auto plain = [&](auto element) { each(element, [](auto value) { return value; }); };
  switch (tensor.dtype()) {
    case DType::kFloat32:
      plain(float{});
      break;
    case DType::kFloat64:
      plain(double{});
      break;
    case DType::kFloat16:
      each(uint16_t{}, half_to_float);
      break;
    case DType::kBFloat16:
      each(uint16_t{}, bfloat16_to_float);
      break;
    case DType::kInt8:
      plain(int8_t{});
      break;
    case DType::kUInt8:
      plain(uint8_t{});
      break;
    case DType::kInt16:
      plain(int16_t{});
      break;
    case DType::kUInt16:
      plain(uint16_t{});
      break;
    case DType::kInt32:
      plain(int32_t{});
      break;
    case DType::kUInt32:
      plain(uint32_t{});
      break;
    case DType::kInt64:
      plain(int64_t{});
      break;
    case DType::kUInt64:
      plain(uint64_t{});
      break;
    case DType::kBool:
      each(uint8_t{}, [](uint8_t value) { return static_cast<uint8_t>(value != 0); });
      break;
    case DType::kInt4:
    case DType::kUInt4:
      fail(ErrorCode::kUnsupported, "a tensor of {} must be unpacked before it is converted",
           dtype_name(tensor.dtype()));
  }
  return result;
}

}  // namespace

std::string to_string(const Shape& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (int64_t dim : shape) text += fmt::format("{}{}", text.empty() ? "" : "x", dim);
  return text;
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  count_ = element_count(dtype_, shape_);
  const int64_t size = dtype_bytes(dtype_, count_);
  Share share(dtype_, shape_, size);
  // calloc leaves large blocks to the kernel's zero pages: untouched parts cost nothing.
  void* block = std::calloc(1, static_cast<size_t>(size + kSpare + kAlignment));
  if (block == nullptr)
    fail(ErrorCode::kOutOfMemory, "out of memory: {} bytes for a {} tensor of shape {}", size,
         dtype_name(dtype_), to_string(shape_));
  owner_ = std::shared_ptr<const void>(
      block, [share = std::move(share)](const void* p) { std::free(const_cast<void*>(p)); });
  const auto address = reinterpret_cast<uintptr_t>(block);
  data_ = static_cast<char*>(block) + (kAlignment - static_cast<int64_t>(address % kAlignment)) % kAlignment;
}

Tensor Tensor::view(DType dtype, Shape shape, void* data, std::shared_ptr<const void> owner) {
  Tensor t;
  t.dtype_ = dtype;
  t.count_ = element_count(dtype, shape);
  t.shape_ = std::move(shape);
  if (data == nullptr && t.count_ > 0)
    fail(ErrorCode::kInternal, "view of nothing as a tensor of shape {}", to_string(t.shape_));
  t.data_ = data;
  t.owner_ = std::move(owner);
  return t;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor copy(dtype_, shape_);
  if (bytes() > 0) std::memcpy(copy.raw(), data_, static_cast<size_t>(bytes()));
  return copy;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (!defined()) fail(ErrorCode::kInternal, "reshape of an undefined tensor");
  if (element_count(dtype_, shape) != count_)
    fail(ErrorCode::kInvalidArgument, "cannot reshape {} ({} elements) to {}", to_string(shape_), count_,
         to_string(shape));
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

void Tensor::check(DType expected) const {
  if (!defined()) fail(ErrorCode::kInternal, "access to an undefined tensor");
  if (dtype_ != expected)
    fail(ErrorCode::kInvalidArgument, "tensor of shape {} holds {}, expected {}", to_string(shape_),
         dtype_name(dtype_), dtype_name(expected));
}

std::vector<int64_t> to_int64(const Tensor& tensor) {
  return convert_all<int64_t>(tensor);
}
std::vector<float> to_float(const Tensor& tensor) {
  return convert_all<float>(tensor);
}

Tensor narrowed(const Tensor& floats, DType half) {
  const auto encode = half == DType::kFloat16 ? float_to_half : float_to_bfloat16;
  Tensor out(half, floats.shape());
  auto* words = static_cast<uint16_t*>(out.raw());
  for (const float v : floats.as<float>()) *words++ = encode(v);
  return out;
}

void set_memory_limit(int64_t bytes) {
  if (bytes <= 0)
    fail(ErrorCode::kInvalidArgument, "memory limit {}; expected a positive number of bytes", bytes);
  memory().limit.store(bytes, std::memory_order_relaxed);
}

int64_t memory_limit() {
  return memory().limit.load(std::memory_order_relaxed);
}

}  // namespace octet
