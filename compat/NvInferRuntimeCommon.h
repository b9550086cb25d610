// Types that all of NvInfer.h's interfaces share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "NvInferVersion.h"
#include "cuda_runtime_api.h"

#define TRT_DEPRECATED
#define TRT_DEPRECATED_ENUM
#define TENSORRTAPI

namespace nvinfer1 {

using char_t = char;
using AsciiChar = char_t;

// --- small types

enum class DataType : int32_t {
  kFLOAT = 0,
  kHALF = 1,
  kINT8 = 2,
  kINT32 = 3,
  kBOOL = 4,
  kUINT8 = 5,
  kBF16 = 7,
  kINT64 = 8
};

enum class TensorFormat : int32_t { kLINEAR = 0 };
using TensorFormats = uint32_t;
enum class TensorLocation : int32_t { kDEVICE = 0, kHOST = 1 };
enum class TensorIOMode : int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class OptProfileSelector : int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class EngineCapability : int32_t { kSTANDARD = 0, kDEFAULT = kSTANDARD };
enum class ProfilingVerbosity : int32_t {
  kLAYER_NAMES_ONLY = 0,
  kNONE = 1,
  kDETAILED = 2,
  kDEFAULT = 0,
  kVERBOSE = 2
};
class Dims32 {
 public:
  static constexpr int32_t MAX_DIMS = 8;
  int32_t nbDims;
  int32_t d[MAX_DIMS];
};
using Dims = Dims32;

class Dims2 : public Dims {
 public:
  Dims2() : Dims2(0, 0) {}
  Dims2(int32_t d0, int32_t d1) : Dims{2, {d0, d1}} {}
};
class DimsHW : public Dims2 {
 public:
  DimsHW() : Dims2() {}
  DimsHW(int32_t height, int32_t width) : Dims2(height, width) {}
  int32_t& h() { return d[0]; }
  int32_t h() const { return d[0]; }
  int32_t& w() { return d[1]; }
  int32_t w() const { return d[1]; }
};
class Dims3 : public Dims {
 public:
  Dims3() : Dims3(0, 0, 0) {}
  Dims3(int32_t d0, int32_t d1, int32_t d2) : Dims{3, {d0, d1, d2}} {}
};
class Dims4 : public Dims {
 public:
  Dims4() : Dims4(0, 0, 0, 0) {}
  Dims4(int32_t d0, int32_t d1, int32_t d2, int32_t d3) : Dims{4, {d0, d1, d2, d3}} {}
};

// --- what users subclass

class ILogger {
 public:
  enum class Severity : int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2, kINFO = 3, kVERBOSE = 4 };
  // May be called from several threads when several objects are used on several threads.
  virtual void log(Severity severity, const AsciiChar* message) = 0;
  ILogger() = default;
  virtual ~ILogger() = default;
};

enum class ErrorCode : int32_t {
  kSUCCESS = 0,
  kUNSPECIFIED_ERROR = 1,
  kINTERNAL_ERROR = 2,
  kINVALID_ARGUMENT = 3,
  kINVALID_CONFIG = 4,
  kFAILED_ALLOCATION = 5,
  kFAILED_INITIALIZATION = 6,
  kFAILED_EXECUTION = 7,
  kFAILED_COMPUTATION = 8,
  kINVALID_STATE = 9,
  kUNSUPPORTED_STATE = 10
};

// Is told every error that goes to the logger (as kUNSPECIFIED_ERROR where nothing more is known).
class IErrorRecorder {
 public:
  using ErrorDesc = const char*;
  using RefCount = int32_t;
  static constexpr std::size_t kMAX_DESC_LENGTH = 127;
  virtual int32_t getNbErrors() const = 0;
  virtual ErrorCode getErrorCode(int32_t index) const = 0;
  virtual ErrorDesc getErrorDesc(int32_t index) const = 0;
  virtual bool hasOverflowed() const = 0;
  virtual void clear() = 0;
  virtual bool reportError(ErrorCode code, ErrorDesc text) = 0;
  virtual RefCount incRefCount() = 0;
  virtual RefCount decRefCount() = 0;
  IErrorRecorder() = default;
  virtual ~IErrorRecorder() = default;
};

// --- what the library makes; `delete` it, or call destroy(), in any order

class INoCopy {
 public:
  virtual ~INoCopy() = default;
  INoCopy(const INoCopy&) = delete;
  INoCopy& operator=(const INoCopy&) = delete;

 protected:
  INoCopy() = default;
};

class IHostMemory : public INoCopy {
 public:
  virtual void* data() const = 0;
  virtual std::size_t size() const = 0;
  virtual DataType type() const = 0;
  void destroy() { delete this; }
};

}  // namespace nvinfer1
