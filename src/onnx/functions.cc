#include "onnx/functions.h"

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "base/error.h"

namespace octet {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxNodes = size_t{1} << 18, kMaxBytes = size_t{256} << 20;  // that bodies may add

using Key = std::tuple<std::string, std::string, std::string>;  // domain, name, overload

std::string canonical(const std::string& domain) {
  return domain == "ai.onnx" ? "" : domain;
}

// One call while it is expanded.
struct Call {
  const onnx_pb::NodeProto& node;
  const onnx_pb::FunctionProto& function;
  std::string prefix;
  std::map<std::string, std::string> names;  // of the function's inputs and outputs outside

  std::string name(const std::string& inside) const {
    if (inside.empty()) return {};
    const auto found = names.find(inside);
    return found != names.end() ? found->second : prefix + inside;
  }
};

class Inliner {
 public:
  explicit Inliner(onnx_pb::ModelProto& model) : model_(model) {
    for (const auto& function : model.functions())
      if (!functions_
               .emplace(Key(canonical(function.domain()), function.name(), function.overload()), &function)
               .second)
        fail(ErrorCode::kBadFile, "the function '{}' is defined twice", function.name());
  }

  void run() {
    expand(*model_.mutable_graph(), 0);
    std::set<std::string> known;
    for (const auto& entry : model_.opset_import()) known.insert(canonical(entry.domain()));
    // Versions that differ must mean the same for what the function uses, says ONNX.
    for (const auto& function : model_.functions())
      for (const auto& entry : function.opset_import())
        if (known.insert(canonical(entry.domain())).second) *model_.add_opset_import() = entry;
    model_.clear_functions();
  }

 private:
  const onnx_pb::FunctionProto* find(const onnx_pb::NodeProto& node) const {
    const auto found = functions_.find(Key(canonical(node.domain()), node.op_type(), node.overload()));
    return found == functions_.end() ? nullptr : found->second;
  }

  void expand(onnx_pb::GraphProto& graph, int depth) {
    google::protobuf::RepeatedPtrField<onnx_pb::NodeProto> nodes;
    nodes.Swap(graph.mutable_node());
    for (auto& node : nodes) place(node, graph, depth);
  }

  // Adds the node, or what it calls, to the graph.
  void place(onnx_pb::NodeProto& node, onnx_pb::GraphProto& graph, int depth) {
    const auto* function = find(node);
    if (function != nullptr) return expand_call(node, *function, graph, depth + 1);
    for (auto& attribute : *node.mutable_attribute())
      if (attribute.has_g()) expand(*attribute.mutable_g(), depth);
    graph.add_node()->Swap(&node);
  }

  void expand_call(const onnx_pb::NodeProto& node, const onnx_pb::FunctionProto& function,
                   onnx_pb::GraphProto& graph, int depth) {
    const std::string where = fmt::format("node '{}' ({})", node.name(), node.op_type());
    if (depth > kMaxDepth)
      fail(ErrorCode::kUnsupported, "{}: its function calls others {} deep", where, kMaxDepth);
    if (node.input_size() > function.input_size() || node.output_size() > function.output_size())
      fail(ErrorCode::kBadFile, "{}: {} inputs and {} outputs, its function has {} and {}", where,
           node.input_size(), node.output_size(), function.input_size(), function.output_size());
    Call call{node, function, prefix_of(node), {}};
    for (int i = 0; i < function.input_size(); ++i)
      call.names[function.input(i)] = i < node.input_size() ? node.input(i) : "";
    for (int i = 0; i < function.output_size(); ++i) {
      if (i >= node.output_size() || node.output(i).empty()) continue;
      // An output that is an input, or is given twice, is a copy.
      if (call.names.emplace(function.output(i), node.output(i)).second) continue;
      auto& copy = *graph.add_node();
      copy.set_op_type("Identity");
      copy.set_name(call.prefix + "output_" + std::to_string(i));
      copy.add_input(call.name(function.output(i)));
      copy.add_output(node.output(i));
    }
    for (const auto& inner : function.node()) {
      bytes_ += inner.ByteSizeLong();
      if (++nodes_ > kMaxNodes || bytes_ > kMaxBytes)
        fail(ErrorCode::kUnsupported, "{}: the functions of the model expand to over {} nodes or {} MiB",
             where, kMaxNodes, kMaxBytes >> 20);
      onnx_pb::NodeProto copy = inner;
      rename(copy, call);
      place(copy, graph, depth);
    }
  }

  std::string prefix_of(const onnx_pb::NodeProto& node) {
    const std::string stem = node.name().empty() ? node.op_type() : node.name();
    std::string prefix = stem + "/";
    for (int i = 1; !prefixes_.insert(prefix).second; ++i) prefix = fmt::format("{}_{}/", stem, i);
    return prefix;
  }

  void rename(onnx_pb::NodeProto& node, const Call& call) {
    node.set_name(call.prefix + (node.name().empty() ? node.op_type() : node.name()));
    for (auto& name : *node.mutable_input()) name = call.name(name);
    for (auto& name : *node.mutable_output()) name = call.name(name);
    for (int i = 0; i < node.attribute_size();) {
      if (resolve(*node.mutable_attribute(i), call))
        ++i;
      else
        node.mutable_attribute()->DeleteSubrange(i, 1);
    }
  }

  // False for a reference to an attribute that the call does not give and that has no default.
  bool resolve(onnx_pb::AttributeProto& attribute, const Call& call) {
    if (attribute.has_g()) rename(*attribute.mutable_g(), call);
    if (attribute.ref_attr_name().empty()) return true;
    const auto take = [&](const auto& list) {
      for (const auto& given : list) {
        if (given.name() != attribute.ref_attr_name()) continue;
        const std::string name = attribute.name();
        bytes_ += given.ByteSizeLong();
        attribute = given;
        attribute.set_name(name);
        return true;
      }
      return false;
    };
    return take(call.node.attribute()) || take(call.function.attribute_proto());
  }

  // A branch in a function's body: all names in it are the function's.
  void rename(onnx_pb::GraphProto& graph, const Call& call) {
    for (auto& tensor : *graph.mutable_initializer()) tensor.set_name(call.name(tensor.name()));
    for (auto* list : {graph.mutable_input(), graph.mutable_output(), graph.mutable_value_info()})
      for (auto& info : *list) info.set_name(call.name(info.name()));
    for (auto& node : *graph.mutable_node()) rename(node, call);
  }

  onnx_pb::ModelProto& model_;
  std::map<Key, const onnx_pb::FunctionProto*> functions_;
  std::set<std::string> prefixes_;
  size_t nodes_ = 0, bytes_ = 0;
};

}  // namespace

void inline_functions(onnx_pb::ModelProto& model) {
  if (!model.functions().empty()) Inliner(model).run();
}

}  // namespace octet
