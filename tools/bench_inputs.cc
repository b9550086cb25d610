#include "bench_inputs.h"

#include <random>

#include "arguments.h"
#include "common.h"
#include "shapes.h"
#include "tensor/half.h"

namespace octet::tools {
namespace {

constexpr uint64_t kSeed = 20240229;

const engine::TensorDef* find_input(const engine::Model& model, const std::string& name) {
  for (int32_t t : model.inputs)
    if (model.tensors[t].name == name) return &model.tensors[t];
  return nullptr;
}

template <typename T, typename Draw>
void fill(Tensor& tensor, const Draw& draw) {
  for (T& value : tensor.as<T>()) value = static_cast<T>(draw());
}

void fill_random(Tensor& tensor, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  // Small, so that it is in range where integers are indices.
  const auto small = [&] { return static_cast<int>(random() & 1); };
  const auto byte = [&] { return static_cast<int>(random() & 255); };
  auto* words = static_cast<uint16_t*>(tensor.raw());
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return fill<float>(tensor, [&] { return normal(random); });
    case DType::kFloat64:
      return fill<double>(tensor, [&] { return normal(random); });
    case DType::kFloat16:
      for (int64_t i = 0; i < tensor.count(); ++i) words[i] = float_to_half(normal(random));
      return;
    case DType::kBFloat16:
      for (int64_t i = 0; i < tensor.count(); ++i) words[i] = float_to_bfloat16(normal(random));
      return;
    case DType::kUInt8:
      return fill<uint8_t>(tensor, byte);
    case DType::kInt8:
      return fill<int8_t>(tensor, [&] { return byte() - 128; });
    case DType::kInt32:
      return fill<int32_t>(tensor, small);
    case DType::kInt64:
      return fill<int64_t>(tensor, small);
    case DType::kBool:
      return fill<bool>(tensor, small);
    default:
      return;  // zeros
  }
}

}  // namespace

std::map<std::string, Shape> parse_shapes(const engine::Model& model, const std::vector<std::string>& texts) {
  std::map<std::string, Shape> shapes;
  for (const std::string& text : texts)
    for (auto& [name, shape] : parse_input_shapes(text, "--shapes")) {
      if (find_input(model, name) == nullptr) {
        std::string names;
        for (int32_t t : model.inputs) names += (names.empty() ? "" : ", ") + model.tensors[t].name;
        throw UsageError(fmt::format("--shapes: the model has no input '{}', only {}", name, names));
      }
      shapes[name] = shape;
    }
  return shapes;
}

std::map<std::string, int64_t> dimensions_for(const engine::Model& model,
                                              const std::map<std::string, Shape>& shapes) {
  std::map<std::string, int64_t> symbols;
  for (const auto& [name, shape] : shapes) {
    const Dims& dims = find_input(model, name)->shape;
    if (dims.size() != shape.size())
      fail(ErrorCode::kInvalidArgument, "--shapes: {} for input '{}', which has shape {}", to_string(shape),
           name, to_string(dims));
    for (size_t d = 0; d < shape.size(); ++d)
      if (!dims[d].known() && dims[d].op() == Dim::Op::kSymbol) symbols[dims[d].name()] = shape[d];
  }
  return symbols;
}

std::vector<Tensor> random_inputs(const engine::Model& model, const engine::Context& context,
                                  const std::map<std::string, Shape>& wanted) {
  std::mt19937_64 random(kSeed);
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < model.inputs.size(); ++i) {
    const engine::TensorDef& def = model.tensors[model.inputs[i]];
    const auto shape = wanted.find(def.name);
    if (shape != wanted.end() && shape->second != context.input_shape(i))
      fail(ErrorCode::kInvalidArgument, "--shapes: {} for input '{}', which has shape {}",
           to_string(shape->second), def.name, to_string(def.shape));
    inputs.emplace_back(def.dtype, context.input_shape(i));
    fill_random(inputs.back(), random);
  }
  return inputs;
}

}  // namespace octet::tools
