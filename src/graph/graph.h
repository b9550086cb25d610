// A network as a graph of nodes over named values, in ONNX's terms: logical shapes (NCHW), one internal
// opset.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/attributes.h"
#include "tensor/dim.h"
#include "tensor/tensor.h"

namespace octet {

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr int32_t kNoId = -1;

// An edge: the output of a node, an input of the graph, or a constant.
struct Value {
  std::string name;  // unique in its graph
  std::optional<DType> dtype;
  std::optional<Dims> shape;
  std::optional<Tensor> constant;  // immutable; shared by copies of the graph
  NodeId producer = kNoId;         // kNoId for graph inputs and constants
  // Elements of a small integer tensor that derive from shapes; shape inference keeps it.
  std::optional<Dims> integers = {};
};

struct Node {
  std::string op;               // "Conv"
  std::string domain;           // "" is ONNX's own, "ai.octet" ours
  std::string name;             // unique in its graph, never empty
  std::vector<ValueId> inputs;  // kNoId where an optional input is absent
  std::vector<ValueId> outputs;
  Attributes attributes;
  bool alive = true;

  bool is(std::string_view op_name, std::string_view op_domain = "") const {
    return op == op_name && domain == op_domain;
  }
};

// Two sizes that the operators of a network want to be equal although shape inference cannot show that they
// are: inputs of one Add, for instance.
struct DimEquality {
  Dim a, b;
  std::string node;  // that wants it
};

// Domain of the operators that only Octet has (fused activations, formats that ONNX lacks).
inline constexpr std::string_view kOctetDomain = "ai.octet";

// A value type: copies are independent, but share the constants' elements. Ids stay valid while nodes and
// values are added or removed. Not synchronised.
class Graph {
 public:
  std::string name;
  std::map<std::string, std::string> metadata;  // of the model, e.g. "octet.preprocess"
  std::vector<DimEquality> equalities;          // set by infer_shapes; for who runs the network to check

  // Building. Names that are taken get a suffix.
  ValueId add_value(std::string_view name, std::optional<DType> dtype = {}, std::optional<Dims> shape = {});
  ValueId add_input(std::string_view name, DType dtype, Dims shape);
  ValueId add_constant(std::string_view name, Tensor tensor);
  void mark_output(ValueId value);
  NodeId add_node(std::string op, std::string domain, std::string_view name, std::vector<ValueId> inputs,
                  std::vector<ValueId> outputs, Attributes attributes = {});
  // A node with one new output value named `output`.
  ValueId add_op(std::string op, std::string_view name, std::vector<ValueId> inputs, std::string_view output,
                 Attributes attributes = {}, std::string domain = "");

  // Changing.
  void set_input(NodeId node, size_t index, ValueId value);
  void append_input(NodeId node, ValueId value);
  // Every node that reads `from` (except `keep`) reads `to` instead; a graph output `from` becomes `to` when
  // `outputs_too`.
  void replace_uses(ValueId from, ValueId to, bool outputs_too = true, NodeId keep = kNoId);
  // Output `index` of the node becomes `value`, which must have no producer (for instance one that a removed
  // node had made). The value that stood there before loses its producer.
  void take_output(NodeId node, size_t index, ValueId value);
  void append_output(NodeId node, ValueId value);  // likewise
  // The node disappears; its outputs lose their producer and must not be used any more.
  void remove_node(NodeId node);
  void rename(ValueId value, std::string_view name);

  // Reading. Through the references change neither a node's inputs and outputs nor a value's name and
  // producer.
  const Node& node(NodeId id) const { return nodes_[id]; }
  Node& node(NodeId id) { return nodes_[id]; }
  const Value& value(ValueId id) const { return values_[id]; }
  Value& value(ValueId id) { return values_[id]; }
  int32_t node_slots() const { return static_cast<int32_t>(nodes_.size()); }
  int32_t value_slots() const { return static_cast<int32_t>(values_.size()); }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<ValueId>& outputs() const { return outputs_; }
  bool is_output(ValueId value) const;
  bool is_input(ValueId value) const { return value != kNoId && is_input_[value]; }
  // The only input that is read or an output, where there is one: exporters forget inputs that nothing reads.
  // kNoId: there are none or several.
  ValueId only_input() const;
  bool is_constant(ValueId value) const { return value != kNoId && values_[value].constant.has_value(); }
  // Nodes that read the value, each once, in order of their ids.
  const std::vector<NodeId>& consumers(ValueId value) const { return consumers_[value]; }
  // The node that produces it, or null.
  const Node* producer(ValueId value) const;
  std::optional<ValueId> find_value(std::string_view name) const;
  std::optional<NodeId> find_node(std::string_view name) const;
  // Live nodes such that each comes after the producers of its inputs; stable with respect to ids. Throws
  // Error on a cycle, naming nodes on it.
  std::vector<NodeId> sorted() const;

  // Removes nodes and constants that no output depends on.
  void prune();

 private:
  using Names = std::map<std::string, int32_t, std::less<>>;
  // `wanted`, or the first of wanted_1, wanted_2 ... that is free.
  std::string unique(std::string_view wanted, const Names& taken);
  void add_consumer(ValueId value, NodeId node);
  void remove_consumer(ValueId value, NodeId node);
  [[noreturn]] void fail_cycle(const std::vector<int32_t>& waiting) const;

  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::vector<std::vector<NodeId>> consumers_;
  std::vector<bool> is_input_;  // of each value
  std::vector<ValueId> inputs_, outputs_;
  Names value_names_, node_names_;
  Names suffixes_;  // the last suffix that a name was given
};

}  // namespace octet
