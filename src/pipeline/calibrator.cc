// The ready calibrator.
#include "octet/calibrator.h"

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "data/dataset.h"
#include "data/preprocess.h"

namespace octet {

ImageFolderCalibrator::ImageFolderCalibrator(std::filesystem::path folder, std::filesystem::path cache,
                                             std::string preprocess, int64_t batch_size)
    : folder_(std::move(folder)),
      cache_(std::move(cache)),
      preprocess_(std::move(preprocess)),
      batch_size_(batch_size) {
  if (batch_size < 1 || batch_size > 65536)
    fail(ErrorCode::kInvalidArgument, "calibration with batches of {}: expected 1 to 65536", batch_size);
  if (!preprocess_.empty()) preprocess_ = Preprocess::parse(preprocess_).text();
}

std::string ImageFolderCalibrator::preprocess(const std::vector<int64_t>& shape) const {
  constexpr int64_t kLikelySide = 256;  // what build takes for sizes that nobody chose
  const auto fitting = [&](const std::string& text) {
    Preprocess result = Preprocess::parse(text);
    result.fit(shape);
    return result.text();
  };
  if (!preprocess_.empty()) return fitting(preprocess_);
  const auto image = image_shape(shape);
  if (!image)
    fail(ErrorCode::kInvalidArgument,
         "the input is no image (N x 1 or 3 x H x W, or channels last): say how an image becomes its tensor "
         "by "
         "a preprocessing");
  const auto side = [](int64_t size) { return size > 0 ? size : kLikelySide; };
  return fitting(fmt::format("letterbox={}x{},128 {} std=255", side(image->width), side(image->height),
                             image->channels == 1 ? "gray" : "rgb"));
}

bool ImageFolderCalibrator::next_batch(std::span<CalibrationArray> arrays) {
  if (arrays.size() != 1 || arrays[0].dtype != DType::kFloat32)
    fail(ErrorCode::kInvalidArgument,
         "images calibrate networks with one input of float32; this one has {} inputs", arrays.size());
  DataOptions options;
  options.preprocess = preprocess(arrays[0].shape);
  const auto data = open_data(folder_, options);
  batch_.clear();
  int64_t count = 0;
  Shape shape;
  for (; count < batch_size_ && next_ < data->size(); ++count, ++next_) {
    const Tensor image = data->load(next_).inputs.begin()->second;
    if (count > 0 && image.shape() != shape) break;
    shape = image.shape();
    const auto values = image.as<float>();
    batch_.insert(batch_.end(), values.begin(), values.end());
  }
  if (count == 0) return false;
  shape[0] = count;
  arrays[0].shape = shape;
  arrays[0].data = batch_.data();
  return true;
}

std::string ImageFolderCalibrator::read_cache() {
  std::error_code error;
  if (cache_.empty() || !std::filesystem::exists(cache_, error)) return {};
  return read_text(cache_, int64_t{256} << 20);
}

void ImageFolderCalibrator::write_cache(std::string_view cache) {
  if (cache_.empty()) return;
  AtomicFile file(cache_);
  file.write(cache);
  file.commit();
}

}  // namespace octet
