// If nodes whose condition is known before the model runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "onnx.pb.h"

namespace octet {

// The If nodes of a graph whose condition depends on no other If, by their places in it.
std::vector<int> ready_branches(const onnx_pb::GraphProto& graph);

// The part of a model that makes these values, which are its outputs.
onnx_pb::ModelProto part_of(const onnx_pb::ModelProto& model, const std::vector<std::string>& outputs);

// The outputs of a graph as booleans, where constants and shapes decide them. Shapes have been inferred.
std::vector<std::optional<bool>> known_booleans(const Graph& graph);

// Whether the If node only spares its else branch inputs without elements, for which it gives results without
// elements: "nothing was found, or suppress what overlaps", as PyTorch's detectors have it. The else branch
// alone does the same here, where operators take empty tensors.
bool spares_empty_inputs(const onnx_pb::GraphProto& graph, int node);

// The If node becomes its branch for this condition: the branch's nodes and constants join the graph under
// new names. Throws Error when it has no such branch or one of another form.
void take_branch(onnx_pb::GraphProto& graph, int node, bool condition);

}  // namespace octet
