// Structure of image files. Sources: ITU-T T.81 (JPEG), W3C PNG third edition, Microsoft BITMAPINFOHEADER,
// WebP container specification (RFC 9649), Netpbm, TIFF 6.0.
#include <zlib.h>

#include <cstring>

#include "base/error.h"
#include "data/image.h"

namespace octet {
namespace {

// Each scan of a progressive JPEG costs a pass over all pixels; encoders write about ten.
constexpr int kMaxScans = 500;

class Checker {
 public:
  Checker(std::span<const std::byte> file, const std::string& name)
      : data_(reinterpret_cast<const uint8_t*>(file.data())), size_(file.size()), name_(name) {}

  ImageInfo check() {
    if (size_ == 0) bad("the file is empty");
    if (static_cast<int64_t>(size_) > kMaxImageBytes)
      bad(fmt::format("larger than {} bytes", kMaxImageBytes));
    if (starts_with("\xff\xd8\xff"))
      jpeg();
    else if (starts_with("\x89PNG\r\n\x1a\n"))
      png();
    else if (starts_with("BM"))
      bmp();
    else if (starts_with("RIFF") && size_ >= 12 && std::memcmp(data_ + 8, "WEBP", 4) == 0)
      webp();
    else if (size_ > 2 && data_[0] == 'P' && data_[1] >= '1' && data_[1] <= '6')
      netpbm();
    else if (starts_with("II") || starts_with("MM"))
      tiff();
    else
      bad("not an image (JPEG, PNG, BMP, WebP, PPM or TIFF)");
    if (info_.width <= 0 || info_.height <= 0)
      bad(fmt::format("its size is {}x{}", info_.width, info_.height));
    if (info_.width > kMaxImagePixels || info_.height > kMaxImagePixels / info_.width)
      bad(fmt::format("{}x{} pixels; the limit is {} pixels", info_.width, info_.height, kMaxImagePixels));
    return info_;
  }

 private:
  void check_size() const {
    if (info_.width <= 0 || info_.height <= 0)
      bad(fmt::format("its size is {}x{}", info_.width, info_.height));
    if (info_.width > kMaxImagePixels || info_.height > kMaxImagePixels / info_.width)
      bad(fmt::format("{}x{} pixels; the limit is {} pixels", info_.width, info_.height, kMaxImagePixels));
  }

  [[noreturn]] void bad(std::string_view reason) const {
    fail(ErrorCode::kBadFile, "cannot decode '{}': {}", name_, reason);
  }
  [[noreturn]] void truncated(std::string_view what) const { bad(fmt::format("truncated ({})", what)); }

  bool starts_with(std::string_view magic) const {
    return size_ >= magic.size() && std::memcmp(data_, magic.data(), magic.size()) == 0;
  }
  // `bytes` bytes at `at`, most significant first or last.
  uint32_t number(size_t at, int bytes, bool big) const {
    if (at > size_ || static_cast<size_t>(bytes) > size_ - at) truncated("header");
    uint32_t value = 0;
    for (int i = 0; i < bytes; ++i)
      value |= uint32_t{data_[at + static_cast<size_t>(i)]} << 8 * (big ? bytes - 1 - i : i);
    return value;
  }
  uint32_t big(size_t at, int bytes) const { return number(at, bytes, true); }
  uint32_t little(size_t at, int bytes) const { return number(at, bytes, false); }

  void jpeg() {
    info_.format = "JPEG";
    size_t at = 2;
    int scans = 0;
    for (;;) {
      // In a scan, FF is followed by 0 (a data byte) or by a restart marker; anything else ends it.
      const auto* found =
          at < size_ ? static_cast<const uint8_t*>(std::memchr(data_ + at, 0xff, size_ - at)) : nullptr;
      if (found == nullptr || found + 1 >= data_ + size_) truncated("no end marker");
      at = static_cast<size_t>(found - data_) + 1;
      const uint8_t marker = data_[at];
      if (marker == 0xff) continue;  // fill
      ++at;
      if (marker == 0 || marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
      if (marker == 0xd9) break;
      if (size_ - at < 2) truncated("no end marker");
      const size_t length = big(at, 2);
      if (length < 2) bad("a marker has a length below 2");
      if (length > size_ - at) truncated("no end marker");
      if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc &&
          info_.width == 0) {
        info_.height = big(at + 3, 2);
        info_.width = big(at + 5, 2);
      }
      if (marker == 0xe1 && length >= 8 && std::memcmp(data_ + at + 2, "Exif\0", 6) == 0) info_.exif = true;
      if (marker == 0xda && ++scans > kMaxScans) bad(fmt::format("a JPEG of more than {} scans", kMaxScans));
      at += length;
    }
    if (scans == 0 || info_.width == 0) bad("a JPEG without an image");
  }

  void png() {
    info_.format = "PNG";
    size_t at = 8;
    bool data = false;
    for (;;) {
      if (size_ - at < 12) truncated("no IEND");
      const size_t length = big(at, 4);
      if (length > size_ - at - 12) truncated("no IEND");
      const std::string_view type(reinterpret_cast<const char*>(data_) + at + 4, 4);
      const auto crc = static_cast<uint32_t>(crc32_z(crc32_z(0, nullptr, 0), data_ + at + 4, length + 4));
      const bool critical = (data_[at + 4] & 0x20) == 0;
      if (critical && crc != big(at + 8 + length, 4))
        bad(fmt::format("checksum of a PNG chunk at byte {} does not match", at));
      if (type == "IHDR" && length >= 8) {
        info_.width = big(at + 8, 4);
        info_.height = big(at + 12, 4);
      } else if (at == 8) {
        bad("a PNG without IHDR");
      }
      data |= type == "IDAT";
      if (type == "IEND") break;
      at += 12 + length;
    }
    if (!data) bad("a PNG without pixels");
  }

