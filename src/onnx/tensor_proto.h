// TensorProto to Tensor and back.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/file.h"
#include "onnx.pb.h"
#include "tensor/tensor.h"

namespace octet {

// Files beside the model that hold tensors. A location must stay inside the model's folder, also through
// links.
class ExternalFiles {
 public:
  explicit ExternalFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}
  const MappedFile& open(const std::string& location);
  const std::map<std::string, MappedFile>& opened() const { return open_; }

 private:
  std::filesystem::path folder_;
  std::map<std::string, MappedFile> open_;
};

// `payload` is raw_data that was taken out of the message; `owner` keeps it alive, null when it must be
// copied. Throws Error, which begins with `what` ("initializer 'w'").
Tensor read_tensor(const onnx_pb::TensorProto& proto, const std::string& what, ExternalFiles& files,
                   std::optional<std::span<const std::byte>> payload,
                   const std::shared_ptr<const void>& owner);

// Everything but the elements.
void write_tensor_header(const Tensor& tensor, const std::string& name, onnx_pb::TensorProto& proto);
void write_tensor(const Tensor& tensor, const std::string& name, onnx_pb::TensorProto& proto);

}  // namespace octet
