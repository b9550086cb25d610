#include <algorithm>
#include <numeric>
#include <set>

#include "ops/op_def.h"
#include "passes/attention.h"
#include "passes/channels.h"
#include "passes/groups.h"
#include "passes/logarithms.h"
#include "passes/pads.h"
#include "passes/quantize.h"

namespace octet {
namespace {

class Placer {
 public:
  Placer(const Graph& graph, const QuantizeOptions& options)
      : graph_(graph),
        options_(options),
        target_(options.target ? *options.target : find_target("octet")),
        groups_(graph),
        order_(graph.sorted()),
        before_logarithms_(layers_before_logarithms(graph)),
        wanted_(graph.value_slots(), false) {}

  Placement run() {
    check_names();
    choose_weighted();
    if (options_.quantize_outputs && !options_.weights_only)
      for (ValueId v : graph_.outputs()) want(v);
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) visit(*it);
    group_scales();
    return std::move(placement_);
  }

 private:
  bool is_image(ValueId value) const {
    const Node* cast = graph_.producer(value);
    return graph_.is_input(value) ||
           (cast != nullptr && cast->is("Cast") && graph_.is_input(cast->inputs[0]));
  }

  bool selected(const Node& node) const {
    const auto named = [&](const std::vector<std::string>& names) {
      return std::any_of(names.begin(), names.end(),
                         [&](const std::string& n) { return n == node.name || n == node.op; });
    };
    return (options_.include.empty() || named(options_.include)) && !named(options_.exclude);
  }

  bool asked_by_name(const Node& node) const {
    return std::ranges::find(options_.include, node.name) != options_.include.end();
  }

  // Why the target gains nothing from 8 bits for the node; who asks for it by name gets it.
  std::optional<std::string> no_gain(const Node& node) const {
    if (!target_.tensor_cores || options_.every_target || options_.weights_only || asked_by_name(node))
      return {};
    return slow_on_tensor_cores(graph_, node);
  }

  // Whether a layer needs an 8-bit result of its own to run in 8 bits.
  bool wants_result(const Node& root) const {
    return ((target_.quantized_sums && !curved()) || options_.every_target) && root.is("Conv");
  }

  // Networks with SiLU and the like lose too much where the results of their heads are 8-bit (yolox_nano:
  // from 27 to 15 dB): there accuracy goes before speed.
  bool curved() const {
    return std::ranges::any_of(
        order_, [&](NodeId id) { return graph_.node(id).is("HardSwish") || graph_.node(id).op == "Silu"; });
  }

  void check_names() const {
    std::set<std::string> known;
    for (NodeId id : order_) {
      known.insert(graph_.node(id).name);
      known.insert(graph_.node(id).op);
    }
    for (const auto* names : {&options_.include, &options_.exclude})
      for (const std::string& name : *names)
        if (!known.count(name))
          fail(ErrorCode::kInvalidArgument, "no node and no operator type of the model is named '{}'", name);
  }

  bool float_value(ValueId v) const {
    return v != kNoId && !graph_.is_constant(v) && graph_.value(v).dtype == DType::kFloat32;
  }

  void choose_weighted() {
    for (const NodeGroup& group : groups_.groups()) {
      const Node& root = graph_.node(group.root);
      if (!is_weighted(graph_, root) || !float_value(root.inputs[0])) continue;
      const Tensor* w =
          graph_.is_constant(root.inputs[1]) ? &*graph_.value(root.inputs[1]).constant : nullptr;
      const bool plain_gemm = !root.is("Gemm") || (root.attributes.get_int("transA", 0) == 0);
      if (!selected(root))
        placement_.left_out[group.root] = "excluded";
      else if (w == nullptr || w->dtype() != DType::kFloat32 || w->count() == 0)
        placement_.left_out[group.root] = "its weights are not float32";
      else if (!plain_gemm || (root.is("MatMul") && w->rank() != 2) || (root.is("Conv") && w->rank() != 4))
        placement_.left_out[group.root] = "no 8-bit kernel for this form";
      else if (auto reason = no_gain(root))
        placement_.left_out[group.root] = std::move(*reason);
      else if (before_logarithms_.count(group.root) > 0 && !options_.weights_only && !asked_by_name(root))
        placement_.left_out[group.root] = "a logarithm reads it, to which small values matter as well";
      else
        quantized_roots_.insert(group.root);
    }
    for (NodeId id : order_)
      if (quantized_roots_.count(id)) placement_.weighted.push_back(id);
  }

