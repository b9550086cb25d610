#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <limits>

#include "base/checked.h"
#include "base/file.h"
#include "onnx.pb.h"
#include "onnx/attributes.h"
#include "onnx/onnx.h"
#include "onnx/tensor_proto.h"
#include "ops/op_def.h"
#include "ops/support.h"

namespace octet {
namespace {

constexpr int kMinOpset = 13;
constexpr int kNumOutputsOpset = 18;  // Split in equal parts needs num_outputs from here on

// The first IR version that came with an opset or after it.
int ir_version(int opset) {
  if (opset <= 14) return 7;
  if (opset <= 18) return 8;
  if (opset <= 20) return 9;
  if (opset <= 22) return 10;
  if (opset == 23) return 11;
  if (opset == 24) return 12;
  return opset <= 27 ? 13 : 14;
}

bool is_silu(const Node& node) {
  return node.is("Silu", kOctetDomain);
}

class Exporter {
 public:
  explicit Exporter(const Graph& graph) : graph_(graph), names_(graph) {}

  onnx_pb::ModelProto run() {
    order_ = graph_.sorted();
    choose_opset();
    model_.set_ir_version(ir_version(opset_));
    model_.set_producer_name("octet");
    model_.set_producer_version(OCTET_VERSION);
    auto& proto = *model_.mutable_graph();
    proto.set_name(graph_.name.empty() ? "octet" : graph_.name);
    for (const NodeId id : order_) write_node(id);
    write_constants();
    for (const ValueId input : graph_.inputs())
      write_value(input, graph_.value(input).name, *proto.add_input());
    write_outputs();
    for (const NodeId id : order_) {
      if (const auto gate = gates_.find(id); gate != gates_.end())
        write_value(graph_.node(id).outputs.at(0), gate->second, *proto.add_value_info());
      for (const ValueId output : graph_.node(id).outputs)
        if (output != kNoId && !graph_.is_output(output) && graph_.value(output).dtype &&
            graph_.value(output).shape)
          write_value(output, graph_.value(output).name, *proto.add_value_info());
    }
    write_opsets();
    for (const auto& [key, value] : graph_.metadata) {
      auto& entry = *model_.add_metadata_props();
      entry.set_key(key);
      entry.set_value(value);
    }
    return std::move(model_);
  }

 private:
  void choose_opset() {
    for (const NodeId id : order_) {
      const Node& node = graph_.node(id);
      if (node.domain.empty())
        opset_ = std::max(opset_, export_opset(graph_, node));
      else if (node.domain == kOctetDomain)
        own_domain_ = own_domain_ || !is_silu(node);
      else
        fail(ErrorCode::kUnsupported, "node '{}' ({}): export of the domain '{}'", node.name, node.op,
             node.domain);
    }
    // A 4-bit element type exists from opset 21 on.
    for (ValueId v = 0; v < graph_.value_slots(); ++v)
      if (graph_.value(v).constant && used(v) && dtype_bits(graph_.value(v).constant->dtype()) == 4)
        opset_ = std::max(opset_, 21);
  }

  bool used(ValueId value) const { return !graph_.consumers(value).empty() || graph_.is_output(value); }

  void write_opsets() {
    auto& own = *model_.add_opset_import();
    own.set_domain("");
    own.set_version(opset_);
    if (!own_domain_) return;
    auto& ours = *model_.add_opset_import();
    ours.set_domain(std::string(kOctetDomain));
    ours.set_version(kOctetOpset);
  }

  std::string name_of(ValueId value) const { return value == kNoId ? "" : graph_.value(value).name; }

  void write_node(NodeId id) {
    const Node& node = graph_.node(id);
    if (is_silu(node)) {
      write_silu(id);
      return;
    }
    auto& proto = *model_.mutable_graph()->add_node();
    proto.set_op_type(node.op);
    proto.set_name(node.name);
    if (!node.domain.empty()) proto.set_domain(node.domain);
    size_t inputs = node.inputs.size(), outputs = node.outputs.size();
    while (inputs > 0 && node.inputs[inputs - 1] == kNoId) --inputs;
    while (outputs > 0 && node.outputs[outputs - 1] == kNoId) --outputs;
    for (size_t i = 0; i < inputs; ++i) proto.add_input(name_of(node.inputs[i]));
    for (size_t i = 0; i < outputs; ++i) proto.add_output(name_of(node.outputs[i]));
    for (const auto& [name, value] : node.attributes) write_attribute(name, value, *proto.add_attribute());
    if (node.is("Split") && !has_input(node, 1) && opset_ >= kNumOutputsOpset)
      write_attribute("num_outputs", static_cast<int64_t>(node.outputs.size()), *proto.add_attribute());
  }

