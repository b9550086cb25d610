// A part of a quantized graph as one function of its layers' weights, with gradients.
//
// A node belongs to the part when gradient_ops.h has its operator and all that it reads is constant, made by
// the part, or made outside of the nodes that the part was asked for. 8-bit values stand for the real values
// that they are; rounding them lets gradients pass where nothing is clipped. Weights and biases are not the
// graph's: the caller gives them, as real numbers; the grids of 8-bit values are the graph's, times and plus
// what the caller gives.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "correct/gradient_ops.h"
#include "graph/graph.h"

namespace octet {

// A layer whose weights are variables: its root, and for a MatMul the Add that has its bias (or kNoId).
struct PartLayer {
  NodeId root = kNoId, bias_add = kNoId;
};

// Threads: const.
class GraphPart {
 public:
  // `nodes` of a canonical graph whose shapes are known. `grids` are QuantizeLinear nodes whose grids are
  // variables, by their index.
  GraphPart(const Graph& graph, std::span<const NodeId> nodes, std::span<const PartLayer> layers,
            const std::map<NodeId, size_t>& grids = {});

  // Values of the graph that the part reads: float ones, or 8-bit ones of these parameters.
  struct Border {
    ValueId value = kNoId;
    QuantParams params;               // empty scale: it is float
    int64_t channels = 1, inner = 1;  // of the parameters' axis
    size_t slot = 0;
  };
  const std::vector<Border>& inputs() const { return inputs_; }
  // What others read of it; `real` is the float value, of which `value` may be the 8-bit form.
  struct Output {
    ValueId value = kNoId, real = kNoId;
    size_t slot = 0;
  };
  const std::vector<Output>& outputs() const { return outputs_; }
  // Whether the part has that layer, by its index in `layers`.
  bool has_layer(size_t i) const { return has_layer_[i]; }
  size_t layer_input(size_t i) const { return layer_input_[i]; }  // its slot
  bool has(NodeId node) const { return members_.count(node) > 0; }

  PartSlots slots() const;
  // Of the inputs that stand in their slots.
  void forward(PartSlots& s, const PartVariables& at) const;
  // From the gradients in the outputs' slots; the caller clears all of them before. Adds to `gradients`.
  void backward(PartSlots& s, const PartVariables& at, PartVariables& gradients) const;
  // Writes zeros.
  void clear_gradients(PartSlots& s) const;

 private:
  struct Builder;
  std::vector<std::unique_ptr<PartOp>> ops_;
  std::vector<int64_t> sizes_;  // of the slots
  std::vector<bool> varies_;    // with the weights
  std::vector<Border> inputs_;
  std::vector<Output> outputs_;
  std::vector<bool> has_layer_;
  std::vector<size_t> layer_input_;
  std::map<NodeId, bool> members_;
};

}  // namespace octet
