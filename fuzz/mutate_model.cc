#include "mutate_model.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "onnx.pb.h"
#include "ops/op_def.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace octet::fuzz {
namespace {

using onnx_pb::AttributeProto;
using onnx_pb::GraphProto;
using onnx_pb::ModelProto;
using onnx_pb::NodeProto;
using onnx_pb::TensorProto;
using onnx_pb::ValueInfoProto;

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  void mutate(ModelProto& model) {
    if (below(20) == 0 && model.opset_import_size() > 0) {
      model.mutable_opset_import(below(model.opset_import_size()))->set_version(below(30));
      return;
    }
    mutate(*model.mutable_graph());
  }

 private:
  int below(int n) { return n <= 1 ? 0 : static_cast<int>(random_() % static_cast<unsigned>(n)); }
  template <typename T>
  auto* any(T& repeated) {
    return repeated.size() == 0 ? nullptr : repeated.Mutable(below(repeated.size()));
  }

  int64_t number() {
    constexpr std::array<int64_t, 18> kNumbers{0,   1,    -1,        2,         3,         4,
                                               7,   16,   -2,        255,       65535,     65536,
                                               127, -128, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    return below(3) == 0 ? static_cast<int64_t>(random_()) - below(1 << 30)
                         : kNumbers[static_cast<size_t>(below(kNumbers.size()))];
  }
  float real() {
    constexpr std::array<float, 10> kReals{0,
                                           1,
                                           -1,
                                           0.5f,
                                           1e-30f,
                                           1e30f,
                                           -2,
                                           std::numeric_limits<float>::quiet_NaN(),
                                           std::numeric_limits<float>::infinity(),
                                           255};
    return kReals[static_cast<size_t>(below(kReals.size()))];
  }
  // The name of something in the graph: an input, a constant or a node's output.
  std::string value_name(GraphProto& graph) {
    switch (below(4)) {
      case 0:
        if (const auto* input = any(*graph.mutable_input())) return input->name();
        break;
      case 1:
        if (const auto* constant = any(*graph.mutable_initializer())) return constant->name();
        break;
      case 2:
        return "";
      default:
        if (const auto* node = any(*graph.mutable_node()); node != nullptr && node->output_size() > 0)
          return node->output(below(node->output_size()));
    }
    return "nothing";
  }

  void mutate(GraphProto& graph) {
    switch (below(9)) {
      case 0:
        if (auto* input = any(*graph.mutable_input())) mutate(*input);
        break;
      case 1:
        if (auto* value = any(*graph.mutable_value_info())) mutate(*value);
        break;
      case 2:
        if (auto* output = any(*graph.mutable_output())) {
          if (below(2) == 0)
            mutate(*output);
          else
            output->set_name(value_name(graph));
        }
        break;
      case 3:
        if (auto* constant = any(*graph.mutable_initializer())) mutate(*constant);
        break;
      case 4: {  // an input becomes a constant or the reverse
        if (graph.input_size() == 0) break;
        TensorProto& constant = *graph.add_initializer();
        constant.set_name(graph.input(below(graph.input_size())).name());
        constant.set_data_type(below(20));
        for (int i = below(4); i > 0; --i) constant.add_dims(below(5));
        int64_t count = 1;
        for (const int64_t d : constant.dims()) count *= d;
        std::string bytes(static_cast<size_t>(count * 4), '\0');
        for (char& b : bytes) b = static_cast<char>(random_());
        constant.set_raw_data(bytes);
        break;
      }
      case 5:
        if (auto* node = any(*graph.mutable_node())) {
          const NodeProto copy = *node;
          if (below(2) == 0) {
            *graph.add_node() = copy;
          } else {
            node->Swap(graph.mutable_node(graph.node_size() - 1));
            if (below(2) == 0) graph.mutable_node()->RemoveLast();
          }
        }
        break;
      default:
        if (auto* node = any(*graph.mutable_node())) mutate(*node, graph);
    }
  }

  void mutate(NodeProto& node, GraphProto& graph) {
    switch (below(6)) {
      case 0:
        if (node.input_size() > 0) node.set_input(below(node.input_size()), value_name(graph));
        break;
      case 1:
        if (below(2) == 0)
          node.add_input(value_name(graph));
        else if (node.input_size() > 0)
          node.mutable_input()->RemoveLast();
        break;
      case 2: {
        const auto ops = all_ops();
        const OpDef& op = *ops[static_cast<size_t>(below(static_cast<int>(ops.size())))];
        node.set_op_type(std::string(op.name));
        node.set_domain(std::string(op.domain));
        break;
      }
      case 3: {
        const OpDef* op = find_op(node.op_type(), node.domain());
        if (op == nullptr || op->attributes.empty()) break;
        AttributeProto& attribute = *node.add_attribute();
        attribute.set_name(std::string(
            op->attributes[static_cast<size_t>(below(static_cast<int>(op->attributes.size())))].name));
        constexpr std::array kTypes{AttributeProto::INT, AttributeProto::INTS, AttributeProto::FLOAT,
                                    AttributeProto::STRING};
        attribute.set_type(kTypes[static_cast<size_t>(below(kTypes.size()))]);
        mutate(attribute);
        break;
      }
      default:
        if (auto* attribute = any(*node.mutable_attribute())) mutate(*attribute);
    }
  }

  void mutate(AttributeProto& attribute) {
    switch (attribute.type()) {
      case AttributeProto::INT:
        attribute.set_i(number());
        break;
      case AttributeProto::FLOAT:
        attribute.set_f(real());
        break;
      case AttributeProto::INTS:
        if (attribute.ints_size() == 0 || below(4) == 0)
          attribute.add_ints(number());
        else if (below(4) == 0)
          attribute.mutable_ints()->RemoveLast();
        else
          attribute.set_ints(below(attribute.ints_size()), number());
        break;
      case AttributeProto::FLOATS:
        attribute.add_floats(real());
        break;
      case AttributeProto::TENSOR:
        mutate(*attribute.mutable_t());
        break;
      case AttributeProto::GRAPH:
        mutate(*attribute.mutable_g());
        break;
      default: {
        constexpr std::array kWords{"SAME_UPPER", "SAME_LOWER", "VALID", "linear", "cubic", "nearest",
                                    "edge",       "reflect",    "wrap",  "tanh",   "",      "bij,bjk->bik"};
        attribute.set_s(kWords[static_cast<size_t>(below(kWords.size()))]);
      }
    }
  }

  void mutate(ValueInfoProto& value) {
    auto* tensor = value.mutable_type()->mutable_tensor_type();
    if (below(3) == 0) {
      tensor->set_elem_type(below(24));
      return;
    }
    auto* shape = tensor->mutable_shape();
    if (shape->dim_size() == 0 || below(5) == 0) {
      shape->add_dim()->set_dim_value(below(6));
    } else if (below(6) == 0) {
      shape->mutable_dim()->RemoveLast();
    } else {
      auto* dim = shape->mutable_dim(below(shape->dim_size()));
      if (below(3) == 0)
        dim->set_dim_param(below(2) == 0 ? "n" : "m");
      else
        dim->set_dim_value(below(3) == 0 ? number() : below(9));
    }
  }

  void mutate(TensorProto& tensor) {
    switch (below(5)) {
      case 0:
        tensor.set_data_type(below(24));
        break;
      case 1:
        if (tensor.dims_size() > 0)
          tensor.set_dims(below(tensor.dims_size()), number());
        else
          tensor.add_dims(1);
        break;
      case 2: {
        auto* entry = tensor.add_external_data();
        entry->set_key("location");
        entry->set_value(below(2) == 0 ? "../x" : "x");
        tensor.set_data_location(TensorProto::EXTERNAL);
        break;
      }
      default: {
        std::string& raw = *tensor.mutable_raw_data();
        if (tensor.int64_data_size() > 0) {
          tensor.set_int64_data(below(tensor.int64_data_size()), number());
        } else if (raw.size() >= 8 && below(2) == 0) {
          const int64_t value = number();
          std::memcpy(raw.data() + below(static_cast<int>(raw.size() / 8)) * 8, &value, 8);
        } else if (raw.size() >= 4) {
          const float value = real();
          std::memcpy(raw.data() + below(static_cast<int>(raw.size() / 4)) * 4, &value, 4);
        }
      }
    }
  }

  std::minstd_rand random_;
};

}  // namespace

size_t mutate_model(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  ModelProto model;
  if (seed % 4 != 0 && model.ParseFromArray(data, static_cast<int>(size)) && model.graph().node_size() > 0) {
    Mutator mutator(seed);
    for (unsigned i = 0; i <= seed / 4 % 3; ++i) mutator.mutate(model);
    const std::string bytes = model.SerializeAsString();
    if (bytes.size() <= max_size) {
      std::copy(bytes.begin(), bytes.end(), data);
      return bytes.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

}  // namespace octet::fuzz