  // Whether the value is made by a node that computes in 8 bits (or enters the graph).
  bool made_in_8_bits(ValueId v) const {
    const NodeId producer = graph_.value(v).producer;
    if (producer == kNoId) return false;
    if (const NodeGroup* group = groups_.find(producer)) return quantized_roots_.count(group->root) > 0;
    return moves(graph_.node(producer)) && float_value(graph_.node(producer).inputs[0]) &&
           made_in_8_bits(graph_.node(producer).inputs[0]);
  }

  // The same, or whether it may be: sums and functions of such values are 8-bit where that is wanted.
  bool may_be_made_in_8_bits(ValueId v) {
    if (made_in_8_bits(v)) return true;
    const NodeId producer = graph_.value(v).producer;
    if (producer == kNoId) return true;
    if (const auto known = from_8_bits_.find(v); known != from_8_bits_.end()) return known->second;
    const Node& node = graph_.node(producer);
    const OpDef* op = find_op(node.op, node.domain);
    const bool passes =
        op != nullptr && (op->quant == QuantRule::kArithmetic || op->quant == QuantRule::kActivation ||
                          op->quant == QuantRule::kAverage || moves(node));
    const bool made = passes && std::ranges::any_of(node.inputs, [&](ValueId x) {
                        return float_value(x) && may_be_made_in_8_bits(x);
                      });
    return from_8_bits_[v] = made;
  }

  bool moves(const Node& node) const {
    return keeps_scale(graph_, node) && (!node.is("Pad") || target_.quantized_pads || options_.every_target);
  }

  void want(ValueId v) {
    if (float_value(v)) wanted_[v] = true;
  }

  bool wanted(ValueId v) const { return v != kNoId && wanted_[v]; }

  // Rows of a constant matrix that is worth it, chosen when the network runs.
  bool is_table(const Node& node) const {
    constexpr int64_t kSmallest = 4096;  // elements
    if (!node.is("Gather") || !graph_.is_constant(node.inputs[0]) || graph_.is_constant(node.inputs[1]))
      return false;
    const Tensor& t = *graph_.value(node.inputs[0]).constant;
    const int64_t axis = node.attributes.get_int("axis", 0);
    return t.dtype() == DType::kFloat32 && t.rank() == 2 && (axis == 0 || axis == -2) &&
           t.count() >= kSmallest;
  }

  // Consumers come first: by now it is known which outputs of the node are wanted in 8 bits.
  void visit(NodeId id) {
    const Node& node = graph_.node(id);
    if (const NodeGroup* group = groups_.find(id)) {
      if (group->nodes.back() != id) return;
      visit_group(*group);
      return;
    }
    const OpDef* op = find_op(node.op, node.domain);
    if (op == nullptr || node.outputs.empty()) return;
    if (is_table(node)) {
      if (selected(node)) placement_.tables.push_back(id);
      return;
    }
    if (options_.weights_only) return;
    if (is_variable_matmul(graph_, node)) {
      if (!selected(node)) {
        placement_.left_out[id] = "excluded";
        return;
      }
      if (auto reason = no_gain(node)) {
        placement_.left_out[id] = std::move(*reason);
        return;
      }
      if (!asked_by_name(node) && !options_.every_target && reads_cache(graph_, node)) {
        placement_.left_out[id] = "it reads a cache, which each run would have to round anew";
        return;
      }
      want(node.inputs[0]);
      want(node.inputs[1]);
      placement_.integer_nodes.insert(id);
      return;
    }
    if (short_softmax(node) && selected(node) && made_in_8_bits(node.inputs[0])) {
      want(node.inputs[0]);
      want(node.outputs[0]);
      placement_.integer_nodes.insert(id);
      return;
    }
    if (moves(node)) return visit_move(id);
    if (op->quant == QuantRule::kAverage && selected(node) && rank(node.inputs[0]) == 4 &&
        made_in_8_bits(node.inputs[0])) {
      want(node.inputs[0]);
      placement_.integer_nodes.insert(id);
    }
  }

  void visit_move(NodeId id) {
    const Node& node = graph_.node(id);
    const auto wants = [&](ValueId v) { return wanted(v); };
    if (is_image(node.inputs[0]) && channels_first_image(graph_, node.inputs[0]) != kNoId) return;
    const bool any =
        wanted(node.outputs[0]) || (node.is("Split") && std::ranges::any_of(node.outputs, wants));
    if (!any || !selected(node)) return;
    const bool concat = node.is("Concat");
    if (concat && !std::ranges::all_of(node.inputs, [&](ValueId v) { return float_value(v); })) return;
    for (size_t i = 0; i < (concat ? node.inputs.size() : 1); ++i) want(node.inputs[i]);
    moving_.push_back(id);
    placement_.integer_nodes.insert(id);
  }

