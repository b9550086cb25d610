// What an ONNX file says about itself, before any import.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace octet::tools {

struct ModelHeader {
  int64_t ir_version = 0;
  std::string producer;
  std::map<std::string, int64_t> opsets;  // by domain; "" is ONNX's own
};

// Reads the top level of the file only. Fields that are malformed are left out: import says what is wrong.
ModelHeader read_model_header(const std::filesystem::path& path);

}  // namespace octet::tools
