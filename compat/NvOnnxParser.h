// TensorRT's ONNX parser, as far as NvInfer.h goes: it reads a whole model into a network.
//
// Names, values and meaning: NVIDIA, "TensorRT API Reference" (C++), and onnx-tensorrt's public header.
#pragma once

#include <cstddef>

#include "NvInfer.h"

#define NV_ONNX_PARSER_MAJOR 0
#define NV_ONNX_PARSER_MINOR 1
#define NV_ONNX_PARSER_PATCH 0

namespace nvonnxparser {

static constexpr int NV_ONNX_PARSER_VERSION =
    NV_ONNX_PARSER_MAJOR * 10000 + NV_ONNX_PARSER_MINOR * 100 + NV_ONNX_PARSER_PATCH;

enum class ErrorCode : int {
  kSUCCESS = 0,
  kINTERNAL_ERROR = 1,
  kMEM_ALLOC_FAILED = 2,
  kMODEL_DESERIALIZE_FAILED = 3,
  kINVALID_VALUE = 4,
  kINVALID_GRAPH = 5,
  kINVALID_NODE = 6,
  kUNSUPPORTED_GRAPH = 7,
  kUNSUPPORTED_NODE = 8
};

class IParserError {
 public:
  virtual ErrorCode code() const = 0;
  virtual const char* desc() const = 0;
  virtual const char* file() const = 0;
  virtual int line() const = 0;
  virtual const char* func() const = 0;
  virtual int node() const = 0;

 protected:
  virtual ~IParserError() = default;
};

enum class OnnxParserFlag : int { kNATIVE_INSTANCENORM = 0 };
using OnnxParserFlags = uint32_t;

class IParser : public nvinfer1::INoCopy {
 public:
  // Weights beside the model are looked up beside `path` (parse), or beside the file (parseFromFile).
  virtual bool parse(const void* model, size_t size, const char* path = nullptr) = 0;
  virtual bool parseFromFile(const char* file, int verbosity) = 0;
  virtual bool supportsOperator(const char* name) const = 0;
  virtual int getNbErrors() const = 0;
  virtual const IParserError* getError(int index) const = 0;
  virtual void clearErrors() = 0;
  virtual void setFlags(OnnxParserFlags flags) = 0;
  virtual OnnxParserFlags getFlags() const = 0;
  virtual void setFlag(OnnxParserFlag flag) = 0;
  virtual void clearFlag(OnnxParserFlag flag) = 0;
  virtual bool getFlag(OnnxParserFlag flag) const = 0;
  void destroy() { delete this; }
};

IParser* createParser(nvinfer1::INetworkDefinition& network, nvinfer1::ILogger& logger);

}  // namespace nvonnxparser

extern "C" int getNvOnnxParserVersion();
