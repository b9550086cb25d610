// JPEG by libjpeg-turbo, the library that OpenCV decodes with, without loading OpenCV's codecs (codecs.h) and
// straight into BGR.
#pragma once

#include <cstddef>
#include <opencv2/core.hpp>
#include <span>

namespace octet {

// The pixels that cv::imdecode gives, EXIF aside, of a grey or YCbCr JPEG that decodes without a warning; an
// empty image for any other, on which OpenCV has the last word. check_image first. Thread-safe.
cv::Mat decode_plain_jpeg(std::span<const std::byte> file);

}  // namespace octet