  // x * sigmoid(x)
  void write_silu(NodeId id) {
    const Node& node = graph_.node(id);
    const std::string x = name_of(node.inputs.at(0)), y = name_of(node.outputs.at(0));
    const ValueId gate = names_.add_value(y + "_gate");
    const NodeId at = names_.add_node("Sigmoid", "", node.name + "_sigmoid", {}, {gate});
    gates_.emplace(id, names_.value(gate).name);
    auto& sigmoid = *model_.mutable_graph()->add_node();
    sigmoid.set_op_type("Sigmoid");
    sigmoid.set_name(names_.node(at).name);
    sigmoid.add_input(x);
    sigmoid.add_output(names_.value(gate).name);
    auto& product = *model_.mutable_graph()->add_node();
    product.set_op_type("Mul");
    product.set_name(node.name);
    product.add_input(x);
    product.add_input(names_.value(gate).name);
    product.add_output(y);
  }

  void write_constants() {
    int64_t total = 0;
    for (ValueId v = 0; v < graph_.value_slots(); ++v) {
      const Value& value = graph_.value(v);
      if (!value.constant || !used(v)) continue;
      total = checked_add(total, value.constant->bytes());
      check_size(total);
      write_tensor(*value.constant, value.name, *model_.mutable_graph()->add_initializer());
    }
  }

  static void check_size(int64_t bytes) {
    if (bytes > std::numeric_limits<int32_t>::max())
      fail(ErrorCode::kUnsupported, "the model has over 2 GB, which one ONNX file cannot hold");
  }

  void write_value(ValueId id, const std::string& name, onnx_pb::ValueInfoProto& proto) {
    const Value& value = graph_.value(id);
    proto.set_name(name);
    auto& type = *proto.mutable_type()->mutable_tensor_type();
    if (value.dtype) type.set_elem_type(static_cast<int32_t>(dtype_to_onnx(*value.dtype)));
    if (!value.shape) return;
    auto& shape = *type.mutable_shape();
    for (const Dim& dim : *value.shape) {
      auto& entry = *shape.add_dim();
      if (dim.known())
        entry.set_dim_value(dim.value());
      else
        entry.set_dim_param(dim.text());
    }
  }

  // An output that no node produces, and one that is given twice, get an Identity.
  void write_outputs() {
    std::vector<ValueId> done;
    for (const ValueId output : graph_.outputs()) {
      const Value& value = graph_.value(output);
      if (!value.dtype)
        fail(ErrorCode::kInvalidArgument, "the element type of the output '{}' is not known", value.name);
      std::string name = value.name;
      if (value.producer == kNoId || std::ranges::find(done, output) != done.end()) {
        const ValueId copy = names_.add_value(name);
        name = names_.value(copy).name;
        const NodeId at = names_.add_node("Identity", "", name + "_identity", {}, {copy});
        auto& node = *model_.mutable_graph()->add_node();
        node.set_op_type("Identity");
        node.set_name(names_.node(at).name);
        node.add_input(value.name);
        node.add_output(name);
      }
      done.push_back(output);
      write_value(output, name, *model_.mutable_graph()->add_output());
    }
  }

  const Graph& graph_;
  Graph names_;  // a copy in which the names of what export adds are reserved
  std::vector<NodeId> order_;
  std::map<NodeId, std::string> gates_;  // the value between the two nodes of a Silu
  int opset_ = kMinOpset;
  bool own_domain_ = false;
  onnx_pb::ModelProto model_;
};

}  // namespace

std::string export_onnx_bytes(const Graph& graph) {
  const onnx_pb::ModelProto model = Exporter(graph).run();
  if (model.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail(ErrorCode::kUnsupported, "the model has over 2 GB, which one ONNX file cannot hold");
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    if (!model.SerializeToCodedStream(&coded)) fail(ErrorCode::kInternal, "the model cannot be serialized");
  }
  return bytes;
}

void export_onnx(const Graph& graph, const std::filesystem::path& path) {
  const std::string bytes = export_onnx_bytes(graph);
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace octet
