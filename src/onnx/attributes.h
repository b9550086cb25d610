// AttributeProto to Attribute and back.
#pragma once

#include <string>
#include <vector>

#include "onnx.pb.h"
#include "onnx/tensor_proto.h"
#include "tensor/attributes.h"

namespace octet {

// The attributes of a node; what cannot be one is appended to `problems`.
Attributes read_attributes(const onnx_pb::NodeProto& node, ExternalFiles& files,
                           std::vector<std::string>& problems);

void write_attribute(const std::string& name, const Attribute& value, onnx_pb::AttributeProto& proto);

}  // namespace octet
