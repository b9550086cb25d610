#include "data/jpeg.h"

#include <turbojpeg.h>

#include <memory>

namespace octet {

cv::Mat decode_plain_jpeg(std::span<const std::byte> file) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (decoder == nullptr) return {};
  const auto* data = reinterpret_cast<const unsigned char*>(file.data());
  int width = 0, height = 0, subsampling = 0, space = 0;
  if (tjDecompressHeader3(decoder.get(), data, file.size(), &width, &height, &subsampling, &space) != 0 ||
      (space != TJCS_YCbCr && space != TJCS_GRAY))
    return {};
  cv::Mat image(height, width, CV_8UC3);
  if (tjDecompress2(decoder.get(), data, file.size(), image.data, width, static_cast<int>(image.step), height,
                    TJPF_BGR, 0) != 0)
    return {};
  return image;
}

}  // namespace octet
