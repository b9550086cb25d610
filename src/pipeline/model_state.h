// What the public Model holds.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "graph/graph.h"
#include "octet/builder.h"

namespace octet {

struct Model::State {
  std::filesystem::path path;  // or a name, for messages
  uint64_t hash = 0;
  Graph graph;  // as imported
  std::vector<MappedFile> files;
  bool quantized = false;
  std::vector<runtime::TensorInfo> inputs, outputs;

  // Describes the graph.
  State(std::filesystem::path where, uint64_t content, Graph imported, std::vector<MappedFile> mapped);
};

// Inputs or outputs of a graph.
std::vector<runtime::TensorInfo> describe(const Graph& graph, const std::vector<ValueId>& values);

}  // namespace octet
