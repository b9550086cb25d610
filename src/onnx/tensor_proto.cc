#include "onnx/tensor_proto.h"

#include <charconv>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "ops/support.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
constexpr int kMaxRank = 32;
// Smaller ones are cheaper as copies than as a reference to the file.
constexpr int64_t kMinView = 4096;

size_t alignment(DType dtype) {
  return static_cast<size_t>(std::max(8, dtype_bits(dtype)) / 8);
}

// Booleans are stored as bytes of which only 0 and 1 may be read as bool.
void normalize_bools(Tensor& tensor) {
  if (tensor.dtype() != DType::kBool) return;
  auto* bytes = static_cast<uint8_t*>(tensor.raw());
  for (int64_t i = 0; i < tensor.count(); ++i) bytes[i] = bytes[i] != 0 ? 1 : 0;
}

Tensor from_bytes(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
                  const std::shared_ptr<const void>& owner) {
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % alignment(dtype) == 0;
  if (owner && aligned && dtype != DType::kBool && static_cast<int64_t>(bytes.size()) >= kMinView)
    return Tensor::view(dtype, shape, static_cast<const void*>(bytes.data()), owner);
  Tensor tensor(dtype, shape);
  if (!bytes.empty()) std::memcpy(tensor.raw(), bytes.data(), bytes.size());
  normalize_bools(tensor);
  return tensor;
}

template <typename To, typename List>
void copy_checked(const List& list, Tensor& tensor, const std::string& what) {
  To* out = static_cast<To*>(tensor.raw());
  for (int i = 0; i < list.size(); ++i) {
    const auto value = list.Get(i);
    if constexpr (std::is_integral_v<To>)
      if (!std::in_range<To>(value))
        fail(ErrorCode::kBadFile, "{}: element {} is {}, which {} cannot hold", what, i, value,
             dtype_name(tensor.dtype()));
    out[i] = static_cast<To>(value);
  }
}

Tensor from_lists(const onnx_pb::TensorProto& proto, DType dtype, const Shape& shape, int64_t count,
                  const std::string& what) {
  const bool four_bit = dtype_bits(dtype) == 4;
  const int64_t expected = four_bit ? (count + 1) / 2 : count;
  const auto require = [&](int64_t found) {
    if (found != expected)
      fail(ErrorCode::kBadFile, "{}: {} elements of data for shape {}", what, found, to_string(shape));
  };
  // Checked before anything is allocated.
  switch (dtype) {
    case DType::kFloat32:
      require(proto.float_data_size());
      break;
    case DType::kFloat64:
      require(proto.double_data_size());
      break;
    case DType::kInt64:
      require(proto.int64_data_size());
      break;
    case DType::kUInt32:
    case DType::kUInt64:
      require(proto.uint64_data_size());
      break;
    default:
      require(proto.int32_data_size());
  }
  Tensor tensor(dtype, shape);
  switch (dtype) {
    case DType::kFloat32:
      copy_checked<float>(proto.float_data(), tensor, what);
      break;
    case DType::kFloat64:
      copy_checked<double>(proto.double_data(), tensor, what);
      break;
    case DType::kInt64:
      copy_checked<int64_t>(proto.int64_data(), tensor, what);
      break;
    case DType::kUInt32:
      copy_checked<uint32_t>(proto.uint64_data(), tensor, what);
      break;
    case DType::kUInt64:
      copy_checked<uint64_t>(proto.uint64_data(), tensor, what);
      break;
    case DType::kInt32:
      copy_checked<int32_t>(proto.int32_data(), tensor, what);
      break;
    case DType::kInt16:
      copy_checked<int16_t>(proto.int32_data(), tensor, what);
      break;
    case DType::kInt8:
      copy_checked<int8_t>(proto.int32_data(), tensor, what);
      break;
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      copy_checked<uint16_t>(proto.int32_data(), tensor, what);
      break;
    case DType::kUInt8:
    case DType::kBool:
    case DType::kUInt4:
      copy_checked<uint8_t>(proto.int32_data(), tensor, what);
      break;
    case DType::kInt4: {
      // A byte of two nibbles, written with or without its sign.
      auto* out = static_cast<uint8_t*>(tensor.raw());
      for (int i = 0; i < proto.int32_data_size(); ++i) out[i] = static_cast<uint8_t>(proto.int32_data(i));
      break;
    }
  }
  normalize_bools(tensor);
  return tensor;
}

int64_t parse_number(const std::string& text, const std::string& what) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0)
    fail(ErrorCode::kBadFile, "{}: \"{}\" is not an offset or length of external data", what,
         text.substr(0, 40));
  return value;
}

Tensor from_external(const onnx_pb::TensorProto& proto, DType dtype, const Shape& shape, int64_t bytes,
                     const std::string& what, ExternalFiles& files) {
  std::string location;
  int64_t offset = 0;
  std::optional<int64_t> length;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset") offset = parse_number(entry.value(), what);
    if (entry.key() == "length") length = parse_number(entry.value(), what);
  }
  try {
    const MappedFile& file = files.open(location);
    const auto size = static_cast<int64_t>(file.bytes().size());
    if (offset > size || bytes > size - offset || length.value_or(bytes) != bytes)
      fail(ErrorCode::kBadFile, "needs {} bytes, '{}' has {} from offset {} of {}{}", bytes, location,
           std::max<int64_t>(size - offset, 0), offset, size,
           length ? fmt::format(", and the model says {}", *length) : "");
    return from_bytes(dtype, shape,
                      file.bytes().subspan(static_cast<size_t>(offset), static_cast<size_t>(bytes)),
                      std::make_shared<MappedFile>(file));
  } catch (const Error& error) {
    throw Error(error.code(), what + ": external data: " + error.message());
  }
}

