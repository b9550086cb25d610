#include "onnx/branches.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"
#include "ops/op_def.h"
#include "ops/support.h"

namespace octet {
namespace {

// Of a value that is computed on the way to a condition.
constexpr int64_t kMaxBytes = 64 << 20;

bool is_if(const onnx_pb::NodeProto& node) {
  return node.op_type() == "If" && (node.domain().empty() || node.domain() == "ai.onnx");
}

std::unordered_map<std::string, int> producers(const onnx_pb::GraphProto& graph) {
  std::unordered_map<std::string, int> made;
  for (int i = 0; i < graph.node_size(); ++i)
    for (const std::string& output : graph.node(i).output())
      if (!output.empty()) made.emplace(output, i);
  return made;
}

// Names that the node reads, also in its branches.
void collect_reads(const onnx_pb::NodeProto& node, std::vector<std::string>& names) {
  for (const std::string& input : node.input())
    if (!input.empty()) names.push_back(input);
  for (const auto& attribute : node.attribute())
    if (attribute.has_g()) {
      for (const auto& inner : attribute.g().node()) collect_reads(inner, names);
      for (const auto& output : attribute.g().output()) names.push_back(output.name());
    }
}

void rename_reads(onnx_pb::NodeProto& node, const std::map<std::string, std::string>& names) {
  const auto renamed = [&](std::string& name) {
    if (const auto found = names.find(name); found != names.end()) name = found->second;
  };
  for (std::string& input : *node.mutable_input()) renamed(input);
  for (auto& attribute : *node.mutable_attribute()) {
    if (!attribute.has_g()) continue;
    for (auto& inner : *attribute.mutable_g()->mutable_node()) rename_reads(inner, names);
    for (auto& output : *attribute.mutable_g()->mutable_output()) renamed(*output.mutable_name());
  }
}

const onnx_pb::TensorProto* constant_of(const onnx_pb::GraphProto& graph, const std::string& name) {
  for (const auto& tensor : graph.initializer())
    if (tensor.name() == name) return &tensor;
  for (const auto& node : graph.node())
    if (node.op_type() == "Constant" && node.output_size() == 1 && node.output(0) == name)
      for (const auto& attribute : node.attribute())
        if (attribute.name() == "value" && attribute.has_t()) return &attribute.t();
  return nullptr;
}

// One integer that is 0.
bool is_zero(const onnx_pb::TensorProto* tensor) {
  if (tensor == nullptr || tensor->data_type() != dtype_to_onnx(DType::kInt64)) return false;
  if (std::ranges::any_of(tensor->dims(), [](int64_t d) { return d != 1; })) return false;
  if (tensor->int64_data_size() == 1) return tensor->int64_data(0) == 0;
  return tensor->raw_data() == std::string(8, '\0');
}

class Evaluation {
 public:
  explicit Evaluation(const Graph& graph) : graph_(graph) {
    for (const NodeId id : graph.sorted()) run(graph.node(id));
  }

  const Tensor* find(ValueId value) const {
    if (graph_.is_constant(value)) return &*graph_.value(value).constant;
    const auto found = values_.find(value);
    return found == values_.end() ? nullptr : &found->second;
  }

 private:
  void run(const Node& node) {
    for (const ValueId output : node.outputs)
      if (output != kNoId) take_integers(output);
    const OpDef* op = find_op(node.op, node.domain);
    if (op == nullptr || op->run == nullptr) return;
    std::vector<Tensor> inputs, outputs;
    for (const ValueId v : node.inputs) {
      const Tensor* known = v == kNoId ? nullptr : find(v);
      if (v != kNoId && known == nullptr) return;
      inputs.push_back(known != nullptr ? *known : Tensor());
    }
    for (const ValueId v : node.outputs) {
      if (v == kNoId) return;
      const Value& value = graph_.value(v);
      if (!value.dtype || !value.shape || !all_known(*value.shape)) return;
      const Shape shape = evaluate(*value.shape);
      if (dtype_bytes(*value.dtype, checked_product(shape)) > kMaxBytes) return;
      outputs.emplace_back(*value.dtype, shape);
    }
    op->run(node.attributes, inputs, outputs);
    for (size_t i = 0; i < outputs.size(); ++i) values_.insert_or_assign(node.outputs[i], outputs[i]);
  }

