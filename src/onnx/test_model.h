// Shared by tests of import: models built node by node, and what an imported graph computes.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "onnx.pb.h"
#include "onnx/onnx.h"
#include "onnx/tensor_proto.h"
#include "ops/op_def.h"
#include "ops/support.h"

namespace octet::testing {

using Names = std::vector<std::string>;

// Nodes of a graph, of a function's body or of a branch.
template <typename Proto>
onnx_pb::NodeProto& add_node(Proto& graph, const std::string& op, const Names& inputs, const Names& outputs,
                             const std::string& domain = "") {
  onnx_pb::NodeProto& node = *graph.add_node();
  node.set_op_type(op);
  node.set_name(op + "_of_" + outputs.at(0));
  if (!domain.empty()) node.set_domain(domain);
  for (const std::string& name : inputs) node.add_input(name);
  for (const std::string& name : outputs) node.add_output(name);
  return node;
}

inline onnx_pb::AttributeProto& add_attribute(onnx_pb::NodeProto& node, const std::string& name,
                                              int64_t value) {
  onnx_pb::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx_pb::AttributeProto::INT);
  attribute.set_i(value);
  return attribute;
}
inline void add_attribute(onnx_pb::NodeProto& node, const std::string& name,
                          const std::vector<int64_t>& values) {
  onnx_pb::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx_pb::AttributeProto::INTS);
  for (const int64_t value : values) attribute.add_ints(value);
}
inline void add_attribute(onnx_pb::NodeProto& node, const std::string& name, float value) {
  onnx_pb::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx_pb::AttributeProto::FLOAT);
  attribute.set_f(value);
}

struct Model {
  onnx_pb::ModelProto proto;

  explicit Model(int64_t opset = 13) {
    proto.set_ir_version(8);
    opset_of("", opset);
    opset_of("com.microsoft", 1);
  }
  void opset_of(const std::string& domain, int64_t version) {
    auto& entry = *proto.add_opset_import();
    entry.set_domain(domain);
    entry.set_version(version);
  }
  onnx_pb::GraphProto& graph() { return *proto.mutable_graph(); }
  void describe(onnx_pb::ValueInfoProto& info, const std::string& name, DType dtype, const Shape& shape) {
    info.set_name(name);
    auto& type = *info.mutable_type()->mutable_tensor_type();
    type.set_elem_type(static_cast<int32_t>(dtype_to_onnx(dtype)));
    type.mutable_shape();
    for (const int64_t dim : shape) type.mutable_shape()->add_dim()->set_dim_value(dim);
  }
  void input(const std::string& name, DType dtype, const Shape& shape) {
    describe(*graph().add_input(), name, dtype, shape);
  }
  void output(const std::string& name) { graph().add_output()->set_name(name); }
  template <typename T>
  std::string constant(const std::string& name, Shape shape, const std::vector<T>& values) {
    Tensor tensor(DTypeOf<T>::value, std::move(shape));
    std::copy(values.begin(), values.end(), tensor.as<T>().begin());
    write_tensor(tensor, name, *graph().add_initializer());
    return name;
  }
  template <typename T>
  std::string scalar(const std::string& name, T value) {
    return constant<T>(name, {}, {value});
  }
  onnx_pb::NodeProto& node(const std::string& op, const Names& inputs, const Names& outputs,
                           const std::string& domain = "") {
    return add_node(graph(), op, inputs, outputs, domain);
  }
  Graph import() const {
    const std::string bytes = proto.SerializeAsString();
    return import_onnx(std::as_bytes(std::span<const char>(bytes)), "test.onnx", ".");
  }
  std::string error() const {
    try {
      import();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  }
};

// The first output, node by node with the operators' plain functions.
inline Tensor compute(const Graph& graph, const std::vector<Tensor>& inputs) {
  std::map<ValueId, Tensor> values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs().at(i)] = inputs[i];
  const auto value = [&](ValueId v) {
    return v == kNoId ? Tensor() : graph.is_constant(v) ? *graph.value(v).constant : values.at(v);
  };
  for (const NodeId id : graph.sorted()) {
    const Node& node = graph.node(id);
    std::vector<Tensor> in, out;
    for (const ValueId v : node.inputs) in.push_back(value(v));
    for (const ValueId v : node.outputs)
      out.emplace_back(*graph.value(v).dtype, evaluate(*graph.value(v).shape));
    find_op(node.op, node.domain)->run(node.attributes, in, out);
    for (size_t i = 0; i < out.size(); ++i) values[node.outputs[i]] = out[i];
  }
  return value(graph.outputs().at(0));
}

inline Names ops_of(const Graph& graph) {
  Names names;
  for (const NodeId id : graph.sorted()) names.push_back(graph.node(id).op);
  return names;
}

}  // namespace octet::testing
