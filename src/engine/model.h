// What an engine consists of, in memory: made by `build`, written to and read from an engine file. Plain
// data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "quant/quant_params.h"
#include "tensor/attributes.h"
#include "tensor/dim.h"
#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace octet::engine {

enum class Storage : uint8_t { kArena, kInput, kOutput, kConstant };

// A value that steps read and write.
struct TensorDef {
  std::string name;  // of the graph's value
  DType dtype = DType::kFloat32;
  Layout layout = Layout::kPlain;
  Dims shape;  // logical (NCHW), over the engine's symbols
  Storage storage = Storage::kArena;
  QuantParams quant;  // of 8-bit tensors; scale is empty otherwise. u8 only: signed tensors are stored with
                      // zero-point + 128
  Tensor constant;    // of kConstant: of this dtype, or a float32 tensor's values in float16 or bfloat16
  // A view of another tensor. kNhwc in a kNhwc parent: the channels [channel_offset, channel_offset + C) of
  // the parent, which has the same N, H, W. Else the parent's memory is an array in which the view begins
  // with element channel_offset: all of it under another shape (in either layout, where groups of four
  // channels are whole) or, with 32 bits, a part, in either layout, without gaps. The parent stands before
  // the view and is not itself one. -1: none.
  int32_t parent = -1;
  int64_t channel_offset = 0;
  // Of a plain view [1, C, H, W] of 32 bits: elements between the planes of two channels; 0: H * W. Only
  // steps that say so write such a view, and none reads it.
  int64_t plane_stride = 0;
};

// One thing to do. `kind` names its implementation in engine/steps/.
struct StepDef {
  std::string kind;
  int32_t version = 1;                   // of the kind
  std::string name;                      // of the node that gave it its name
  std::vector<int32_t> inputs, outputs;  // indices of tensors; -1 where an optional one is absent
  Attributes attributes;
  std::string precision;           // "int8", "float32", "int64" ...
  std::string reason;              // why it is not int8; empty when it is or when that is no question
  std::vector<std::string> nodes;  // the model's nodes that it computes
};

struct SizeRange {
  int64_t minimum = 1, optimum = 1, maximum = 1;
};

// A named dimension that is chosen when a context is created, or that the data decide (see late.h).
struct Symbol {
  std::string name;
  int64_t minimum = 1, optimum = 1, maximum = 1;
  bool at_run = false;
};

// A range for each symbol, in their order. Sizes must lie in one profile together.
using Profile = std::vector<SizeRange>;

// Sizes that a step needs to be equal; checked when shapes are chosen.
struct Equality {
  Dim a, b;
  std::string node;  // of the model, that wants it
};

struct Model {
  std::string producer;  // "octet 0.1.0"
  std::vector<Symbol> symbols;
  // What the engine was built for; empty where nobody chose it: then only the symbols' ranges hold. Those
  // span all profiles, the optimum is the first profile's.
  std::vector<Profile> profiles;
  bool deterministic = false;  // float convolutions and products in one fixed order
  std::vector<Equality> equalities;
  std::vector<TensorDef> tensors;
  std::vector<StepDef> steps;
  std::vector<int32_t> inputs, outputs;         // indices of tensors
  std::map<std::string, std::string> metadata;  // "preprocess", "model", ...
};

}  // namespace octet::engine
