#include <algorithm>

#include "calibrate/table.h"
#include "inspect_files.h"
#include "model_header.h"
#include "onnx/onnx.h"
#include "summary.h"

namespace octet::tools {
namespace {

struct Counts {
  std::map<std::string, int64_t> operators;
  int64_t nodes = 0, quantize = 0, dequantize = 0, parameters = 0, parameter_bytes = 0;
};

Counts count(const Graph& graph) {
  Counts counts;
  for (NodeId id = 0; id < graph.node_slots(); ++id) {
    const Node& node = graph.node(id);
    if (!node.alive) continue;
    ++counts.nodes;
    ++counts.operators[node.domain.empty() ? node.op : node.domain + "." + node.op];
    counts.quantize += node.is("QuantizeLinear");
    counts.dequantize += node.is("DequantizeLinear");
  }
  for (ValueId v = 0; v < graph.value_slots(); ++v) {
    if (!graph.is_constant(v) || graph.consumers(v).empty()) continue;
    counts.parameters += graph.value(v).constant->count();
    counts.parameter_bytes += graph.value(v).constant->bytes();
  }
  return counts;
}

std::string value_shape(const Value& value) {
  return value.shape ? shape_text(*value.shape) : "unknown shape";
}

std::string value_dtype(const Value& value) {
  return value.dtype ? std::string(dtype_name(*value.dtype)) : "unknown type";
}

Json values_json(const Graph& graph, const std::vector<ValueId>& values) {
  Json list = Json::array();
  for (ValueId v : values)
    list.push_back({{"name", graph.value(v).name},
                    {"shape", value_shape(graph.value(v))},
                    {"dtype", value_dtype(graph.value(v))}});
  return list;
}

void add_values(std::vector<std::vector<std::string>>& rows, const std::string& what, const Graph& graph,
                const std::vector<ValueId>& values) {
  for (ValueId v : values)
    rows.push_back({what, fmt::format("{}  {} {}", graph.value(v).name, value_shape(graph.value(v)),
                                      value_dtype(graph.value(v)))});
}

// Most frequent first.
std::string operators_text(const std::map<std::string, int64_t>& operators) {
  std::vector<std::pair<std::string, int64_t>> sorted(operators.begin(), operators.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [name, number] : sorted)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", number, name);
  return text;
}

std::string table_line(const std::string& name, const TableTensor& t) {
  std::string text =
      fmt::format("{}: [{:.6g}, {:.6g}] of [{:.6g}, {:.6g}]", name, t.range.low, t.range.high, t.min, t.max);
  if (t.nan > 0) text += fmt::format(", {} NaN", t.nan);
  if (t.infinite > 0) text += fmt::format(", {} infinite", t.infinite);
  return text;
}

}  // namespace

Inspection inspect_model(const std::filesystem::path& path) {
  const Graph graph = import_onnx(path);
  const ModelHeader header = read_model_header(path);
  const Counts counts = count(graph);
  Inspection result;
  result.json = {{"kind", "model"},
                 {"producer", header.producer},
                 {"ir_version", header.ir_version},
                 {"opsets", Json::object()},
                 {"inputs", values_json(graph, graph.inputs())},
                 {"outputs", values_json(graph, graph.outputs())},
                 {"nodes", counts.nodes},
                 {"operators", counts.operators},
                 {"quantize_linear", counts.quantize},
                 {"dequantize_linear", counts.dequantize},
                 {"parameters", counts.parameters},
                 {"parameter_bytes", counts.parameter_bytes},
                 {"metadata", graph.metadata}};
  std::string opsets;
  for (const auto& [domain, version] : header.opsets) {
    const std::string name = domain.empty() ? "ai.onnx" : domain;
    result.json["opsets"][name] = version;
    opsets += fmt::format("{}{} {}", opsets.empty() ? "" : ", ", name, version);
  }
  std::vector<std::vector<std::string>> rows{
      {"ONNX model", path.string()}, {"producer", header.producer}, {"opset", opsets}};
  add_values(rows, "input", graph, graph.inputs());
  add_values(rows, "output", graph, graph.outputs());
  rows.push_back({"nodes", fmt::format("{}: {}", counts.nodes, operators_text(counts.operators))});
  rows.push_back({"Q/DQ", counts.quantize + counts.dequantize == 0
                              ? "none: a float model"
                              : fmt::format("{} QuantizeLinear, {} DequantizeLinear", counts.quantize,
                                            counts.dequantize)});
  rows.push_back(
      {"parameters", fmt::format("{} ({})", counts.parameters, size_text(counts.parameter_bytes))});
  for (const auto& [key, value] : graph.metadata) rows.push_back({key, value});
  result.text = columns(rows, 2, 0);
  return result;
}

Inspection inspect_table(const std::filesystem::path& path) {
  const CalibrationTable table = load_table(path);
  Inspection result;
  result.json = {{"kind", "table"},
                 {"octet_version", table.octet_version},
                 {"model", table.model_name},
                 {"model_hash", hash_text(table.model_hash)},
                 {"data_hash", hash_text(table.data_hash)},
                 {"samples", table.samples},
                 {"method", range_method_name(table.method)},
                 {"dtype", dtype_name(table.options.dtype)},
                 {"symmetric", table.options.symmetric},
                 {"preprocess", table.preprocess},
                 {"isa", table.isa},
                 {"tensors", Json::object()}};
  const std::vector<std::vector<std::string>> rows{
      {"calibration table", path.string()},
      {"made by", "octet " + table.octet_version + " with " + table.isa},
      {"model", fmt::format("{} (hash {})", table.model_name, hash_text(table.model_hash))},
      {"data", fmt::format("{} (hash {})", plural(static_cast<int64_t>(table.samples), "sample"),
                           hash_text(table.data_hash))},
      {"ranges", fmt::format("{}, {}{}", range_method_name(table.method), dtype_name(table.options.dtype),
                             table.options.symmetric ? " symmetric" : "")},
      {"preprocess", table.preprocess.empty() ? "-" : table.preprocess}};
  result.text =
      columns(rows, 2, 0) +
      fmt::format("{}, range of [min, max]:\n", plural(static_cast<int64_t>(table.tensors.size()), "tensor"));
  for (const auto& [name, t] : table.tensors) {
    result.json["tensors"][name] = {{"low", t.range.low}, {"high", t.range.high},  {"min", t.min},
                                    {"max", t.max},       {"count", t.count},      {"nan", t.nan},
                                    {"zeros", t.zeros},   {"infinite", t.infinite}};
    result.text += "  " + table_line(name, t) + "\n";
  }
  return result;
}

}  // namespace octet::tools
