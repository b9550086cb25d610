// Image files: checked, then decoded by libjpeg-turbo or OpenCV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <opencv2/core.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

inline constexpr int64_t kMaxImageBytes = int64_t{256} << 20;
inline constexpr int64_t kMaxImagePixels = 100'000'000;

// Whether the name ends in one of .jpg .jpeg .png .bmp .webp .ppm .tif .tiff, in any case.
bool has_image_extension(std::string_view name);

// What the headers of an image say.
struct ImageInfo {
  std::string_view format;  // "JPEG"
  int64_t width = 0, height = 0;
  bool exif = false;  // of a JPEG: has EXIF data, which may say that it is turned
};

// Walks the file's structure without decoding pixels. Throws Error "cannot decode 'NAME': ..." where the
// format is unknown, the dimensions exceed the limit or the file is truncated (end marker, chunk or strip
// missing), which decoders hide.
ImageInfo check_image(std::span<const std::byte> file, const std::string& name);

// The pixels as 8-bit BGR, turned as EXIF says: what cv::imread gives. check_image first. Thread-safe.
cv::Mat decode_image(std::span<const std::byte> file, const std::string& name);

// OpenCV single-threaded and silent, for the whole process; done once by open_data.
void quiet_opencv();

}  // namespace octet
