#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message_lite.h>

#include <algorithm>
#include <functional>
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

// Constants of fewer bytes stay inside the model.
constexpr int64_t kMinExternal = 1024;
// Of a tensor in the file of external data: what maps it wants whole pages.
constexpr int64_t kExternalAlignment = 4096;

using Sink = std::function<void(std::span<const std::byte>)>;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()), static_cast<size_t>(tensor.bytes())};
}

class Exporter {
 public:
  // `location` is the name of the file for external data; empty: none.
  Exporter(const Graph& graph, std::string location)
      : graph_(graph), names_(graph), location_(std::move(location)) {}

  void run() {
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
  }

  // The model, with the constants' elements from where they lie.
  void write_model(const Sink& sink) {
    const std::unique_ptr<onnx_pb::GraphProto> graph(model_.release_graph());
    const std::string front = serialized(model_), rest = serialized(*graph);
    std::string tag;
    append_tag(tag, kGraphField, checked_add(static_cast<int64_t>(rest.size()), constant_bytes_));
    if (checked_add(static_cast<int64_t>(front.size() + rest.size() + tag.size()), constant_bytes_) >
        std::numeric_limits<int32_t>::max())
      fail(ErrorCode::kUnsupported, "the model has over 2 GB besides its external data");
    sink(bytes_of(front));
    sink(bytes_of(tag));
    sink(bytes_of(rest));
    for (const Constant& c : constants_) {
      sink(bytes_of(c.head));
      if (c.inside != nullptr && c.inside->bytes() > 0) sink(bytes_of(*c.inside));
    }
  }

  // The file beside it.
  void write_external(const Sink& sink) const {
    const std::vector<std::byte> zeros(kExternalAlignment);
    int64_t at = 0;
    for (const auto& [offset, tensor] : external_) {
      sink(std::span(zeros).first(static_cast<size_t>(offset - at)));
      sink(bytes_of(*tensor));
      at = offset + tensor->bytes();
    }
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

  // Field numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data.
  static constexpr uint32_t kGraphField = 7, kInitializerField = 5, kRawDataField = 9;

  // An initializer on the wire: `head` ends where the elements begin.
  struct Constant {
    std::string head;
    const Tensor* inside;  // null: its elements are external
  };

  static void append_varint(std::string& out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
    out.push_back(static_cast<char>(value));
  }

  // Of a length-delimited field.
  static void append_tag(std::string& out, uint32_t field, int64_t length) {
    append_varint(out, (uint64_t{field} << 3) | 2);
    append_varint(out, static_cast<uint64_t>(length));
  }

  static std::string serialized(const google::protobuf::MessageLite& message) {
    std::string bytes;
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    if (!message.SerializeToCodedStream(&coded)) fail(ErrorCode::kInternal, "the model cannot be serialized");
    coded.Trim();
    return bytes;
  }

  void write_constants() {
    for (ValueId v = 0; v < graph_.value_slots(); ++v) {
      const Value& value = graph_.value(v);
      if (!value.constant || !used(v)) continue;
      write_constant(value.name, *value.constant);
    }
  }

  void write_constant(const std::string& name, const Tensor& tensor) {
    onnx_pb::TensorProto proto;
    write_tensor_header(tensor, name, proto);
    const bool outside = !location_.empty() && tensor.bytes() >= kMinExternal;
    if (outside) {
      const int64_t offset = round_up(external_end_, kExternalAlignment);
      external_.emplace_back(offset, &tensor);
      external_end_ = checked_add(offset, tensor.bytes());
      proto.set_data_location(onnx_pb::TensorProto::EXTERNAL);
      const auto entry = [&](const char* key, const std::string& text) {
        auto& e = *proto.add_external_data();
        e.set_key(key);
        e.set_value(text);
      };
      entry("location", location_);
      entry("offset", std::to_string(offset));
      entry("length", std::to_string(tensor.bytes()));
    }
    std::string content = serialized(proto);
    if (!outside) append_tag(content, kRawDataField, tensor.bytes());
    const int64_t length = checked_add(static_cast<int64_t>(content.size()), outside ? 0 : tensor.bytes());
    Constant constant{{}, outside ? nullptr : &tensor};
    append_tag(constant.head, kInitializerField, length);
    constant_bytes_ = checked_add(constant_bytes_, checked_add(constant.head.size(), length));
    constant.head += content;
    constants_.push_back(std::move(constant));
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
  std::vector<Constant> constants_;
  int64_t constant_bytes_ = 0;  // of all of them on the wire
  std::string location_;
  std::vector<std::pair<int64_t, const Tensor*>> external_;
  int64_t external_end_ = 0;
};

}  // namespace

std::string export_onnx_bytes(const Graph& graph) {
  Exporter exporter(graph, "");
  exporter.run();
  std::string bytes;
  exporter.write_model([&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  });
  return bytes;
}

int64_t constant_bytes(const Graph& graph) {
  int64_t total = 0;
  for (ValueId v = 0; v < graph.value_slots(); ++v)
    if (graph.is_constant(v) && (!graph.consumers(v).empty() || graph.is_output(v)))
      total = checked_add(total, graph.value(v).constant->bytes());
  return total;
}

OnnxWriter::OnnxWriter(const Graph& graph, const std::filesystem::path& path, const ExportOptions& options) {
  // With room for names and nodes.
  constexpr int64_t kMostInside = std::numeric_limits<int32_t>::max() - (int64_t{64} << 20);
  const bool external = options.external_data || constant_bytes(graph) > kMostInside;
  const std::string location = external ? path.filename().string() + ".data" : "";
  Exporter exporter(graph, location);
  exporter.run();
  model_ = std::make_unique<AtomicFile>(path);
  if (external) {
    data_ = std::make_unique<AtomicFile>(path.parent_path() / location);
    exporter.write_external([&](std::span<const std::byte> part) { data_->write(part); });
  }
  exporter.write_model([&](std::span<const std::byte> part) { model_->write(part); });
}

OnnxWriter::~OnnxWriter() = default;

void OnnxWriter::commit() {
  if (data_) data_->commit();
  model_->commit();
}

void export_onnx(const Graph& graph, const std::filesystem::path& path, const ExportOptions& options) {
  OnnxWriter(graph, path, options).commit();
}

}  // namespace octet
