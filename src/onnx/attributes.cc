#include "onnx/attributes.h"

namespace octet {
namespace {

using Proto = onnx_pb::AttributeProto;

bool read_attribute(const Proto& proto, ExternalFiles& files, Attributes& attributes) {
  const std::string& name = proto.name();
  switch (proto.type()) {
    case Proto::FLOAT:
      attributes.set(name, proto.f());
      return true;
    case Proto::INT:
      attributes.set(name, int64_t{proto.i()});
      return true;
    case Proto::STRING:
      attributes.set(name, proto.s());
      return true;
    case Proto::FLOATS:
      attributes.set(name, std::vector<float>(proto.floats().begin(), proto.floats().end()));
      return true;
    case Proto::INTS:
      attributes.set(name, std::vector<int64_t>(proto.ints().begin(), proto.ints().end()));
      return true;
    case Proto::STRINGS:
      attributes.set(name, std::vector<std::string>(proto.strings().begin(), proto.strings().end()));
      return true;
    case Proto::TENSOR:
      attributes.set(name, read_tensor(proto.t(), "attribute '" + name + "'", files, {}, nullptr));
      return true;
    default:
      return false;
  }
}

struct Writer {
  Proto& proto;
  void operator()(int64_t value) const {
    proto.set_type(Proto::INT);
    proto.set_i(value);
  }
  void operator()(float value) const {
    proto.set_type(Proto::FLOAT);
    proto.set_f(value);
  }
  void operator()(const std::string& value) const {
    proto.set_type(Proto::STRING);
    proto.set_s(value);
  }
  void operator()(const std::vector<int64_t>& values) const {
    proto.set_type(Proto::INTS);
    for (const int64_t value : values) proto.add_ints(value);
  }
  void operator()(const std::vector<float>& values) const {
    proto.set_type(Proto::FLOATS);
    for (const float value : values) proto.add_floats(value);
  }
  void operator()(const std::vector<std::string>& values) const {
    proto.set_type(Proto::STRINGS);
    for (const std::string& value : values) proto.add_strings(value);
  }
  void operator()(const Tensor& tensor) const {
    proto.set_type(Proto::TENSOR);
    write_tensor(tensor, "", *proto.mutable_t());
  }
};

}  // namespace

Attributes read_attributes(const onnx_pb::NodeProto& node, ExternalFiles& files,
                           std::vector<std::string>& problems) {
  Attributes attributes;
  for (const Proto& proto : node.attribute()) {
    const std::string shown = proto.name().substr(0, 80);
    if (proto.name().empty()) {
      problems.emplace_back("an attribute without a name");
    } else if (attributes.has(proto.name())) {
      problems.push_back(fmt::format("attribute '{}' is given twice", shown));
    } else if (!proto.ref_attr_name().empty()) {
      problems.push_back(fmt::format("attribute '{}' refers to one of a function", shown));
    } else {
      try {
        if (!read_attribute(proto, files, attributes))
          problems.push_back(fmt::format("attribute '{}' is of an unsupported type ({})", shown,
                                         static_cast<int>(proto.type())));
      } catch (const Error& error) {
        problems.push_back(error.message());
      }
    }
  }
  return attributes;
}

void write_attribute(const std::string& name, const Attribute& value, onnx_pb::AttributeProto& proto) {
  proto.set_name(name);
  std::visit(Writer{proto}, value);
}

}  // namespace octet
