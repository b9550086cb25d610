// ONNX files to graphs and back.
//
// Import brings every opset from 7 on to the one internal form that src/ops describes. Files are not trusted:
// whatever is in one, the result is a graph or an Error. Export writes the lowest opset in which the graph is
// valid, and the same bytes for the same graph.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "graph/graph.h"

namespace octet {

struct ImportOptions {
  bool infer = true;  // infer_shapes() on the result
};

// Large constants are views of the mapped file, which they keep open. Throws Error: not found, not an ONNX
// model, or what is unsupported in it, every node at once.
Graph import_onnx(const std::filesystem::path& path, const ImportOptions& options = {});

// `name` stands in messages; external data are looked up in `folder`. Copies what it needs from `bytes`.
Graph import_onnx(std::span<const std::byte> bytes, const std::string& name,
                  const std::filesystem::path& folder, const ImportOptions& options = {});

// Written to a temporary file first: at `path` is the old file or the whole new one. Models over 2 GB are
// refused.
void export_onnx(const Graph& graph, const std::filesystem::path& path);
std::string export_onnx_bytes(const Graph& graph);

}  // namespace octet
