// ONNX files to graphs and back.
//
// Import brings every opset from 7 on to the one internal form that src/ops describes. Files are not trusted:
// whatever is in one, the result is a graph or an Error. Export writes the lowest opset in which the graph is
// valid, and the same bytes for the same graph.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "graph/graph.h"

namespace octet {

struct ImportOptions {
  bool infer = true;                         // infer_shapes() on the result
  std::vector<MappedFile>* files = nullptr;  // receives the files in which constants may lie, the model first
};

// Large constants are views of the mapped file, which they keep open. Throws Error: not found, not an ONNX
// model, or what is unsupported in it, every node at once.
Graph import_onnx(const std::filesystem::path& path, const ImportOptions& options = {});

// `name` stands in messages; external data are looked up in `folder`. Copies what it needs from `bytes`.
Graph import_onnx(std::span<const std::byte> bytes, const std::string& name,
                  const std::filesystem::path& folder, const ImportOptions& options = {});

struct ExportOptions {
  // Large constants go to a file of the model's name with ".data" behind it, in the same folder. Always so
  // where one file of 2 GB cannot hold them.
  bool external_data = false;
};

// A model on its way to disk. Its constants are written from where they lie, and are not needed once this
// exists; commit() puts the files in place, and without it nothing remains.
class OnnxWriter {
 public:
  OnnxWriter(const Graph& graph, const std::filesystem::path& path, const ExportOptions& options = {});
  ~OnnxWriter();
  void commit();

 private:
  std::unique_ptr<AtomicFile> model_, data_;
};

// Written to temporary files first: at `path` is the old file or the whole new one.
void export_onnx(const Graph& graph, const std::filesystem::path& path, const ExportOptions& options = {});
std::string export_onnx_bytes(const Graph& graph);

}  // namespace octet
