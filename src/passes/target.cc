#include "passes/target.h"

#include <algorithm>

#include "base/error.h"

namespace octet {
namespace {

constexpr TargetRules kTargets[] = {
    {.name = "octet", .integer_bias = true, .channel_scales = true, .quantized_pads = true},
    {.name = "tensorrt", .activation = DType::kInt8, .symmetric = true, .tensor_cores = true},
    {.name = "onnxruntime", .integer_bias = true, .quantized_sums = true},
    {.name = "openvino"},
    // What a TensorRT cache gives an engine of ours: its scales, and every layer. Users do not name it.
    {.name = "octet-symmetric", .activation = DType::kInt8, .symmetric = true, .quantized_pads = true},
};

constexpr int64_t kSmallest = 16;  // channels, or rows and columns of a factor

std::optional<std::string> small_convolution(const Graph& graph, const Node& node) {
  const auto& weights = graph.value(node.inputs[1]).shape;
  if (!weights || weights->size() < 3 || !(*weights)[0].known() || !(*weights)[1].known()) return {};
  const int64_t out = (*weights)[0].value(), in = (*weights)[1].value();  // `in` of one group
  if (out >= kSmallest && in >= kSmallest) return {};
  const auto kernel = std::span(*weights).subspan(2);
  if (node.attributes.get_int("group", 1) > 1) {
    const bool wide = std::ranges::all_of(kernel, [](const Dim& d) { return d.known() && d.value() >= 3; });
    if (out % 8 == 0 && wide) return {};
    return fmt::format("in groups of {} channels, {} in all: 8 bits gain nothing on tensor cores", in, out);
  }
  const bool first = graph.value(node.inputs[0]).producer == kNoId;
  const bool square = std::ranges::all_of(kernel, [&](const Dim& d) { return d == kernel[0]; });
  if ((out % 8 == 0 || in % 8 == 0) && (first || out >= kSmallest || in >= kSmallest) && square) return {};
  return fmt::format("{} to {} channels: 8 bits gain nothing on tensor cores", in, out);
}

std::optional<std::string> small_product(const Graph& graph, const Node& node) {
  const auto &out = graph.value(node.outputs[0]).shape, &b = graph.value(node.inputs[1]).shape;
  if (!out || !b || out->size() < 2 || b->size() < 2) return {};
  const bool transposed = node.is("Gemm") && node.attributes.get_int("transB", 0) != 0;
  const Dim &m = (*out)[out->size() - 2], &n = out->back();
  const Dim& k = transposed ? b->back() : (*b)[b->size() - 2];
  const bool vector =
      out->size() == 2 || !graph.is_constant(node.inputs[1]);  // else M spans what is before it
  for (const auto& [dim, name] : {std::pair(m, "M"), std::pair(n, "N")})
    if (vector && dim == Dim(1))
      return fmt::format("a product by a vector ({} = 1): 8 bits gain nothing on tensor cores", name);
  for (const auto& [dim, name] : {std::pair(k, "K"), std::pair(n, "N")})
    if (dim.known() && dim.value() < kSmallest)
      return fmt::format("{} = {} is below {}: 8 bits gain nothing on tensor cores", name, dim.value(),
                         kSmallest);
  return {};
}

}  // namespace

const TargetRules& find_target(std::string_view name) {
  for (const TargetRules& t : kTargets)
    if (t.name == name) return t;
  fail(ErrorCode::kInvalidArgument, "unknown target '{}': expected octet, tensorrt, onnxruntime or openvino",
       name);
}

std::optional<std::string> slow_on_tensor_cores(const Graph& graph, const Node& node) {
  if (node.is("Conv")) return small_convolution(graph, node);
  if (node.is("Gemm") || node.is("MatMul")) return small_product(graph, node);
  return {};
}

}  // namespace octet
