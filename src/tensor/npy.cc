#include "tensor/npy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/checked.h"
#include "base/file.h"

namespace octet {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxHeader = 1 << 20;
constexpr int kMaxRank = 64;

struct Descr {
  DType dtype;
  std::string_view text;
};
// numpy has no bfloat16: the extension that adds it (ml_dtypes) stores two bytes without a meaning.
constexpr std::array<Descr, 13> kDescrs{{{DType::kFloat32, "<f4"},
                                         {DType::kFloat16, "<f2"},
                                         {DType::kFloat64, "<f8"},
                                         {DType::kInt8, "|i1"},
                                         {DType::kUInt8, "|u1"},
                                         {DType::kInt16, "<i2"},
                                         {DType::kUInt16, "<u2"},
                                         {DType::kInt32, "<i4"},
                                         {DType::kUInt32, "<u4"},
                                         {DType::kInt64, "<i8"},
                                         {DType::kUInt64, "<u8"},
                                         {DType::kBool, "|b1"},
                                         {DType::kBFloat16, "<V2"}}};

// The header's Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    const auto once = [this](bool& seen) {
      if (seen) bad("a key appears twice");
      seen = true;
    };
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr") {
        once(descr);
        header.dtype = parse_dtype();
      } else if (key == "fortran_order") {
        once(order);
        if (accept("True"))
          header.fortran_order = true;
        else if (!accept("False"))
          bad("fortran_order is neither True nor False");
      } else if (key == "shape") {
        once(shape);
        header.shape = parse_shape();
      } else {
        bad("unknown key");
      }
      if (accept(',')) continue;
      expect('}');
      break;
    }
    skip_space();
    if (position_ != text_.size()) bad("text behind the dictionary");
    if (!descr || !order || !shape) bad("descr, fortran_order or shape is missing");
    return header;
  }

 private:
  [[noreturn]] void bad(std::string_view what) const {
    fail(ErrorCode::kBadFile, "'{}': damaged .npy header: {} (at character {})", name_, what, position_);
  }
  void skip_space() {
    while (position_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[position_]) != std::string_view::npos)
      ++position_;
  }
  bool accept(std::string_view token) {
    skip_space();
    if (!text_.substr(position_).starts_with(token)) return false;
    position_ += token.size();
    return true;
  }
  bool accept(char token) { return accept(std::string_view(&token, 1)); }
  void expect(char token) {
    if (!accept(token)) bad(fmt::format("expected '{}'", token));
  }
  std::string_view quoted() {
    skip_space();
    const char quote = position_ < text_.size() ? text_[position_] : '\0';
    if (quote != '\'' && quote != '"') bad("expected a string");
    const size_t end = text_.find(quote, position_ + 1);
    if (end == std::string_view::npos) bad("string without an end");
    const std::string_view value = text_.substr(position_ + 1, end - position_ - 1);
    position_ = end + 1;
    return value;
  }
  DType parse_dtype() {
    skip_space();
    if (position_ < text_.size() && text_[position_] == '[')
      fail(ErrorCode::kUnsupported, "'{}': structured arrays are not supported", name_);
    const std::string_view text = quoted();
    for (const Descr& d : kDescrs)
      if (text == d.text || ((dtype_bits(d.dtype) == 8 || text == "|V2") && text.size() == 3 &&
                             text.substr(1) == d.text.substr(1)))
        return d.dtype;
    if (text.starts_with('>'))
      fail(ErrorCode::kUnsupported, "'{}': big-endian arrays are not supported ('{}')", name_, text);
    fail(ErrorCode::kUnsupported, "'{}': element type '{}' is not supported; expected numbers or bool", name_,
         text.substr(0, 40));
  }
  Shape parse_shape() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      const size_t first = position_;
      for (; position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9'; ++position_)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text_[position_] - '0', &value))
          bad("a dimension overflows");
      if (position_ == first) bad("expected a dimension >= 0");
      accept('L');  // Python 2
      shape.push_back(value);
      if (shape.size() > kMaxRank) bad("too many dimensions");
      if (accept(',')) continue;
      expect(')');
      break;
    }
    return shape;
  }

  std::string_view text_;
  const std::string& name_;
  size_t position_ = 0;
};

