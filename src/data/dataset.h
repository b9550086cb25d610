// Samples to calibrate, evaluate or run a network with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "data/preprocess.h"
#include "tensor/tensor.h"

namespace octet {

struct Sample {
  std::map<std::string, Tensor> inputs;  // by input name; "" where the source has one unnamed input
  bool bad = false;  // only with DataOptions::skip_bad: `inputs` is empty, `reason` says why
  std::string reason = {};
};

struct DataOptions {
  std::optional<std::string> preprocess = {};  // needed for images, unused for arrays
  bool bytes = false;                          // images as uint8 1 x H x W x C (Preprocess::apply_bytes)
  int64_t limit = 0;                           // the first N samples; 0: all
  bool skip_bad = false;                       // a sample that cannot be read is flagged, not an Error
};

// A fixed sequence of samples. Threads: everything const may be called from many threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  // File name relative to the source, with '/'; "FILE:I" for sample I of an array file.
  virtual const std::string& name(int64_t i) const = 0;
  // Whether samples are images, to which the preprocessing applies.
  virtual bool images() const = 0;

  virtual Sample load(int64_t i) const = 0;

  // XXH3 over names and contents in index order, whatever the order of loading. Samples that were loaded
  // before are not read again. Independent of preprocessing and of where the files are.
  virtual uint64_t content_hash() const = 0;
  // Of one sample's content; with those of the names content_hash() can be put together (sample_hashes.h).
  // Sets without files give 0.
  virtual uint64_t sample_hash(int64_t i) const;
};

// `path` is
//   a folder of images       searched recursively, sorted by name; symbolic links that leave the folder and
//   hidden files are skipped a folder of .npy/.npz    one sample a file, arrays as they are a .txt list one
//   image or array file per line, relative to the list's folder a .npy file              the first axis
//   counts samples; each sample keeps a leading axis of 1 a .npz file              the same; keys are the
//   names of the inputs (the lone key arr_0 counts as unnamed) one image
// Throws Error when it holds no sample, a listed file is missing, or images come without preprocessing.
std::unique_ptr<Dataset> open_data(const std::filesystem::path& path, const DataOptions& options = {});

}  // namespace octet
