// Functions that a model defines itself.
#pragma once

#include "onnx.pb.h"

namespace octet {

// Replaces every call of one of the model's functions, also in branches, by the function's body. Values and
// nodes of a body go by the call's name and their own. Throws Error: recursion, a call with too many
// operands, an expansion that is out of all proportion.
void inline_functions(onnx_pb::ModelProto& model);

}  // namespace octet
