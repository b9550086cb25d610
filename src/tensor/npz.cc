#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/checked.h"
#include "tensor/npy.h"

namespace octet {
namespace {

constexpr uint64_t kMaxRatio = 1100;  // deflate reaches 1032
constexpr uint64_t kMaxMembers = 1 << 16;

struct Member {
  std::string name;
  int method = 0;
  uint32_t crc = 0;
  uint64_t packed = 0, size = 0, offset = 0;
};

// Bounded access to the archive.
class Zip {
 public:
  Zip(std::span<const std::byte> file, const std::string& name) : file_(file), name_(name) {}

  std::vector<Member> members() const {
    uint64_t count, size, offset;
    find_directory(count, size, offset);
    if (count > kMaxMembers) bad("too many members");
    if (offset > file_.size() || size > file_.size() - offset) bad("its directory lies outside the file");
    std::vector<Member> members;
    uint64_t at = offset, total = 0;
    for (uint64_t i = 0; i < count; ++i) {
      members.push_back(entry(at));
      if (members.back().packed > file_.size()) bad("truncated");
      total += members.back().packed;
      if (total > file_.size()) bad("members overlap");
    }
    return members;
  }

  // The packed bytes of a member.
  std::span<const std::byte> content(const Member& m) const {
    if (number<uint32_t>(m.offset) != 0x04034b50) bad("member '" + m.name + "' is damaged");
    const uint64_t start = m.offset + 30 + number<uint16_t>(m.offset + 26) + number<uint16_t>(m.offset + 28);
    need(start, m.packed);
    return file_.subspan(start, m.packed);
  }

  [[noreturn]] void bad(const std::string& what) const {
    fail(ErrorCode::kBadFile, "'{}': damaged .npz: {}", name_, what);
  }

 private:
  void need(uint64_t at, uint64_t bytes) const {
    if (at > file_.size() || bytes > file_.size() - at) bad("truncated");
  }
  template <typename T>
  T number(uint64_t at) const {
    need(at, sizeof(T));
    T value;
    std::memcpy(&value, file_.data() + at, sizeof value);
    return value;
  }

  void find_directory(uint64_t& count, uint64_t& size, uint64_t& offset) const {
    constexpr uint64_t kEnd = 22, kLocator = 20;
    if (file_.size() < kEnd) fail(ErrorCode::kBadFile, "'{}' is not a .npz file", name_);
    const uint64_t last = file_.size() - kEnd;
    const uint64_t first = last > 0xffff ? last - 0xffff : 0;
    for (uint64_t at = last + 1; at-- > first;) {
      if (number<uint32_t>(at) != 0x06054b50) continue;
      if (number<uint16_t>(at + 20) != last - at) continue;  // the length of the comment
      count = number<uint16_t>(at + 10);
      size = number<uint32_t>(at + 12);
      offset = number<uint32_t>(at + 16);
      if ((count == 0xffff || size == 0xffffffff || offset == 0xffffffff) && at >= kLocator &&
          number<uint32_t>(at - kLocator) == 0x07064b50) {
        const auto zip64 = number<uint64_t>(at - kLocator + 8);
        if (number<uint32_t>(zip64) != 0x06064b50) bad("its zip64 directory is missing");
        count = number<uint64_t>(zip64 + 32);
        size = number<uint64_t>(zip64 + 40);
        offset = number<uint64_t>(zip64 + 48);
      }
      return;
    }
    fail(ErrorCode::kBadFile, "'{}' is not a .npz file, or is truncated (no zip directory)", name_);
  }

  Member entry(uint64_t& at) const {
    if (number<uint32_t>(at) != 0x02014b50) bad("its directory is damaged");
    Member m;
    const auto flags = number<uint16_t>(at + 8);
    m.method = number<uint16_t>(at + 10);
    m.crc = number<uint32_t>(at + 16);
    m.packed = number<uint32_t>(at + 20);
    m.size = number<uint32_t>(at + 24);
    const uint64_t name = number<uint16_t>(at + 28), extra = number<uint16_t>(at + 30),
                   comment = number<uint16_t>(at + 32);
    m.offset = number<uint32_t>(at + 42);
    need(at + 46, name + extra + comment);
    m.name.assign(reinterpret_cast<const char*>(file_.data()) + at + 46, name);
    if (flags & 1) fail(ErrorCode::kUnsupported, "'{}': member '{}' is encrypted", name_, m.name);
    read_zip64(m, at + 46 + name, extra);
    at += 46 + name + extra + comment;
    return m;
  }

