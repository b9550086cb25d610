// From ONNX models to quantized models and engines: everything that the command does. Link `octet::octet`.
//
//   octet::Model model = octet::Model::load("model.onnx");
//   octet::BuilderConfig config;
//   config.int8 = true;
//   config.calibrator = std::make_shared<octet::ImageFolderCalibrator>("images", "model.cache");
//   octet::build(model, config).save("model.octet");
//
// Threads: a Model never changes; functions may be called from many threads at once. Errors: octet::Error;
// when it is thrown, no file was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "octet/calibrator.h"
#include "octet/error.h"
#include "octet/log.h"
#include "octet/runtime.h"

namespace octet {

// Shapes that an engine is to serve, by input. One that is left out of `optimum` is its maximum; inputs that
// appear nowhere keep their whole range.
struct InputProfile {
  std::map<std::string, std::vector<int64_t>> minimum, optimum, maximum;
};

struct BuilderConfig {
  // Precision. `int8` quantizes a float model; one with Q/DQ is 8-bit as it says. The 16-bit types are those
  // of float weights in the engine; at most one of the two.
  bool int8 = false, fp16 = false, bf16 = false;
  // Float convolutions and products give the same bits on every CPU, slower.
  bool deterministic = false;
  std::vector<InputProfile> profiles = {};

  // Calibration: the first of these that is there. Without any, made-up samples stand in, with a warning.
  std::string table;                       // file of `octet calibrate`, or a TensorRT cache
  std::shared_ptr<Calibrator> calibrator;  // or
  std::string data;                        // a folder of images, .npy or .npz files, as --data of the command
  std::string preprocess;                  // of images; empty: what the model has stored
  // Of a calibrator's batches, by input, where they are not those of the profiles' optimum.
  std::map<std::string, std::vector<int64_t>> calibration_shapes = {};
  int64_t limit = 0;  // the first N samples of `data`; 0: all
  // Bytes of a calibrator's batches that stay in memory; beyond, they go to a temporary file.
  int64_t workspace = int64_t{256} << 20;

  // Quantization, by the names that the command has for them.
  std::string method = "mse";
  double percentile = 99.99;     // of values inside the range, for the method "percentile"
  std::string target = "octet";  // with a TensorRT cache always "tensorrt"
  std::string effort = "default";
  std::vector<std::string> include, exclude;  // nodes or operator types

  int threads = 0;  // that calibrate; 0: one for each CPU
  Log log = {};
};

// An ONNX model in memory, float or with Q/DQ. Copies share it.
class Model {
 public:
  // Large constants stay in the file, which must not change while any copy exists. Throws Error: kNotFound,
  // kBadFile, or kUnsupported with every node that Octet cannot run.
  static Model load(const std::filesystem::path& path);
  // The content of such a file, which is copied; external data are looked up in `folder`.
  static Model load(std::span<const std::byte> bytes, const std::string& name = "model",
                    const std::filesystem::path& folder = ".");

  const std::vector<runtime::TensorInfo>& inputs() const;
  const std::vector<runtime::TensorInfo>& outputs() const;
  bool quantized() const;  // has QuantizeLinear or DequantizeLinear nodes

  // Writes ONNX.
  void save(const std::filesystem::path& path) const;
  std::vector<std::byte> serialize() const;

  struct State;  // Octet's own
  explicit Model(std::shared_ptr<const State> state);
  const State& state() const { return *state_; }

 private:
  std::shared_ptr<const State> state_;
};

// What quantization did.
struct QuantizationReport {
  int64_t samples = 0;     // that were calibrated with
  int64_t layers = 0;      // in 8 bits
  double sqnr_db = 0;      // of the outputs against the float model's; 0 when they were not compared
  std::string preprocess;  // of the images, if they were any
  std::vector<std::string> warnings;
};

// The same model with Q/DQ nodes. Throws Error (kInvalidArgument) when it has some already.
Model quantize(const Model& model, const BuilderConfig& config = {}, QuantizationReport* report = nullptr);

// Ranges of the model's values over the data, as a file's content: a table (JSON), or TensorRT's cache format
// for `format` "tensorrt".
std::string calibrate(const Model& model, const BuilderConfig& config, const std::string& format = "octet");

// Quantizes, where `int8` asks for it and the model is float, and makes an engine. The same model, options
// and ranges give the same bytes.
runtime::Engine build(const Model& model, const BuilderConfig& config = {});

// Two engines or models of the same network, over data.
struct ComparedTensor {
  std::string name;
  double sqnr_db = 0;  // infinite when identical
  double cosine = 1;
};
struct ModelComparison {
  std::vector<ComparedTensor> layers;   // worst first
  std::vector<ComparedTensor> outputs;  // in order
  int64_t samples = 0;
};
// `config` gives the data: calibrator, or data with preprocess and limit.
ModelComparison compare(const runtime::Engine& reference, const runtime::Engine& engine,
                        const BuilderConfig& config);

}  // namespace octet
