#include <cstring>
#include <map>
#include <string_view>
#include <tuple>

#include "passes/canonicalize.h"

namespace octet {

bool merge_constants(Graph& graph) {
  // Equal keys have equal elements, because a view compares what it shows.
  using Key = std::tuple<DType, Shape, std::string_view>;
  std::map<Key, ValueId> first;
  bool changed = false;
  for (ValueId v = 0; v < graph.value_slots(); ++v) {
    if (!graph.is_constant(v) || graph.consumers(v).empty()) continue;
    const Tensor& t = *graph.value(v).constant;
    const Key key{t.dtype(), t.shape(), {static_cast<const char*>(t.raw()), static_cast<size_t>(t.bytes())}};
    const auto [kept, added] = first.try_emplace(key, v);
    if (added) continue;
    graph.replace_uses(v, kept->second, /*outputs_too=*/false);
    changed = true;
  }
  return changed;
}

}  // namespace octet