  // Fields of 0xffffffff stand in the extra field 1, in this order.
  void read_zip64(Member& m, uint64_t at, uint64_t bytes) const {
    const uint64_t end = at + bytes;
    while (at + 4 <= end) {
      const auto id = number<uint16_t>(at);
      const uint64_t field_end = at + 4 + number<uint16_t>(at + 2);
      if (field_end > end) bad("member '" + m.name + "' has a damaged extra field");
      at += 4;
      if (id == 1)
        for (uint64_t* value : {&m.size, &m.packed, &m.offset}) {
          if (*value != 0xffffffff) continue;
          if (at + 8 > field_end) bad("member '" + m.name + "' has a damaged extra field");
          *value = number<uint64_t>(at);
          at += 8;
        }
      at = field_end;
    }
  }

  std::span<const std::byte> file_;
  const std::string& name_;
};

// Inflates exactly `size` bytes.
Tensor inflate_member(std::span<const std::byte> packed, uint64_t size, const std::string& what) {
  Tensor result(DType::kUInt8, {static_cast<int64_t>(size)});
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
    fail(ErrorCode::kOutOfMemory, "'{}': cannot start zlib", what);
  struct Ender {
    z_stream& stream;
    ~Ender() { inflateEnd(&stream); }
  } ender{stream};
  constexpr uint64_t kPart = 1u << 30;
  auto* target = static_cast<Bytef*>(result.raw());
  uint64_t in = 0, out = 0;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data() + in));
    stream.avail_in = static_cast<uInt>(std::min<uint64_t>(packed.size() - in, kPart));
    stream.next_out = target + out;
    // One byte of the tensor's spare room shows when there is more than was declared.
    stream.avail_out = static_cast<uInt>(std::min<uint64_t>(size + 1 - out, kPart));
    const uInt before_in = stream.avail_in, before_out = stream.avail_out;
    status = inflate(&stream, Z_NO_FLUSH);
    in += before_in - stream.avail_in;
    out += before_out - stream.avail_out;
    if (out > size) fail(ErrorCode::kBadFile, "'{}': longer than the {} bytes declared", what, size);
    const bool progress = stream.avail_in != before_in || stream.avail_out != before_out;
    if (status != Z_STREAM_END && (status != Z_OK || !progress))
      fail(ErrorCode::kBadFile, "'{}': damaged or truncated compressed data", what);
  }
  if (out != size) fail(ErrorCode::kBadFile, "'{}': {} bytes, {} declared", what, out, size);
  return result;
}

uint32_t checksum(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(
      crc32_z(crc32_z(0, nullptr, 0), reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

std::map<std::string, Tensor> parse_npz(std::span<const std::byte> file, const std::string& name) {
  const Zip zip(file, name);
  std::map<std::string, Tensor> arrays;
  for (const Member& m : zip.members()) {
    const std::string what = name + ":" + m.name;
    if (!m.name.ends_with(".npy")) fail(ErrorCode::kBadFile, "'{}' is not an array (.npy)", what);
    if (m.method != 0 && m.method != Z_DEFLATED)
      fail(ErrorCode::kUnsupported, "'{}': compression method {}; expected stored or deflated", what,
           m.method);
    std::span<const std::byte> bytes = zip.content(m);
    Tensor inflated;
    if (m.method == Z_DEFLATED) {
      if (m.size / kMaxRatio > m.packed)
        fail(ErrorCode::kBadFile, "'{}': {} bytes declared for {} compressed ones", what, m.size, m.packed);
      inflated = inflate_member(bytes, m.size, what);
      bytes = {static_cast<const std::byte*>(inflated.raw()), static_cast<size_t>(m.size)};
    } else if (m.packed != m.size) {
      zip.bad("member '" + m.name + "' has two sizes");
    }
    if (checksum(bytes) != m.crc) fail(ErrorCode::kBadFile, "'{}': checksum does not match", what);
    Tensor array = parse_npy(bytes, what);
    if (!arrays.emplace(m.name.substr(0, m.name.size() - 4), std::move(array)).second)
      fail(ErrorCode::kBadFile, "'{}' appears twice", what);
  }
  return arrays;
}

}  // namespace octet
