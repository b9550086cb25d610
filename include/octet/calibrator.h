// Where calibration data come from: the shape of TensorRT's IInt8Calibrator, in C++'s own types.
//
// A builder asks for the cache first. When there is one, no batch is asked for, and the ranges are the
// cache's. Else it takes all batches and gives the cache to keep.
//
// Threads: a calibrator is used by one thread at a time. Errors: what its functions throw ends the build.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octet/dtype.h"

namespace octet {

// One input's elements of a batch: dense, row-major, in ONNX's order (N, C, H, W).
struct CalibrationArray {
  std::string name;  // the network's name of the input
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;  // what the builder expects, the batch first; another one may take its place
  const void* data = nullptr;  // set by the calibrator; read before it is asked for the next batch
};

class Calibrator {
 public:
  virtual ~Calibrator() = default;

  // Samples of one batch, where the network leaves their number open; at least 1.
  virtual int64_t batch_size() const = 0;
  // Sets `data` of every array (and `shape` where it differs) and returns true; or false when no data are
  // left.
  virtual bool next_batch(std::span<CalibrationArray> arrays) = 0;

  // The cache's content, empty when there is none: what write_cache() got, a TensorRT calibration cache, or a
  // table of `octet calibrate`.
  virtual std::string read_cache() { return {}; }
  // TensorRT's format; `octet calibrate --format tensorrt` writes the same.
  virtual void write_cache(std::string_view cache) { (void)cache; }
  // The cache's algorithm, as its first line says it.
  virtual std::string algorithm() const { return "EntropyCalibration2"; }
};

// All images of a folder (and of its folders), sorted by name, and a cache file.
class ImageFolderCalibrator : public Calibrator {
 public:
  // `cache` empty: none. `preprocess` as --preprocess of the command has it, for instance "short=256 crop=224
  // rgb mean=127.5 std=127.5"; empty: letterboxed to the input's size, centred, grey 128, RGB (grey for one
  // channel), times 1/255. Throws Error when the folder holds no images; not before there is need of them.
  explicit ImageFolderCalibrator(std::filesystem::path folder, std::filesystem::path cache = {},
                                 std::string preprocess = {}, int64_t batch_size = 1);

  int64_t batch_size() const override { return batch_size_; }
  bool next_batch(std::span<CalibrationArray> arrays) override;
  std::string read_cache() override;
  void write_cache(std::string_view cache) override;

  const std::filesystem::path& folder() const { return folder_; }
  // For an input of this shape, where sizes that are open are -1.
  std::string preprocess(const std::vector<int64_t>& shape) const;

 private:
  std::filesystem::path folder_, cache_;
  std::string preprocess_;
  int64_t batch_size_ = 1;
  int64_t next_ = 0;
  std::vector<float> batch_;
};

}  // namespace octet
