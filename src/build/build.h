// From a graph, float or with Q/DQ, to an engine.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/model.h"
#include "graph/graph.h"

namespace octet {

// Shapes of inputs, by name, that an engine is to serve. All three have the same inputs. An input that is
// missing keeps its whole range, as far as its dimensions are not those of another.
struct ShapeProfile {
  std::map<std::string, Shape> minimum, optimum, maximum;

  // Shapes that one of the three lacks become those of another: of the maximum or minimum for the optimum, of
  // the optimum for the others.
  void complete();
};

struct BuildOptions {
  // Integer inputs and outputs and no float step in between; Error names each step that stands in the way.
  bool int8_only = false;
  // None: every dimension ranges from 0 to 65536. A dimension that has one size in all of them is no
  // dimension any more: the engine is static there.
  std::vector<ShapeProfile> profiles = {};
  // How large float weights are stored: float32 (float16 where the model has them so), float16 or bfloat16.
  // Steps widen them when a context is created; with bfloat16 convolutions and products compute in it where
  // the CPU can.
  DType weights = DType::kFloat32;
  // Float convolutions and products in one fixed order: the same bits on every CPU.
  bool deterministic = false;
  // Layers, by the name of their node, that compute in float although they could in 8 bits.
  std::vector<std::string> float_layers = {};
};

// Lowers a graph as import_onnx gives it (it is made canonical first).
engine::Model build_engine(Graph graph, const BuildOptions& options = {});

// Shapes of `graph`'s inputs as `profiles` has them: dimensions of one size become numbers. Throws Error that
// names the input where a profile contradicts it or itself.
void pin_dimensions(Graph& graph, const std::vector<ShapeProfile>& profiles);

// The symbols of the graph's inputs with their ranges; and what `profiles` says about each.
struct ShapeRanges {
  std::vector<engine::Symbol> symbols;
  std::vector<engine::Profile> profiles;
};
ShapeRanges shape_ranges(const Graph& graph, const std::vector<ShapeProfile>& profiles);

// Large float weights of steps that compute in float become constants of type `to`.
void shorten_weights(engine::Model& model, DType to);

// Those that float16 holds exactly, as a model of 16-bit floats has them, become constants of float16.
void store_exact_halves(engine::Model& model);

}  // namespace octet
