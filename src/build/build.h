// From a graph, float or with Q/DQ, to an engine.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/model.h"
#include "graph/graph.h"

namespace octet {

struct BuildOptions {
  // Integer inputs and outputs and no float step in between; Error names each step that stands in the way.
  bool int8_only = false;
  // Range of each named dimension; one that is missing gets 0 to 65536 with optimum 1.
  std::map<std::string, engine::Symbol> symbols;
};

// Lowers a graph as import_onnx gives it (it is made canonical first).
engine::Model build_engine(Graph graph, const BuildOptions& options = {});

}  // namespace octet
