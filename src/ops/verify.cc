#include <algorithm>
#include <array>
#include <variant>

#include "ops/op_def.h"

namespace octet {
namespace {

constexpr size_t kMaxListed = 50;
constexpr std::array<std::string_view, 7> kKindNames{"an integer", "a float", "a string", "integers",
                                                     "floats",     "strings", "a tensor"};
// The variant's alternatives in the order of AttributeKind.
constexpr std::array<AttributeKind, 7> kKinds{
    AttributeKind::kInt,    AttributeKind::kFloat,   AttributeKind::kString, AttributeKind::kInts,
    AttributeKind::kFloats, AttributeKind::kStrings, AttributeKind::kTensor};

void check_range(const AttributeDef& def, int64_t value, std::vector<std::string>& problems) {
  if (value < def.low || value > def.high)
    problems.push_back(
        fmt::format("attribute '{}' is {}, supported are {} to {}", def.name, value, def.low, def.high));
}

void check_attribute(const AttributeDef& def, const Attribute& value, std::vector<std::string>& problems) {
  if (kKinds[value.index()] != def.kind) {
    problems.push_back(fmt::format("attribute '{}' is {}, expected {}", def.name, kKindNames[value.index()],
                                   kKindNames[static_cast<size_t>(def.kind)]));
  } else if (const auto* number = std::get_if<int64_t>(&value)) {
    check_range(def, *number, problems);
  } else if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) {
    for (const int64_t entry : *list) {
      const size_t before = problems.size();
      check_range(def, entry, problems);
      if (problems.size() != before) break;
    }
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    if (!def.choices.empty() && std::ranges::find(def.choices, *text) == def.choices.end())
      problems.push_back(fmt::format("attribute '{}' is \"{}\", supported are {}", def.name,
                                     text->substr(0, 40), fmt::join(def.choices, ", ")));
  }
}

std::string arity_problem(std::string_view what, size_t found, int low, int high) {
  if (found >= static_cast<size_t>(low) && found <= static_cast<size_t>(high)) return {};
  return fmt::format("{} {}, expected {}", found, what,
                     low == high ? std::to_string(low) : fmt::format("{} to {}", low, high));
}

void check_structure(const Graph& graph, const Node& node, std::vector<std::string>& problems) {
  const auto valid = [&](ValueId v) { return v >= kNoId && v < graph.value_slots(); };
  for (const ValueId input : node.inputs) {
    if (!valid(input)) {
      problems.emplace_back("an input that is not in the graph");
    } else if (input != kNoId) {
      const Value& value = graph.value(input);
      if (value.producer == kNoId && !value.constant && !graph.is_input(input))
        problems.push_back(fmt::format("nothing produces its input '{}'", value.name));
    }
  }
  for (const ValueId output : node.outputs)
    if (!valid(output)) problems.emplace_back("an output that is not in the graph");
}

}  // namespace

std::vector<std::string> check_node(const Node& node, const OpDef& def, int opset) {
  std::vector<std::string> problems;
  const bool internal = opset == 0;
  size_t required = 0, present = node.inputs.size();
  while (present > 0 && node.inputs[present - 1] == kNoId) --present;
  // Older opsets had attributes for what are inputs now.
  if (internal || def.upgrade == nullptr) required = static_cast<size_t>(def.min_inputs);
  if (std::string problem = arity_problem("inputs", present, static_cast<int>(required), def.max_inputs);
      !problem.empty())
    problems.push_back(std::move(problem));
  for (size_t i = 0; i < std::min(present, required); ++i)
    if (node.inputs[i] == kNoId) problems.push_back(fmt::format("input {} is missing", i));
  const int most = internal ? def.max_outputs : std::max(def.max_outputs, def.max_old_outputs);
  if (std::string problem = arity_problem("outputs", node.outputs.size(), def.min_outputs, most);
      !problem.empty())
    problems.push_back(std::move(problem));

  for (size_t i = 0; i < std::min(node.outputs.size(), static_cast<size_t>(def.min_outputs)); ++i)
    if (node.outputs[i] == kNoId) problems.push_back(fmt::format("output {} is missing", i));

  const auto exists = [&](const AttributeDef& attribute) {
    return internal ? attribute.until > kNewestOpset : opset >= attribute.since && opset <= attribute.until;
  };
  for (const auto& [name, value] : node.attributes) {
    const auto found = std::ranges::find_if(
        def.attributes, [&, &name = name](const AttributeDef& a) { return a.name == name && exists(a); });
    if (found == def.attributes.end())
      problems.push_back(fmt::format("unknown attribute '{}'", name.substr(0, 80)));
    else
      check_attribute(*found, value, problems);
  }
  for (const AttributeDef& attribute : def.attributes)
    if (attribute.required && exists(attribute) && !node.attributes.has(attribute.name))
      problems.push_back(fmt::format("attribute '{}' is missing", attribute.name));
  return problems;
}

void verify(const Graph& graph) {
  std::vector<std::string> problems;
  for (NodeId id = 0; id < graph.node_slots(); ++id) {
    const Node& node = graph.node(id);
    if (!node.alive) continue;
    std::vector<std::string> found;
    check_structure(graph, node, found);
    if (const OpDef* def = find_op(node.op, node.domain); def == nullptr)
      found.push_back(fmt::format("unknown operator in the domain '{}'", node.domain));
    else
      for (std::string& problem : check_node(node, *def, 0)) found.push_back(std::move(problem));
    for (const std::string& problem : found)
      problems.push_back(fmt::format("node '{}' ({}): {}", node.name, node.op, problem));
  }
  for (const ValueId output : graph.outputs()) {
    const Value& value = graph.value(output);
    if (value.producer == kNoId && !value.constant && !graph.is_input(output))
      problems.push_back(fmt::format("nothing produces the output '{}'", value.name));
  }
  if (problems.empty()) {
    Graph copy = graph;
    try {
      infer_shapes(copy);
    } catch (const Error& error) {
      problems.push_back(error.message());
    }
    for (ValueId v = 0; v < graph.value_slots() && problems.empty(); ++v) {
      const Value &had = graph.value(v), &has = copy.value(v);
      if (had.producer != kNoId && had.dtype && has.dtype && *had.dtype != *has.dtype)
        problems.push_back(fmt::format("value '{}' is {}, but its operator gives {}", had.name,
                                       dtype_name(*had.dtype), dtype_name(*has.dtype)));
    }
  }
  if (problems.empty()) return;
  std::string text = problems[0];
  for (size_t i = 1; i < problems.size() && i < kMaxListed; ++i) text += "\n" + problems[i];
  if (problems.size() > kMaxListed) text += fmt::format("\nand {} more", problems.size() - kMaxListed);
  fail(ErrorCode::kInvalidArgument, "{}", text);
}

}  // namespace octet
