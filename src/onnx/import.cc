#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <set>
#include <unordered_map>

#include "base/file.h"
#include "onnx.pb.h"
#include "onnx/attributes.h"
#include "onnx/branches.h"
#include "onnx/functions.h"
#include "onnx/onnx.h"
#include "onnx/problems.h"
#include "onnx/quantized_ops.h"
#include "onnx/tensor_proto.h"
#include "onnx/wire.h"
#include "ops/op_def.h"
#include "ops/support.h"

namespace octet {
namespace {

namespace fs = std::filesystem;
// Of the message without large initializers.
constexpr size_t kMaxMessage = std::numeric_limits<int>::max();
constexpr int kMaxNesting = 64;
constexpr int kOldestIr = 3;
// How often conditions may depend on the results of branches.
constexpr int kMaxBranchRounds = 64;
// The opset that brought the 16-bit Q/DQ that ONNX Runtime has in a domain of its own for older models.
constexpr int kMicrosoftQdqOpset = 21;

std::string canonical_domain(const std::string& domain) {
  return domain == "ai.onnx" ? "" : domain;
}

class Importer {
 public:
  Importer(std::span<const std::byte> bytes, std::string file, const fs::path& folder,
           std::shared_ptr<const void> owner)
      : file_(std::move(file)), files_(folder), owner_(std::move(owner)), problems_(file_) {
    parse(bytes);
  }

  Graph run(const ImportOptions& options) {
    try {
      inline_functions(model_);
      check_model();
      take_known_branches();
      read_inputs();
      read_nodes();
      read_outputs();
      problems_.throw_if_any();
      upgrade(false);
      problems_.throw_if_any();
      expand_quantized_nodes();
      problems_.throw_if_any();
      bool late = false;
      for (const Read& node : nodes_) late = late || node.def->upgrade_needs_shapes;
      graph_.sorted();
      if (options.infer) infer_shapes(graph_);
      if (late) {
        upgrade(true);
        problems_.throw_if_any();
        if (options.infer) infer_shapes(graph_);
      }
      check_internal();
      problems_.throw_if_any();
    } catch (const Error& error) {
      const std::string prefix = fmt::format("'{}'", file_);
      if (error.message().starts_with(prefix)) throw;
      throw Error(error.code(), prefix + ": " + error.message());
    }
    if (options.files != nullptr)
      for (const auto& [location, file] : files_.opened()) options.files->push_back(file);
    return std::move(graph_);
  }

 private:
  // Of a part of another importer's model.
  Importer(const Importer& whole, onnx_pb::ModelProto part)
      : file_(whole.file_),
        files_(whole.files_),
        owner_(whole.owner_),
        model_(std::move(part)),
        payloads_(whole.payloads_),
        problems_(file_) {}

  struct Read {
    NodeId node;
    const OpDef* def;
    int opset;
  };

  [[noreturn]] void fail_format(std::string_view what) const {
    fail(ErrorCode::kBadFile, "'{}' is not an ONNX model: {}", file_, what);
  }

  void parse(std::span<const std::byte> bytes) {
    if (bytes.empty()) fail_format("the file is empty");
    std::optional<LiftedModel> lifted = lift_payloads(bytes);
    if (!lifted) fail_format("it is damaged or cut off, or of another format");
    if (lifted->message.size() > kMaxMessage)
      fail(ErrorCode::kUnsupported, "'{}' has over 2 GB outside its large initializers", file_);
    google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(lifted->message.data()),
                                                  static_cast<int>(lifted->message.size()));
    stream.SetRecursionLimit(kMaxNesting);
    if (!model_.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage())
      fail_format("it is damaged or cut off, or of another format");
    if (!model_.has_graph()) fail_format("it has no graph");
    for (const auto& [index, payload] : lifted->payloads)
      if (index < static_cast<size_t>(model_.graph().initializer_size()))
        payloads_.emplace(model_.graph().initializer(static_cast<int>(index)).name(), payload);
  }

  void check_model() {
    if (model_.ir_version() < kOldestIr)
      fail(ErrorCode::kUnsupported, "'{}' has IR version {}, supported are {} and above", file_,
           model_.ir_version(), kOldestIr);
    for (const auto& entry : model_.opset_import()) {
      const int64_t version = std::clamp<int64_t>(entry.version(), -1, 1 << 30);
      opsets_[canonical_domain(entry.domain())] = static_cast<int>(version);
    }
    const auto onnx = opsets_.find("");
    if (onnx == opsets_.end() && !model_.graph().node().empty() && opsets_.empty())
      fail(ErrorCode::kBadFile, "'{}' does not say which opset it uses", file_);
    if (onnx != opsets_.end() && (onnx->second < 1 || onnx->second > kNewestOpset))
      fail(ErrorCode::kUnsupported, "'{}' has opset {}, supported are {} to {}", file_, onnx->second,
           kOldestOpset, kNewestOpset);
    if (!model_.graph().sparse_initializer().empty())
      fail(ErrorCode::kUnsupported, "'{}' has sparse initializers, which are not supported", file_);
    graph_.name = model_.graph().name();
    for (const auto& entry : model_.metadata_props()) graph_.metadata[entry.key()] = entry.value();
  }

