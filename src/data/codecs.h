// OpenCV's image codecs, loaded with the first image: they bring more than a hundred libraries (GDAL and what
// it needs), which would cost every start of the command tens of milliseconds.
#pragma once

#include <opencv2/core.hpp>

namespace octet {

// cv::imdecode. Throws Error when the library is not installed. Thread-safe.
cv::Mat decode_pixels(cv::InputArray bytes, int flags);

}  // namespace octet