// Elements in C order from `source`, whose first dimension varies fastest.
template <size_t Bytes>
void copy_fortran(const Shape& shape, const std::byte* source, std::byte* target, int64_t count) {
  const size_t rank = shape.size();
  std::array<int64_t, kMaxRank> stride{1}, index{};
  for (size_t d = 1; d < rank; ++d) stride[d] = stride[d - 1] * shape[d - 1];
  int64_t from = 0;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(target + static_cast<size_t>(i) * Bytes, source + static_cast<size_t>(from) * Bytes, Bytes);
    for (size_t d = rank; d-- > 0;) {
      from += stride[d];
      if (++index[d] < shape[d]) break;
      from -= stride[d] * shape[d];
      index[d] = 0;
    }
  }
}

Tensor take_elements(const NpyHeader& header, std::span<const std::byte> data) {
  Tensor tensor(header.dtype, header.shape);
  auto* target = static_cast<std::byte*>(tensor.raw());
  if (tensor.count() == 0) return tensor;
  if (header.fortran_order && header.shape.size() > 1) {
    switch (dtype_bits(header.dtype)) {
      case 8:
        copy_fortran<1>(header.shape, data.data(), target, tensor.count());
        break;
      case 16:
        copy_fortran<2>(header.shape, data.data(), target, tensor.count());
        break;
      case 32:
        copy_fortran<4>(header.shape, data.data(), target, tensor.count());
        break;
      default:
        copy_fortran<8>(header.shape, data.data(), target, tensor.count());
    }
  } else {
    std::memcpy(target, data.data(), data.size());
  }
  if (header.dtype == DType::kBool)
    for (auto* p = target; p != target + tensor.count(); ++p) *p = std::byte{*p != std::byte{0}};
  return tensor;
}

}  // namespace

NpyHeader parse_npy_header(std::span<const std::byte> file, const std::string& name) {
  const auto at = [&](size_t i) { return static_cast<size_t>(file[i]); };
  if (file.size() < 10 || std::memcmp(file.data(), kMagic.data(), kMagic.size()) != 0)
    fail(ErrorCode::kBadFile, "'{}' is not a .npy file", name);
  const size_t version = at(6);
  if (version < 1 || version > 3)
    fail(ErrorCode::kBadFile, "'{}': .npy version {}; expected 1 to 3", name, version);
  const size_t start = version == 1 ? 10 : 12;
  if (file.size() < start) fail(ErrorCode::kBadFile, "'{}': truncated .npy header", name);
  size_t length = at(8) | at(9) << 8;
  if (version > 1) length |= at(10) << 16 | at(11) << 24;
  if (length > kMaxHeader) fail(ErrorCode::kBadFile, "'{}': .npy header of {} bytes", name, length);
  if (length > file.size() - start) fail(ErrorCode::kBadFile, "'{}': truncated .npy header", name);
  NpyHeader header = HeaderText({reinterpret_cast<const char*>(file.data()) + start, length}, name).parse();
  header.data_offset = start + length;
  return header;
}

Tensor parse_npy(std::span<const std::byte> file, const std::string& name) {
  const NpyHeader header = parse_npy_header(file, name);
  const auto data = file.subspan(header.data_offset);
  // A view checks the shape without taking memory.
  const int64_t expected = Tensor::view(header.dtype, header.shape, file.data()).bytes();
  if (static_cast<int64_t>(data.size()) != expected)
    fail(ErrorCode::kBadFile, "'{}': {} bytes of elements, expected {} for {} of shape {}", name, data.size(),
         expected, dtype_name(header.dtype), to_string(header.shape));
  return take_elements(header, data);
}

Tensor read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npy(file.bytes(), path.string());
}

std::map<std::string, Tensor> read_npz(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npz(file.bytes(), path.string());
}

std::string npy_header(DType dtype, const Shape& shape) {
  const auto* descr =
      std::find_if(kDescrs.begin(), kDescrs.end(), [&](const Descr& d) { return d.dtype == dtype; });
  if (descr == kDescrs.end())
    fail(ErrorCode::kUnsupported, "numpy has no {} arrays; convert the tensor first", dtype_name(dtype));
  std::string dims;
  for (size_t i = 0; i < shape.size(); ++i) dims += fmt::format("{}{}", i ? ", " : "", shape[i]);
  if (shape.size() == 1) dims += ",";
  std::string text =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr->text, dims);
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()) + 11, 64)) - 11, ' ');
  text += '\n';
  std::string header(kMagic);
  header += {'\x01', '\x00', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return header + text;
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  if (!tensor.defined()) fail(ErrorCode::kInternal, "cannot write '{}': undefined tensor", path.string());
  const std::string header = npy_header(tensor.dtype(), tensor.shape());
  AtomicFile file(path);
  file.write(header);
  file.write(std::span(static_cast<const std::byte*>(tensor.raw()), static_cast<size_t>(tensor.bytes())));
  file.commit();
}

}  // namespace octet