  // ONNX Runtime's float Softmax takes rows one by one, its 8-bit one a table: of many short rows that is a
  // third. (A classifier has one row, and keeps its probabilities; rows of two have a better form.)
  bool short_softmax(const Node& node) const {
    constexpr int64_t kShort = 16;
    if (!target_.quantized_sums || curved()) return false;
    const auto width = width_of_many_rows(graph_, node);
    return width && *width != 2 && *width <= kShort;
  }

  int rank(ValueId v) const {
    return graph_.value(v).shape ? static_cast<int>(graph_.value(v).shape->size()) : -1;
  }

  void visit_group(const NodeGroup& group) {
    if (options_.weights_only) return;
    const Node& root = graph_.node(group.root);
    if (quantized_roots_.count(group.root)) {
      want(root.inputs[0]);
      placement_.integer_nodes.insert(group.root);
      if (wants_result(root)) want_result(group);
      if (!wanted(group.output) && group.residual != kNoId) return;
      placement_.integer_nodes.insert(group.nodes.begin(), group.nodes.end());
      if (group.residual != kNoId) want(group.residual);
      return;
    }
    if (is_weighted(graph_, root) || !wanted(group.output) || !selected(root)) return;
    // Of floats alone: their sum is as fast in float, and its rounding is the only one.
    if (!options_.every_target && !options_.quantize_outputs &&
        std::ranges::none_of(root.inputs, [&](ValueId v) { return may_be_made_in_8_bits(v); }))
      return;
    if (float_value(root.inputs[0]) && float_value(root.inputs[1]) && rank(root.outputs[0]) == 4 &&
        supported_broadcast(root)) {
      want(root.inputs[0]);
      want(root.inputs[1]);
      placement_.integer_nodes.insert(group.nodes.begin(), group.nodes.end());
    }
  }

  void want_result(const NodeGroup& group) {
    if (group.residual == kNoId) return want(group.output);
    for (size_t i = 0; i < group.before_residual(); ++i) placement_.integer_nodes.insert(group.nodes[i]);
    want(graph_.node(group.nodes[group.before_residual() - 1]).outputs[0]);
  }

  // Same shape, or the second operand one pixel per image.
  bool supported_broadcast(const Node& node) const {
    const auto &a = graph_.value(node.inputs[0]).shape, &b = graph_.value(node.inputs[1]).shape;
    if (!a || !b) return false;
    if (*a == *b) return true;
    const auto pixel = [](const Dims& full, const Dims& p) {
      return full.size() == 4 && p.size() == 4 && p[0] == full[0] && p[1] == full[1] && p[2] == Dim(1) &&
             p[3] == Dim(1);
    };
    return pixel(*a, *b) || pixel(*b, *a);
  }

  void group_scales() {
    std::vector<ValueId> parent(graph_.value_slots());
    std::iota(parent.begin(), parent.end(), 0);
    const auto root = [&](ValueId v) {
      while (parent[v] != v) v = parent[v] = parent[parent[v]];
      return v;
    };
    std::vector<bool> moved(graph_.value_slots(), false);
    for (NodeId id : moving_) {
      const Node& node = graph_.node(id);
      for (ValueId out : node.outputs) {
        if (!wanted(out)) continue;
        moved[out] = true;
        for (size_t i = 0; i < (node.is("Concat") ? node.inputs.size() : 1); ++i)
          parent[root(node.inputs[i])] = root(out);
      }
    }
    std::map<ValueId, int32_t> index;
    for (ValueId v = 0; v < graph_.value_slots(); ++v) {
      if (!wanted_[v]) continue;
      const auto [it, fresh] = index.try_emplace(root(v), static_cast<int32_t>(placement_.groups.size()));
      if (fresh) placement_.groups.emplace_back();
      placement_.group_of[v] = it->second;
      if (!moved[v]) placement_.groups[it->second].push_back(v);
    }
  }

  const Graph& graph_;
  const QuantizeOptions& options_;
  const TargetRules& target_;
  NodeGroups groups_;
  std::vector<NodeId> order_;
  std::set<NodeId> before_logarithms_;
  std::vector<bool> wanted_;
  std::set<NodeId> quantized_roots_;
  std::map<ValueId, bool> from_8_bits_;  // may_be_made_in_8_bits()
  std::vector<NodeId> moving_;
  Placement placement_;
};

}  // namespace

Placement place(const Graph& graph, const QuantizeOptions& options) {
  return Placer(graph, options).run();
}

}  // namespace octet