  // False when the values depend on what cannot be imported; reading the whole model will say it.
  bool find_booleans(const std::vector<std::string>& names,
                     std::map<std::string, std::optional<bool>>& known) const {
    try {
      Importer part(*this, part_of(model_, names));
      const Graph made = part.run({});
      const auto values = known_booleans(made);
      for (size_t i = 0; i < values.size(); ++i) known[made.value(made.outputs()[i]).name] = values[i];
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  // Conditions often ask for shapes: each round imports what they depend on.
  void take_known_branches() {
    onnx_pb::GraphProto& graph = *model_.mutable_graph();
    for (int round = 0; round < kMaxBranchRounds; ++round) {
      const std::vector<int> ready = ready_branches(graph);
      if (ready.empty()) return;
      std::vector<std::string> conditions;
      conditions.reserve(ready.size());
      for (const int node : ready) conditions.push_back(graph.node(node).input(0));
      std::map<std::string, std::optional<bool>> known;
      if (!find_booleans(conditions, known))
        for (const std::string& condition : conditions) find_booleans({condition}, known);
      std::set<int> taken;
      for (const int node : ready) {
        const auto value = known[graph.node(node).input(0)];
        if (!value && !spares_empty_inputs(graph, node)) continue;
        take_branch(graph, node, value.value_or(false));
        taken.insert(node);
      }
      if (taken.empty()) return;
      google::protobuf::RepeatedPtrField<onnx_pb::NodeProto> nodes;
      nodes.Swap(graph.mutable_node());
      for (int i = 0; i < nodes.size(); ++i)
        if (!taken.contains(i)) graph.add_node()->Swap(nodes.Mutable(i));
    }
  }

  void define(const std::string& name, ValueId value, std::string_view what) {
    if (name.empty()) fail(ErrorCode::kBadFile, "{} without a name", what);
    if (!values_.emplace(name, value).second)
      fail(ErrorCode::kBadFile,
           "the name '{}' of {} is taken by an input, an initializer or another node's output", name, what);
  }

  void read_inputs() {
    const auto& graph = model_.graph();
    std::set<std::string_view> constants;
    for (const auto& tensor : graph.initializer()) constants.insert(tensor.name());
    for (const auto& input : graph.input())
      if (input.type().tensor_type().has_shape())
        for (const auto& dim : input.type().tensor_type().shape().dim()) symbols_.insert(dim.dim_param());
    for (const auto& input : graph.input()) {
      if (constants.contains(input.name())) continue;  // with a default, which old files give all weights
      const auto& type = input.type().tensor_type();
      if (!input.type().has_tensor_type())
        fail(ErrorCode::kUnsupported, "the input '{}' is not a tensor", input.name());
      const auto dtype = dtype_from_onnx(type.elem_type());
      if (!dtype)
        fail(ErrorCode::kUnsupported, "the input '{}' has element type {} of ONNX, which is not supported",
             input.name(), type.elem_type());
      if (!type.has_shape())
        fail(ErrorCode::kUnsupported, "the input '{}' has no shape, not even a rank", input.name());
      Dims shape;
      for (const auto& dim : type.shape().dim()) {
        if (dim.has_dim_value() && dim.dim_value() > 0)
          shape.emplace_back(dim.dim_value());
        else if (is_name(dim.dim_param()))
          shape.push_back(named(dim.dim_param()));
        else
          shape.push_back(fresh_symbol(input.name(), shape.size()));
      }
      define(input.name(), graph_.add_input(input.name(), *dtype, std::move(shape)), "an input");
    }
    for (int i = 0; i < graph.initializer_size(); ++i) {
      const auto& proto = graph.initializer(i);
      std::optional<std::span<const std::byte>> payload;
      if (const auto found = payloads_.find(proto.name()); found != payloads_.end() && !proto.has_raw_data())
        payload = found->second;
      Tensor tensor =
          read_tensor(proto, "initializer '" + proto.name() + "'" + users(proto), files_, payload, owner_);
      define(proto.name(), graph_.add_constant(proto.name(), std::move(tensor)), "an initializer");
    }
  }

  // For messages about an initializer that cannot be read: the node that reads it.
  std::string users(const onnx_pb::TensorProto& tensor) const {
    if (dtype_from_onnx(tensor.data_type())) return {};
    for (const auto& node : model_.graph().node())
      if (std::ranges::find(node.input(), tensor.name()) != node.input().end())
        return fmt::format(" of node '{}' ({})", node.name(), node.op_type());
    return {};
  }

  // Exporters write "?", "-1" and the like for dimensions of which nothing is known: these are not one.
  static bool is_name(std::string_view dim) {
    return dim != "None" && std::ranges::any_of(dim, [](unsigned char c) { return std::isalpha(c); });
  }

  // "past_length + length" is the sum where inputs have both sizes by themselves.
  Dim named(const std::string& text) const { return parse_dim(text, symbols_).value_or(Dim::symbol(text)); }

  Dim fresh_symbol(const std::string& input, size_t axis) {
    std::string symbol = fmt::format("{}_d{}", input, axis);
    while (!symbols_.insert(symbol).second) symbol += "_";
    return Dim::symbol(symbol);
  }

  void read_nodes() {
    const auto& graph = model_.graph();
    std::unordered_map<std::string, const onnx_pb::ValueInfoProto*> declared;
    for (const auto& info : graph.value_info()) declared[info.name()] = &info;
    for (const auto& info : graph.output()) declared[info.name()] = &info;
    for (int i = 0; i < graph.node_size(); ++i)
      for (const std::string& output : graph.node(i).output()) {
        if (output.empty()) continue;
        const ValueId value = graph_.add_value(output);
        define(output, value, fmt::format("an output of {}", describe(i)));
        if (const auto found = declared.find(output); found != declared.end()) declare(value, *found->second);
      }
    for (int i = 0; i < graph.node_size(); ++i) read_node(i);
  }

  // What the file says about a value; shape inference replaces it where it can.
  void declare(ValueId id, const onnx_pb::ValueInfoProto& info) {
    if (!info.type().has_tensor_type()) return;
    const auto& type = info.type().tensor_type();
    graph_.value(id).dtype = dtype_from_onnx(type.elem_type());
    if (!type.has_shape() || type.shape().dim_size() > 32) return;
    Dims shape;
    for (const auto& dim : type.shape().dim()) {
      if (dim.has_dim_value() && dim.dim_value() >= 0)
        shape.emplace_back(dim.dim_value());
      else if (is_name(dim.dim_param()))
        shape.push_back(named(dim.dim_param()));
      else
        return;
    }
    graph_.value(id).shape = std::move(shape);
  }

  std::string describe(int index) const {
    const auto& node = model_.graph().node(index);
    return fmt::format("node '{}' ({})", node_name(index), node.op_type());
  }

  std::string node_name(int index) const {
    const auto& node = model_.graph().node(index);
    return node.name().empty() ? fmt::format("{}_{}", node.op_type(), index) : node.name();
  }

  void read_node(int index) {
    const auto& proto = model_.graph().node(index);
    Node node;
    node.op = proto.op_type();
    node.domain = canonical_domain(proto.domain());
    int opset = kOctetOpset;
    if (node.domain == kMicrosoftDomain && (node.op == "QuantizeLinear" || node.op == "DequantizeLinear")) {
      node.domain.clear();
      opset = kMicrosoftQdqOpset;
    } else if (const auto found = opsets_.find(node.domain); found != opsets_.end()) {
      opset = found->second;
    } else if (node.domain.empty()) {
      fail(ErrorCode::kBadFile, "{} is of ONNX's own domain, for which the model names no opset",
           describe(index));
    }
    for (const std::string& input : proto.input()) {
      const auto found = values_.find(input);
      if (!input.empty() && found == values_.end())
        fail(ErrorCode::kBadFile, "{} reads '{}', which nothing produces", describe(index), input);
      node.inputs.push_back(input.empty() ? kNoId : found->second);
    }
    while (!node.inputs.empty() && node.inputs.back() == kNoId) node.inputs.pop_back();
    for (const std::string& output : proto.output())
      node.outputs.push_back(output.empty() ? kNoId : values_.at(output));
    while (!node.outputs.empty() && node.outputs.back() == kNoId) node.outputs.pop_back();

    std::vector<std::string> found;
    const OpDef* def = find_op(node.op, node.domain);
    const bool quantized = is_quantized_operator(node.op, node.domain);
    if (quantized) {
      node.attributes = read_attributes(proto, files_, found);
    } else if (def == nullptr) {
      found.push_back(node.is("If")
                          ? fmt::format("its condition '{}' is not decided by constants and shapes alone, "
                                        "which is what is supported",
                                        proto.input_size() > 0 ? proto.input(0) : "")
                          : "unknown operator");
    } else if (node.domain.empty() && opset < def->oldest) {
      found.push_back(fmt::format("supported are opsets from {} on", std::max(def->oldest, def->since)));
    } else if (node.domain.empty() && (opset < def->since || opset > def->until)) {
      found.push_back(fmt::format("the operator exists from opset {} to {}", def->since, def->until));
    } else {
      node.attributes = read_attributes(proto, files_, found);
      if (found.empty()) found = check_node(node, *def, opset);
    }
    for (std::string& problem : found)
      problems_.add({node.op, node.domain, opset, node_name(index), std::move(problem)});
    if (!found.empty()) return;
    const NodeId id = graph_.add_node(node.op, node.domain, node_name(index), std::move(node.inputs),
                                      std::move(node.outputs), std::move(node.attributes));
    if (quantized)
      quantized_.push_back({id, opset});
    else
      nodes_.push_back({id, def, opset});
  }

  void read_outputs() {
    std::set<ValueId> given;
    for (const auto& output : model_.graph().output()) {
      const auto found = values_.find(output.name());
      if (found == values_.end())
        fail(ErrorCode::kBadFile, "nothing produces the output '{}'", output.name());
      if (!given.insert(found->second).second)
        fail(ErrorCode::kBadFile, "the output '{}' is given twice", output.name());
      graph_.mark_output(found->second);
    }
    if (graph_.outputs().empty()) fail(ErrorCode::kBadFile, "the graph has no outputs");
  }

  void upgrade(bool late) {
    for (const Read& entry : nodes_) {
      if (entry.def->upgrade == nullptr || entry.def->upgrade_needs_shapes != late) continue;
      const Node before = graph_.node(entry.node);
      try {
        entry.def->upgrade(graph_, entry.node, entry.opset);
      } catch (const Error& error) {
        add_problem(before, entry.opset, error);
      }
    }
  }

  // Behind upgrade(), which makes constants of Constant nodes.
  void expand_quantized_nodes() {
    for (const OldNode& entry : quantized_) {
      const Node before = graph_.node(entry.node);
      // What has parameters that only the data decide runs as it is.
      if (const OpDef* def = find_op(before.op, before.domain);
          def != nullptr && !has_constant_scales(before)) {
        nodes_.push_back({entry.node, def, entry.opset});
        continue;
      }
      try {
        for (const OldNode& old : expand_quantized(graph_, entry.node)) {
          const Node made = graph_.node(old.node);
          const OpDef* def = find_op(made.op, made.domain);
          if (def == nullptr || def->upgrade == nullptr) continue;
          nodes_.push_back({old.node, def, old.opset});
          if (!def->upgrade_needs_shapes) def->upgrade(graph_, old.node, old.opset);
        }
      } catch (const Error& error) {
        add_problem(before, entry.opset, error);
      }
    }
  }

  // Of QLinearConv and QLinearMatMul.
  bool has_constant_scales(const Node& node) const {
    for (const size_t i : {1, 2, 4, 5, 6, 7})
      if (i >= node.inputs.size() || !graph_.is_constant(node.inputs[i])) return false;
    return true;
  }

  void add_problem(const Node& node, int opset, const Error& error) {
    std::string what = error.message();
    const std::string prefix = fmt::format("node '{}' ({}): ", node.name, node.op);
    if (what.starts_with(prefix)) what.erase(0, prefix.size());
    problems_.add({node.op, node.domain, opset, node.name, std::move(what)});
  }

  void check_internal() {
    for (NodeId id = 0; id < graph_.node_slots(); ++id) {
      const Node& node = graph_.node(id);
      if (!node.alive) continue;
      const OpDef* def = find_op(node.op, node.domain);
      if (def == nullptr)
        fail(ErrorCode::kInternal, "node '{}' became an unknown operator {}", node.name, node.op);
      std::vector<std::string> found = check_node(node, *def, 0);
      if (found.empty()) continue;
      const auto entry = std::ranges::find(nodes_, id, &Read::node);
      for (std::string& problem : found)
        problems_.add(
            {node.op, node.domain, entry != nodes_.end() ? entry->opset : 0, node.name, std::move(problem)});
    }
  }

  std::string file_;
  ExternalFiles files_;
  std::shared_ptr<const void> owner_;
  onnx_pb::ModelProto model_;
  std::unordered_map<std::string, std::span<const std::byte>> payloads_;  // by the initializer's name
  std::map<std::string, int> opsets_;
  std::set<std::string, std::less<>> symbols_;
  std::unordered_map<std::string, ValueId> values_;
  std::vector<Read> nodes_;
  std::vector<OldNode> quantized_;  // those that expand_quantized() replaces
  Problems problems_;
  Graph graph_;
};

}  // namespace

Graph import_onnx(const fs::path& path, const ImportOptions& options) {
  const auto file = std::make_shared<MappedFile>(path);
  if (options.files != nullptr) options.files->push_back(*file);
  return Importer(file->bytes(), path.string(), path.parent_path(), file).run(options);
}

Graph import_onnx(std::span<const std::byte> bytes, const std::string& name, const fs::path& folder,
                  const ImportOptions& options) {
  return Importer(bytes, name, folder, nullptr).run(options);
}

}  // namespace octet
