#include <algorithm>
#include <map>
#include <utility>

#include "ops/op_def.h"
#include "ops/operators.inc"

namespace octet {
namespace {

using Key = std::pair<std::string_view, std::string_view>;  // domain, name

const std::map<Key, OpDef>& registry() {
  static const std::map<Key, OpDef> all = [] {
    std::map<Key, OpDef> result;
    for (const auto group : kOperatorGroups)
      for (OpDef def : group()) {
        if (def.run == nullptr) def.run = kernels::find_generic(def.name);
        if (!result.emplace(Key(def.domain, def.name), def).second)
          fail(ErrorCode::kInternal, "operator '{}' is defined twice", def.name);
      }
    return result;
  }();
  return all;
}

}  // namespace

const OpDef* find_op(std::string_view name, std::string_view domain) {
  const auto found = registry().find(Key(domain, name));
  return found == registry().end() ? nullptr : &found->second;
}

std::vector<const OpDef*> all_ops() {
  std::vector<const OpDef*> result;
  for (const auto& [key, def] : registry()) result.push_back(&def);
  return result;
}

int export_opset(const Graph& graph, const Node& node) {
  const OpDef* def = find_op(node.op, node.domain);
  if (def == nullptr) fail(ErrorCode::kInternal, "node '{}': unknown operator {}", node.name, node.op);
  int opset = def->valid_from;
  if (def->export_opset != nullptr) opset = std::max(opset, def->export_opset(graph, node));
  for (const AttributeDef& attribute : def->attributes)
    if (node.attributes.has(attribute.name)) opset = std::max(opset, attribute.since);
  return opset;
}

}  // namespace octet