// UINT2 and INT2 of ONNX: four elements a byte, low bits first. The 4-bit types hold the same numbers.
std::optional<DType> two_bit_type(int32_t code) {
  constexpr int32_t kUInt2 = 25, kInt2 = 26;
  if (code == kUInt2) return DType::kUInt4;
  if (code == kInt2) return DType::kInt4;
  return std::nullopt;
}

Tensor widen_two_bits(const Tensor& packed, DType dtype, const Shape& shape) {
  Tensor wide(dtype, shape);
  const auto* from = packed.as<uint8_t>().data();
  auto* to = static_cast<uint8_t*>(wide.raw());
  for (int64_t i = 0; i < wide.count(); ++i) {
    int value = from[i / 4] >> (i % 4 * 2) & 3;
    if (dtype == DType::kInt4 && value > 1) value -= 4;
    to[i / 2] = static_cast<uint8_t>(to[i / 2] | (value & 15) << (i % 2 * 4));
  }
  return wide;
}

}  // namespace

const MappedFile& ExternalFiles::open(const std::string& location) {
  if (const auto found = open_.find(location); found != open_.end()) return found->second;
  const fs::path path(location);
  bool inside = !location.empty() && location.find('\0') == std::string::npos && path.is_relative();
  for (const fs::path& part : path) inside = inside && part != "..";
  if (!inside)
    fail(ErrorCode::kBadFile, "the location \"{}\" is not a path inside the model's folder",
         location.substr(0, 200));
  std::error_code error;
  const fs::path root = fs::canonical(folder_.empty() ? fs::path(".") : folder_, error);
  if (error) fail(ErrorCode::kNotFound, "folder '{}': {}", folder_.string(), error.message());
  const fs::path target = fs::canonical(root / path, error);
  if (error) fail(ErrorCode::kNotFound, "'{}': {}", (root / path).string(), error.message());
  const fs::path relative = target.lexically_relative(root);
  if (relative.empty() || *relative.begin() == ".." || !fs::is_regular_file(target, error))
    fail(ErrorCode::kBadFile, "the location \"{}\" leaves the model's folder", location.substr(0, 200));
  return open_.emplace(location, MappedFile(target)).first->second;
}

Tensor read_tensor(const onnx_pb::TensorProto& proto, const std::string& what, ExternalFiles& files,
                   std::optional<std::span<const std::byte>> payload,
                   const std::shared_ptr<const void>& owner) {
  if (proto.data_type() == 8) fail(ErrorCode::kUnsupported, "{}: tensors of strings are not supported", what);
  if (const auto wide = two_bit_type(proto.data_type()); wide && proto.dims_size() <= kMaxRank) {
    const Shape shape(proto.dims().begin(), proto.dims().end());
    onnx_pb::TensorProto bytes = proto;
    bytes.set_data_type(static_cast<int32_t>(dtype_to_onnx(DType::kUInt8)));
    bytes.clear_dims();
    try {
      bytes.add_dims((checked_product(shape) + 3) / 4);
    } catch (const Error& error) {
      throw Error(ErrorCode::kBadFile, what + ": " + error.message());
    }
    return widen_two_bits(read_tensor(bytes, what, files, payload, owner), *wide, shape);
  }
  const std::optional<DType> dtype = dtype_from_onnx(proto.data_type());
  if (!dtype)
    fail(ErrorCode::kUnsupported, "{}: element type {} of ONNX is not supported", what, proto.data_type());
  if (proto.has_segment()) fail(ErrorCode::kUnsupported, "{}: tensors in segments are not supported", what);
  if (proto.dims_size() > kMaxRank)
    fail(ErrorCode::kUnsupported, "{}: rank {}, supported are {}", what, proto.dims_size(), kMaxRank);
  const Shape shape(proto.dims().begin(), proto.dims().end());
  int64_t count = 0, bytes = 0;
  try {
    count = checked_product(shape);
    checked_mul(count, dtype_bits(*dtype));
    bytes = dtype_bytes(*dtype, count);
  } catch (const Error& error) {
    throw Error(ErrorCode::kBadFile, what + ": " + error.message());
  }
  if (proto.data_location() == onnx_pb::TensorProto::EXTERNAL)
    return from_external(proto, *dtype, shape, bytes, what, files);
  const bool lifted = payload.has_value();
  if (!lifted && proto.has_raw_data())
    payload = std::as_bytes(std::span<const char>(proto.raw_data().data(), proto.raw_data().size()));
  if (!payload) return from_lists(proto, *dtype, shape, count, what);
  if (static_cast<int64_t>(payload->size()) != bytes)
    fail(ErrorCode::kBadFile, "{}: {} bytes of data, but shape {} of {} needs {}", what, payload->size(),
         to_string(shape), dtype_name(*dtype), bytes);
  return from_bytes(*dtype, shape, *payload, lifted ? owner : nullptr);
}

void write_tensor_header(const Tensor& tensor, const std::string& name, onnx_pb::TensorProto& proto) {
  for (const int64_t dim : tensor.shape()) proto.add_dims(dim);
  proto.set_data_type(static_cast<int32_t>(dtype_to_onnx(tensor.dtype())));
  if (!name.empty()) proto.set_name(name);
}

void write_tensor(const Tensor& tensor, const std::string& name, onnx_pb::TensorProto& proto) {
  write_tensor_header(tensor, name, proto);
  proto.set_raw_data(tensor.raw(), static_cast<size_t>(tensor.bytes()));
}

}  // namespace octet
