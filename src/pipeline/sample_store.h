// Samples that arrive once, in order, and are read many times: from calibrators, iterators and pipes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "octet/calibrator.h"
#include "octet/runtime.h"

namespace octet {

// Threads: add() from one, before any other use; the rest as every Dataset.
class SampleStore final : public Dataset {
 public:
  // `inputs` and `outputs` of the network tell which axis counts samples: the first, where it is open for all
  // of them, or 1. Then batches are cut into samples, else each batch is one. `source` names the data in
  // messages, and stands in the hashes. Beyond `memory_bytes` samples go to a nameless file in the folder for
  // temporary files.
  SampleStore(std::vector<runtime::TensorInfo> inputs, const std::vector<runtime::TensorInfo>& outputs,
              std::string source, int64_t memory_bytes);
  ~SampleStore() override;
  SampleStore(const SampleStore&) = delete;
  SampleStore& operator=(const SampleStore&) = delete;

  // Copies the elements. Throws Error for inputs that are missing, unknown or of another dtype or shape than
  // the network's, and when there are more than 2^20 samples or 2^38 bytes.
  void add(std::span<const CalibrationArray> batch);
  // Behind the last batch. Throws Error when there was none.
  void finish() const;

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  const std::string& name(int64_t i) const override { return at(i).name; }
  bool images() const override { return false; }
  Sample load(int64_t i) const override;
  uint64_t content_hash() const override;
  uint64_t sample_hash(int64_t i) const override { return at(i).hash; }

 private:
  struct Part {  // of one input
    size_t input = 0;
    Shape shape;
    Tensor data;          // undefined when it is in the file
    int64_t offset = -1;  // there
  };
  struct Stored {
    std::string name;
    std::vector<Part> parts;
    uint64_t hash = 0;
  };
  const Stored& at(int64_t i) const;
  void check(const runtime::TensorInfo& input, const CalibrationArray& array) const;
  int64_t samples_in(const std::vector<const CalibrationArray*>& arrays) const;
  void keep(Part& part, const std::byte* data);
  [[noreturn]] void bad(const std::string& what) const;

  std::vector<runtime::TensorInfo> inputs_;
  std::string source_;
  int64_t limit_, used_ = 0;
  bool batched_ = false;
  int64_t batches_ = 0;
  std::vector<Stored> samples_;
  int file_ = -1;
  int64_t file_bytes_ = 0;
};

// Takes all batches of a calibrator, at most `limit` samples where that is above 0. `shapes` are what it is
// told to give, one for each input.
void read_batches(Calibrator& calibrator, const std::vector<runtime::TensorInfo>& inputs,
                  const std::vector<Shape>& shapes, int64_t limit, SampleStore& store);

}  // namespace octet
