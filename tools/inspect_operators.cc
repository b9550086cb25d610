#include "inspect_operators.h"

#include "ops/op_def.h"

namespace octet::tools {
namespace {

constexpr char kIntroduction[] = R"(# Operators

Made by `make docs` from the operators' definitions in `src/ops`; do not edit.

Import reads models of ONNX's opsets {} to {} and of the domain `ai.octet`. What it does not know is an error that names every
such node. Each operator's attributes are checked against the ranges of its definition.

* **Opsets**: those in which import accepts the operator. Older forms are brought to the newest one.
* **In 8 bits**: how `quantize` treats it.
  *weights*: 8-bit input and weights, an exact 32-bit sum. *arithmetic*: 8-bit operands, each with its own scale. *average*: 8-bit
  input and output, each with its own scale. *moves*: it only moves values, so input and output share one scale. *function*: computed on the
  float value inside the kernel before it, or as a table of 256 bytes. *integers*: index arithmetic, which is left as it is.
  *no*: it has no 8-bit form and runs in the type that it has.
* **Runs as**: the engine's steps (`src/engine/steps/README.md`), those for 8 bits first. *generic* is the plain implementation of
  `src/kernels/generic`. *rewritten*: nothing of it is left when the engine runs.

A row says what can be; `octet build` says for each node of a model what it runs as, and why it is not INT8.

)";

// By `canonicalize`, where its parameters are constants.
bool becomes_conv(const OpDef& op) {
  return op.domain.empty() && (op.name == "BatchNormalization" || op.name == "ConvTranspose");
}

std::string_view rule_text(const OpDef& op) {
  if (becomes_conv(op)) return "weights, as a Conv";
  if (op.lowering == Lowering::kQuantize || op.lowering == Lowering::kDequantize) return "–";
  switch (op.quant) {
    case QuantRule::kFloat:
      return "no";
    case QuantRule::kInteger:
      return "integers";
    case QuantRule::kWeighted:
      return "weights";
    case QuantRule::kArithmetic:
      return "arithmetic";
    case QuantRule::kAverage:
      return "average";
    case QuantRule::kSameScale:
      return "moves";
    case QuantRule::kActivation:
      return "function";
  }
  return "?";
}

std::string_view lowering_text(const OpDef& op) {
  if (becomes_conv(op)) return "as a Conv, generic";
  switch (op.lowering) {
    case Lowering::kGeneric:
      break;
    case Lowering::kConv:
      return "conv, conv_f32, generic";
    case Lowering::kGemm:
      return "gemm, gemm_f32, generic";
    case Lowering::kMatMul:
      return "gemm, gemm_f32, matmul_f32, generic";
    case Lowering::kAdd:
      return "add, binary_f32, generic";
    case Lowering::kMul:
      return "mul, binary_f32, generic";
    case Lowering::kConcat:
      return "in place, copy, generic";
    case Lowering::kMaxPool:
      return "max_pool, max_pool_f32, generic";
    case Lowering::kAveragePool:
      return "average_pool, average_pool_f32, generic";
    case Lowering::kGlobalAveragePool:
      return "global_average_pool, global_average_pool_f32, generic";
    case Lowering::kDepthToSpace:
      return "depth_to_space, generic";
    case Lowering::kResize:
      return "resize_nearest, resize_linear, generic";
    case Lowering::kActivation:
      return "epilogue, lut, function_f32, generic";
    case Lowering::kReshape:
      return "view, generic";
    case Lowering::kTranspose:
      return "generic";
    case Lowering::kQuantize:
      return "quantize, generic";
    case Lowering::kDequantize:
      return "dequantize, generic";
    case Lowering::kBinary:
      return "binary_f32, generic";
    case Lowering::kSoftmax:
      return "generic";
  }
  return op.run == nullptr ? "rewritten" : "generic";
}

std::string opsets(const OpDef& op) {
  const int first = op.domain.empty() ? std::max(op.since, kOldestOpset) : op.since;
  const int last = std::min(op.until, op.domain.empty() ? kNewestOpset : kOctetOpset);
  return first == last ? std::to_string(first) : fmt::format("{}–{}", first, last);
}

std::string attributes(const OpDef& op) {
  std::string text;
  for (const AttributeDef& a : op.attributes)
    text += fmt::format("{}`{}`{}", text.empty() ? "" : ", ", a.name, a.required ? " (required)" : "");
  return text.empty() ? "–" : text;
}

}  // namespace

Inspection inspect_operators() {
  Inspection result;
  result.text = fmt::format(kIntroduction, kOldestOpset, kNewestOpset);
  result.text += "| Operator | Opsets | Attributes | In 8 bits | Runs as |\n|---|---|---|---|---|\n";
  result.json = {{"kind", "operators"}, {"operators", Json::array()}};
  for (const OpDef* op : all_ops()) {
    const std::string name =
        (op->domain.empty() ? "" : std::string(op->domain) + ".") + std::string(op->name);
    result.text += fmt::format("| {} | {} | {} | {} | {} |\n", name, opsets(*op), attributes(*op),
                               rule_text(*op), lowering_text(*op));
    Json entry{
        {"name", op->name}, {"domain", op->domain}, {"opsets", opsets(*op)}, {"attributes", Json::array()}};
    for (const AttributeDef& a : op->attributes) entry["attributes"].push_back(a.name);
    entry["int8"] = rule_text(*op);
    entry["runs_as"] = lowering_text(*op);
    result.json["operators"].push_back(std::move(entry));
  }
  return result;
}

}  // namespace octet::tools