  void bmp() {
    info_.format = "BMP";
    const int64_t pixels = little(10, 4);
    const uint32_t header = little(14, 4);
    const bool old = header == 12;
    info_.width = old ? little(18, 2) : static_cast<int32_t>(little(18, 4));
    info_.height = old ? little(20, 2) : std::abs(int64_t{static_cast<int32_t>(little(22, 4))});
    const int64_t bits = little(old ? 24 : 28, 2);
    const uint32_t compression = old ? 0 : little(30, 4);
    const bool known_depth = bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32;
    if ((!old && (header < 36 || header > 256)) || !known_depth || compression > 3 || pixels < 14 + header)
      bad("damaged BMP header");
    const bool run_length = compression == 1 || compression == 2;
    check_size();
    const int64_t row = (info_.width * bits + 31) / 32 * 4;
    if (!run_length && pixels + row * info_.height > static_cast<int64_t>(size_)) truncated("rows missing");
  }

  void webp() {
    info_.format = "WebP";
    if (little(4, 4) > size_ - 8) truncated("shorter than its RIFF size");
    const std::string_view type(reinterpret_cast<const char*>(data_) + 12, size_ >= 16 ? 4 : 0);
    if (type == "VP8X") {
      info_.width = little(24, 3) + 1;
      info_.height = little(27, 3) + 1;
    } else if (type == "VP8L") {
      const uint32_t bits = little(21, 4);
      info_.width = (bits & 0x3fff) + 1;
      info_.height = ((bits >> 14) & 0x3fff) + 1;
    } else if (type == "VP8 ") {
      info_.width = little(26, 2) & 0x3fff;
      info_.height = little(28, 2) & 0x3fff;
    } else {
      bad("a WebP without an image");
    }
  }

  void netpbm() {
    info_.format = "PPM";
    const int kind = data_[1] - '0';
    size_t at = 2;
    const auto next = [&] {
      for (bool comment = false; at < size_; ++at) {
        const uint8_t c = data_[at];
        if (c == '#')
          comment = true;
        else if (c == '\n')
          comment = false;
        else if (!comment && c >= '0' && c <= '9')
          break;
        else if (!comment && c != ' ' && c != '\t' && c != '\r')
          bad("damaged PPM header");
      }
      if (at >= size_) truncated("header");
      int64_t value = 0;
      for (; at < size_ && data_[at] >= '0' && data_[at] <= '9'; ++at)
        if ((value = value * 10 + data_[at] - '0') > 1'000'000'000) bad("damaged PPM header");
      return value;
    };
    info_.width = next();
    info_.height = next();
    check_size();
    const bool bitmap = kind == 1 || kind == 4;
    const int64_t maximum = bitmap ? 1 : next();
    if (maximum < 1 || maximum > 65535) bad("damaged PPM header");
    const int64_t channels = kind == 3 || kind == 6 ? 3 : 1;
    // The plain formats take at least one character a sample.
    const int64_t row =
        kind == 4 ? (info_.width + 7) / 8 : info_.width * channels * (kind > 3 && maximum > 255 ? 2 : 1);
    if (row * info_.height > static_cast<int64_t>(size_ - at) - (kind > 3 ? 1 : 0)) truncated("rows missing");
  }

  void tiff() {
    info_.format = "TIFF";
    const bool motorola = data_[0] == 'M';
    const auto read = [&](size_t at, int bytes) { return number(at, bytes, motorola); };
    const uint32_t version = read(2, 2);
    if (version == 43) bad("BigTIFF is not supported");
    if (version != 42) bad("not an image (JPEG, PNG, BMP, WebP, PPM or TIFF)");
    const size_t directory = read(4, 4);
    const size_t entries = read(directory, 2);
    size_t offsets = 0, lengths = 0;
    for (size_t i = 0; i < entries; ++i) {
      const size_t at = directory + 2 + 12 * i;
      const uint32_t tag = read(at, 2), type = read(at + 2, 2);
      if (tag == 256) info_.width = read(at + 8, type == 3 ? 2 : 4);
      if (tag == 257) info_.height = read(at + 8, type == 3 ? 2 : 4);
      if (tag == 273 || tag == 324) offsets = at;
      if (tag == 279 || tag == 325) lengths = at;
    }
    if (offsets == 0 || lengths == 0) bad("a TIFF without an image");
    const size_t count = read(offsets + 4, 4);
    if (count != read(lengths + 4, 4) || count > size_) bad("damaged TIFF directory");
    const auto element = [&](size_t entry, size_t i) -> uint64_t {
      const int bytes = read(entry + 2, 2) == 3 ? 2 : 4;
      const size_t start = count * static_cast<size_t>(bytes) <= 4 ? entry + 8 : read(entry + 8, 4);
      return read(start + i * static_cast<size_t>(bytes), bytes);
    };
    for (size_t i = 0; i < count; ++i)
      if (element(offsets, i) + element(lengths, i) > size_) truncated("pixels missing");
  }

  const uint8_t* data_;
  size_t size_;
  const std::string& name_;
  ImageInfo info_;
};

}  // namespace

ImageInfo check_image(std::span<const std::byte> file, const std::string& name) {
  return Checker(file, name).check();
}

}  // namespace octet
