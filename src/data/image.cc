#include "data/image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>

#include "base/error.h"
#include "data/codecs.h"
#include "data/jpeg.h"

namespace octet {
namespace {

// A PNG without its decorative chunks: libpng prints warnings about damaged colour profiles and the like.
std::vector<uint8_t> essential_png(std::span<const std::byte> file) {
  constexpr std::array<std::string_view, 6> kKept{"IHDR", "PLTE", "tRNS", "IDAT", "IEND", "eXIf"};
  const auto* data = reinterpret_cast<const uint8_t*>(file.data());
  std::vector<uint8_t> out(data, data + 8);
  out.reserve(file.size());
  for (size_t at = 8; at + 12 <= file.size();) {  // check_image proved that the chunks fit
    const size_t bytes =
        12 + (size_t{data[at]} << 24 | size_t{data[at + 1]} << 16 | size_t{data[at + 2]} << 8 | data[at + 3]);
    const std::string_view type(reinterpret_cast<const char*>(data) + at + 4, 4);
    if (std::find(kKept.begin(), kKept.end(), type) != kKept.end())
      out.insert(out.end(), data + at, data + at + bytes);
    if (type == "IEND") break;
    at += bytes;
  }
  return out;
}

}  // namespace

bool has_image_extension(std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string extension(name.substr(dot));
  for (char& c : extension)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  constexpr std::array<std::string_view, 8> kExtensions{".jpg",  ".jpeg", ".png", ".bmp",
                                                        ".webp", ".ppm",  ".tif", ".tiff"};
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

cv::Mat decode_image(std::span<const std::byte> file, const std::string& name) {
  const ImageInfo info = check_image(file, name);
  if (info.format == "JPEG" && !info.exif) {
    cv::Mat image = decode_plain_jpeg(file);
    if (!image.empty()) return image;
  }
  cv::Mat image;
  try {
    std::vector<uint8_t> png;
    const void* data = file.data();
    size_t size = file.size();
    if (info.format == "PNG") {
      png = essential_png(file);
      data = png.data();
      size = png.size();
    }
    const cv::Mat bytes(1, static_cast<int>(size), CV_8U, const_cast<void*>(data));
    image = decode_pixels(bytes, cv::IMREAD_COLOR);
  } catch (const cv::Exception& error) {
    fail(ErrorCode::kBadFile, "cannot decode '{}': {}", name, error.err);
  }
  if (image.empty()) fail(ErrorCode::kBadFile, "cannot decode '{}': damaged {} data", name, info.format);
  return image;
}

void quiet_opencv() {
  static std::once_flag once;
  std::call_once(once, [] {
    cv::setNumThreads(1);
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  });
}

}  // namespace octet