  // What derives from shapes.
  void take_integers(ValueId id) {
    const Value& value = graph_.value(id);
    if (!value.integers || !value.shape || value.dtype != DType::kInt64 || !all_known(*value.integers) ||
        !all_known(*value.shape))
      return;
    Tensor tensor(DType::kInt64, evaluate(*value.shape));
    const std::vector<int64_t> known = evaluate(*value.integers);
    if (static_cast<int64_t>(known.size()) != tensor.count()) return;
    std::ranges::copy(known, tensor.as<int64_t>().begin());
    values_.insert_or_assign(id, std::move(tensor));
  }

  const Graph& graph_;
  std::map<ValueId, Tensor> values_;
};

}  // namespace

std::vector<int> ready_branches(const onnx_pb::GraphProto& graph) {
  const auto made = producers(graph);
  // 0: not seen, 1: on the way, 2: depends on no If, 3: does. A cycle counts as none; import names it.
  std::vector<int8_t> state(static_cast<size_t>(graph.node_size()), 0);
  std::vector<int> ready;
  const auto depends = [&](const std::string& name) {
    std::vector<int> stack;
    const auto visit = [&](const std::string& read) {
      const auto found = made.find(read);
      if (found != made.end() && state[found->second] == 0) {
        state[found->second] = 1;
        stack.push_back(found->second);
      }
    };
    const auto tainted = [&](int node) {
      std::vector<std::string> reads;
      collect_reads(graph.node(node), reads);
      return std::ranges::any_of(reads, [&](const std::string& read) {
        const auto found = made.find(read);
        return found != made.end() && state[found->second] == 3;
      });
    };
    visit(name);
    while (!stack.empty()) {
      const int node = stack.back();
      const size_t before = stack.size();
      std::vector<std::string> reads;
      collect_reads(graph.node(node), reads);
      for (const std::string& read : reads) visit(read);
      if (stack.size() != before) continue;
      stack.pop_back();
      state[node] = is_if(graph.node(node)) || tainted(node) ? 3 : 2;
    }
    const auto found = made.find(name);
    return found != made.end() && state[found->second] == 3;
  };
  for (int i = 0; i < graph.node_size(); ++i)
    if (is_if(graph.node(i)) && graph.node(i).input_size() == 1 && !depends(graph.node(i).input(0)))
      ready.push_back(i);
  return ready;
}

onnx_pb::ModelProto part_of(const onnx_pb::ModelProto& model, const std::vector<std::string>& outputs) {
  const onnx_pb::GraphProto& graph = model.graph();
  const auto made = producers(graph);
  std::unordered_set<std::string> needed;
  std::set<int> nodes;
  std::vector<std::string> stack = outputs;
  while (!stack.empty()) {
    const std::string name = std::move(stack.back());
    stack.pop_back();
    if (!needed.insert(name).second) continue;
    const auto found = made.find(name);
    if (found == made.end() || !nodes.insert(found->second).second) continue;
    collect_reads(graph.node(found->second), stack);
  }
  onnx_pb::ModelProto part;
  part.set_ir_version(model.ir_version());
  *part.mutable_opset_import() = model.opset_import();
  onnx_pb::GraphProto& target = *part.mutable_graph();
  for (const int node : nodes) *target.add_node() = graph.node(node);
  for (const auto& tensor : graph.initializer())
    if (needed.contains(tensor.name())) *target.add_initializer() = tensor;
  for (const auto& input : graph.input()) *target.add_input() = input;
  for (const std::string& name : std::set<std::string>(outputs.begin(), outputs.end()))
    target.add_output()->set_name(name);
  return part;
}

std::vector<std::optional<bool>> known_booleans(const Graph& graph) {
  const Evaluation evaluation(graph);
  std::vector<std::optional<bool>> result;
  for (const ValueId output : graph.outputs()) {
    const Tensor* tensor = evaluation.find(output);
    const bool usable = tensor != nullptr && tensor->dtype() == DType::kBool && tensor->count() == 1;
    result.push_back(usable ? std::optional(tensor->as<bool>()[0]) : std::nullopt);
  }
  return result;
}

bool spares_empty_inputs(const onnx_pb::GraphProto& graph, int node) {
  const onnx_pb::NodeProto& call = graph.node(node);
  const auto made = producers(graph);
  const auto producer = [&](const std::string& name) {
    const auto found = made.find(name);
    return found == made.end() ? nullptr : &graph.node(found->second);
  };
  // Whether a size is 0.
  const onnx_pb::NodeProto* test = producer(call.input(0));
  if (test != nullptr && test->op_type() == "Cast" && test->input_size() > 0) test = producer(test->input(0));
  if (test == nullptr || test->op_type() != "Equal" || test->input_size() != 2) return false;
  const bool first = is_zero(constant_of(graph, test->input(0)));
  if (!first && !is_zero(constant_of(graph, test->input(1)))) return false;
  const onnx_pb::NodeProto* size = producer(test->input(first ? 1 : 0));
  constexpr int kMostSteps = 4;
  for (int i = 0; i < kMostSteps && size != nullptr && size->input_size() > 0; ++i) {
    if (size->op_type() == "Shape" || size->op_type() == "Size") break;
    const bool passes = std::ranges::any_of(std::array{"ReduceProd", "Gather", "Squeeze", "Cast"},
                                            [&](const char* op) { return size->op_type() == op; });
    size = passes ? producer(size->input(0)) : nullptr;
  }
  if (size == nullptr || (size->op_type() != "Shape" && size->op_type() != "Size")) return false;
  for (const auto& attribute : call.attribute()) {
    if (attribute.name() != "then_branch") continue;
    return std::ranges::all_of(attribute.g().output(), [&](const auto& output) {
      const auto* tensor = constant_of(attribute.g(), output.name());
      return tensor != nullptr && std::ranges::count(tensor->dims(), 0) > 0;
    });
  }
  return false;
}

void take_branch(onnx_pb::GraphProto& graph, int node, bool condition) {
  onnx_pb::NodeProto call;
  call.Swap(graph.mutable_node(node));
  const std::string where = fmt::format("node '{}' (If)", call.name()),
                    wanted = condition ? "then_branch" : "else_branch";
  onnx_pb::GraphProto branch;
  bool found = false;
  for (auto& attribute : *call.mutable_attribute()) {
    if (attribute.name() != wanted || !attribute.has_g()) continue;
    branch.Swap(attribute.mutable_g());
    found = true;
  }
  if (!found) fail(ErrorCode::kBadFile, "{}: attribute '{}' is missing", where, wanted);
  if (branch.input_size() != 0 || branch.output_size() < call.output_size())
    fail(ErrorCode::kBadFile, "{}: its {} has {} inputs and {} outputs, expected none and {}", where, wanted,
         branch.input_size(), branch.output_size(), call.output_size());
  if (branch.sparse_initializer_size() != 0)
    fail(ErrorCode::kUnsupported, "{}: its {} has sparse initializers, which are not supported", where,
         wanted);

  // The same names may stand in other branches.
  const std::string stem = call.name().empty() ? call.output_size() ? call.output(0) : "If" : call.name();
  std::map<std::string, std::string> names;
  for (auto& tensor : *branch.mutable_initializer()) {
    names[tensor.name()] = stem + "/" + tensor.name();
    tensor.set_name(stem + "/" + tensor.name());
    graph.add_initializer()->Swap(&tensor);
  }
  for (const auto& inner : branch.node())
    for (const std::string& output : inner.output())
      if (!output.empty()) names[output] = fmt::format("{}/{}", stem, output);
  for (auto& inner : *branch.mutable_node()) {
    rename_reads(inner, names);
    for (std::string& output : *inner.mutable_output())
      if (!output.empty()) output = names.at(output);
    inner.set_name(stem + "/" + (inner.name().empty() ? inner.op_type() : inner.name()));
    graph.add_node()->Swap(&inner);
  }
  for (int i = 0; i < call.output_size(); ++i) {
    if (call.output(i).empty()) continue;
    auto& copy = *graph.add_node();
    const std::string& name = branch.output(i).name();
    copy.set_op_type("Identity");
    copy.set_name(fmt::format("{}/output_{}", stem, i));
    copy.add_input(names.contains(name) ? names.at(name) : name);
    copy.add_output(call.output(i));
  }
}

}  // namespace octet
