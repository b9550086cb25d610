#include "graph/graph.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "base/error.h"

namespace octet {

std::string Graph::unique(std::string_view wanted, const Names& taken) {
  if (!wanted.empty() && !taken.contains(wanted)) return std::string(wanted);
  const std::string stem = wanted.empty() ? "unnamed" : std::string(wanted);
  int32_t& suffix = suffixes_[stem];
  std::string candidate;
  do {
    candidate = fmt::format("{}_{}", stem, ++suffix);
  } while (taken.contains(candidate));
  return candidate;
}

ValueId Graph::add_value(std::string_view value_name, std::optional<DType> dtype, std::optional<Dims> shape) {
  const auto id = static_cast<ValueId>(values_.size());
  Value value;
  value.name = unique(value_name, value_names_);
  value.dtype = dtype;
  value.shape = std::move(shape);
  value_names_.emplace(value.name, id);
  values_.push_back(std::move(value));
  consumers_.emplace_back();
  is_input_.push_back(false);
  return id;
}

ValueId Graph::add_input(std::string_view value_name, DType dtype, Dims shape) {
  const ValueId id = add_value(value_name, dtype, std::move(shape));
  inputs_.push_back(id);
  is_input_[id] = true;
  return id;
}

ValueId Graph::add_constant(std::string_view value_name, Tensor tensor) {
  if (!tensor.defined()) fail(ErrorCode::kInternal, "constant '{}' has no elements", value_name);
  const ValueId id =
      add_value(value_name, tensor.dtype(), Dims(tensor.shape().begin(), tensor.shape().end()));
  values_[id].constant = std::move(tensor);
  return id;
}

void Graph::mark_output(ValueId value) {
  outputs_.push_back(value);
}

NodeId Graph::add_node(std::string op, std::string domain, std::string_view node_name,
                       std::vector<ValueId> inputs, std::vector<ValueId> outputs, Attributes attributes) {
  for (const ValueId output : outputs) {
    if (output == kNoId) continue;
    const Value& value = values_[output];
    if (value.producer != kNoId || value.constant || is_input(output) ||
        std::ranges::count(outputs, output) > 1)
      fail(ErrorCode::kInvalidArgument, "node '{}' ({}) produces '{}', which {} already", node_name, op,
           value.name,
           value.producer != kNoId ? "node '" + nodes_[value.producer].name + "' produces"
                                   : std::string("exists"));
  }
  const auto id = static_cast<NodeId>(nodes_.size());
  Node node;
  node.name = unique(node_name.empty() ? fmt::format("{}_{}", op, id) : node_name, node_names_);
  node.op = std::move(op);
  node.domain = std::move(domain);
  node.inputs = std::move(inputs);
  node.outputs = std::move(outputs);
  node.attributes = std::move(attributes);
  node_names_.emplace(node.name, id);
  for (const ValueId input : node.inputs) add_consumer(input, id);
  for (const ValueId output : node.outputs)
    if (output != kNoId) values_[output].producer = id;
  nodes_.push_back(std::move(node));
  return id;
}

ValueId Graph::add_op(std::string op, std::string_view node_name, std::vector<ValueId> inputs,
                      std::string_view output, Attributes attributes, std::string domain) {
  const ValueId value = add_value(output);
  add_node(std::move(op), std::move(domain), node_name, std::move(inputs), {value}, std::move(attributes));
  return value;
}

void Graph::add_consumer(ValueId value, NodeId node) {
  if (value == kNoId) return;
  std::vector<NodeId>& list = consumers_[value];
  const auto at = std::ranges::lower_bound(list, node);
  if (at == list.end() || *at != node) list.insert(at, node);
}

void Graph::remove_consumer(ValueId value, NodeId node) {
  if (value == kNoId) return;
  std::vector<NodeId>& list = consumers_[value];
  const auto at = std::ranges::lower_bound(list, node);
  if (at != list.end() && *at == node) list.erase(at);
}

void Graph::set_input(NodeId node, size_t index, ValueId value) {
  std::vector<ValueId>& list = nodes_[node].inputs;
  const ValueId old = list.at(index);
  list[index] = value;
  if (std::ranges::find(list, old) == list.end()) remove_consumer(old, node);
  add_consumer(value, node);
}

void Graph::append_input(NodeId node, ValueId value) {
  nodes_[node].inputs.push_back(value);
  add_consumer(value, node);
}

void Graph::replace_uses(ValueId from, ValueId to, bool outputs_too, NodeId keep) {
  if (from == to) return;
  const std::vector<NodeId> readers = consumers_[from];
  for (const NodeId reader : readers) {
    if (reader == keep) continue;
    std::ranges::replace(nodes_[reader].inputs, from, to);
    remove_consumer(from, reader);
    add_consumer(to, reader);
  }
  if (outputs_too) std::ranges::replace(outputs_, from, to);
}

void Graph::take_output(NodeId node, size_t index, ValueId value) {
  ValueId& slot = nodes_[node].outputs.at(index);
  if (values_[value].producer != kNoId)
    fail(ErrorCode::kInternal, "value '{}' has a producer", values_[value].name);
  if (slot != kNoId) values_[slot].producer = kNoId;
  slot = value;
  values_[value].producer = node;
}

void Graph::append_output(NodeId node, ValueId value) {
  nodes_[node].outputs.push_back(kNoId);
  take_output(node, nodes_[node].outputs.size() - 1, value);
}

void Graph::remove_node(NodeId node) {
  Node& dead = nodes_[node];
  if (!dead.alive) return;
  dead.alive = false;
  for (const ValueId input : dead.inputs) remove_consumer(input, node);
  for (const ValueId output : dead.outputs)
    if (output != kNoId) values_[output].producer = kNoId;
  node_names_.erase(dead.name);
  dead.inputs.clear();
  dead.outputs.clear();
  dead.attributes = {};
}

void Graph::rename(ValueId value, std::string_view value_name) {
  if (values_[value].name == value_name) return;
  const std::string fresh = unique(value_name, value_names_);
  const auto old = value_names_.find(values_[value].name);
  if (old != value_names_.end() && old->second == value) value_names_.erase(old);
  values_[value].name = fresh;
  value_names_.emplace(fresh, value);
}

ValueId Graph::only_input() const {
  ValueId only = kNoId;
  for (ValueId input : inputs_) {
    if (consumers(input).empty() && !is_output(input)) continue;
    if (only != kNoId) return kNoId;
    only = input;
  }
  return only;
}

bool Graph::is_output(ValueId value) const {
  return std::ranges::find(outputs_, value) != outputs_.end();
}

const Node* Graph::producer(ValueId value) const {
  if (value == kNoId || values_[value].producer == kNoId) return nullptr;
  return &nodes_[values_[value].producer];
}

std::optional<ValueId> Graph::find_value(std::string_view value_name) const {
  const auto found = value_names_.find(value_name);
  return found == value_names_.end() ? std::nullopt : std::optional<ValueId>(found->second);
}

std::optional<NodeId> Graph::find_node(std::string_view node_name) const {
  const auto found = node_names_.find(node_name);
  return found == node_names_.end() ? std::nullopt : std::optional<NodeId>(found->second);
}

std::vector<NodeId> Graph::sorted() const {
  // How many distinct produced values a node still waits for.
  std::vector<int32_t> waiting(nodes_.size(), 0);
  size_t alive = 0;
  for (size_t i = 0; i < nodes_.size(); ++i) alive += nodes_[i].alive ? 1 : 0;
  for (size_t v = 0; v < values_.size(); ++v)
    if (values_[v].producer != kNoId)
      for (const NodeId reader : consumers_[v]) ++waiting[reader];

  std::priority_queue<NodeId, std::vector<NodeId>, std::greater<>> ready;
  for (NodeId i = 0; i < node_slots(); ++i)
    if (nodes_[i].alive && waiting[i] == 0) ready.push(i);
  std::vector<NodeId> order;
  order.reserve(alive);
  while (!ready.empty()) {
    const NodeId id = ready.top();
    ready.pop();
    order.push_back(id);
    for (const ValueId output : nodes_[id].outputs) {
      if (output == kNoId) continue;
      for (const NodeId reader : consumers_[output])
        if (--waiting[reader] == 0) ready.push(reader);
    }
  }
  if (order.size() != alive) fail_cycle(waiting);
  return order;
}

void Graph::fail_cycle(const std::vector<int32_t>& waiting) const {
  // From any node that still waits, going back to a producer that waits too ends in a cycle.
  NodeId at = kNoId;
  for (NodeId i = 0; i < node_slots() && at == kNoId; ++i)
    if (nodes_[i].alive && waiting[i] > 0) at = i;
  std::vector<NodeId> path;
  std::vector<bool> seen(nodes_.size(), false);
  while (!seen[at]) {
    seen[at] = true;
    path.push_back(at);
    for (const ValueId input : nodes_[at].inputs) {
      const NodeId before = input == kNoId ? kNoId : values_[input].producer;
      if (before == kNoId || waiting[before] == 0) continue;
      at = before;
      break;
    }
  }
  path.erase(path.begin(), std::ranges::find(path, at));
  std::ranges::reverse(path);
  std::string names;
  constexpr size_t kMaxNames = 8;
  for (size_t i = 0; i < path.size() && i < kMaxNames; ++i)
    names += fmt::format("{}'{}'", i == 0 ? "" : " -> ", nodes_[path[i]].name);
  if (path.size() > kMaxNames) names += fmt::format(" and {} more", path.size() - kMaxNames);
  fail(ErrorCode::kInvalidArgument, "the graph has a cycle through {}", names);
}

void Graph::prune() {
  std::vector<bool> needed(nodes_.size(), false);
  std::vector<bool> kept(values_.size(), false);
  std::vector<ValueId> stack(outputs_.begin(), outputs_.end());
  for (const ValueId input : inputs_) kept[input] = true;
  while (!stack.empty()) {
    const ValueId value = stack.back();
    stack.pop_back();
    kept[value] = true;
    const NodeId from = values_[value].producer;
    if (from == kNoId || needed[from]) continue;
    needed[from] = true;
    for (const ValueId output : nodes_[from].outputs)
      if (output != kNoId) kept[output] = true;
    for (const ValueId input : nodes_[from].inputs)
      if (input != kNoId) stack.push_back(input);
  }
  for (NodeId i = 0; i < node_slots(); ++i)
    if (nodes_[i].alive && !needed[i]) remove_node(i);
  for (size_t v = 0; v < values_.size(); ++v) {
    if (kept[v]) continue;
    const auto found = value_names_.find(values_[v].name);
    if (found != value_names_.end() && found->second == static_cast<ValueId>(v)) value_names_.erase(found);
    values_[v].constant.reset();
    values_[v].integers.reset();
  }
}

}  // namespace octet
