#include "kernels/generic/makers.h"

#include <cmath>
#include <numeric>

#include "base/checked.h"
#include "kernels/generic/generic.h"

namespace octet::kernels {
namespace {

using generic::Inputs;
using generic::Outputs;
using Shapes = std::vector<Shape> (*)(const Attributes&, Inputs, size_t);

// Says the shapes of its outputs, which find_generic()'s function then fills, or makes the outputs itself.
struct Maker {
  std::string_view name;
  bool shaped;  // UBSan's builds cannot compare functions with null in constant expressions
  Shapes shapes;
  GenericFunction make;
};

#define OCTET_SHAPED(name, function) {#name, true, generic::function, nullptr},
#define OCTET_MADE(name, function) {#name, false, nullptr, generic::function},
constexpr Maker kMakers[] = {
#include "kernels/generic/makers.inc"
};
#undef OCTET_SHAPED
#undef OCTET_MADE
constexpr size_t kCount = std::size(kMakers);

template <size_t index>
void run_shaped(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  const std::vector<Shape> shapes = kMakers[index].shapes(attributes, inputs, outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].count() >= 0) outputs[i] = Tensor(outputs[i].dtype(), shapes.at(i));
  find_generic(kMakers[index].name)(attributes, inputs, outputs);
}

template <size_t... index>
constexpr std::array<GenericFunction, kCount> all_functions(std::index_sequence<index...>) {
  return {(kMakers[index].shaped ? run_shaped<index> : kMakers[index].make)...};
}
constexpr std::array<GenericFunction, kCount> kFunctions = all_functions(std::make_index_sequence<kCount>());

}  // namespace

GenericFunction find_maker(std::string_view op) {
  for (size_t i = 0; i < kCount; ++i)
    if (kMakers[i].name == op) return kFunctions[i];
  return nullptr;
}

namespace generic {

void run_maker(GenericFunction make, const Attributes& attributes, Inputs inputs, Outputs outputs) {
  std::vector<Tensor> made;
  for (const Tensor& t : outputs) made.push_back(t.count() < 0 ? Tensor() : Tensor(t.dtype(), {0}));
  make(attributes, inputs, made);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].count() < 0) continue;
    expect_shape(outputs[i], made[i].shape());
    if (made[i].bytes() > 0)
      std::memcpy(outputs[i].raw(), made[i].raw(), static_cast<size_t>(made[i].bytes()));
  }
}

std::vector<Shape> shape_of_constant_of_shape(const Attributes&, Inputs inputs, size_t) {
  return {to_int64(input(inputs, 0))};
}

std::vector<Shape> shape_of_expand(const Attributes&, Inputs inputs, size_t) {
  const Shape wanted = to_int64(input(inputs, 1));
  for (int64_t d : wanted) expect(d >= 0, "the wanted shape is negative");
  static const uint8_t kNothing = 0;
  const Tensor like = Tensor::view(DType::kInt8, wanted, static_cast<const void*>(&kNothing));
  const std::array<const Tensor*, 2> tensors{&input(inputs, 0), &like};
  return {broadcast_shape(tensors)};
}

std::vector<Shape> shape_of_one_hot(const Attributes& attributes, Inputs inputs, size_t) {
  const Tensor& indices = input(inputs, 0);
  expect(input(inputs, 1).count() == 1, "depth must have one element");
  const int64_t depth = to_int64(inputs[1])[0];
  expect(depth >= 1, "depth must be at least 1");
  Shape shape = indices.shape();
  shape.insert(shape.begin() + normalize_axis(attributes.get_int("axis", -1), indices.rank() + 1), depth);
  return {shape};
}

std::vector<Shape> shape_of_pad(const Attributes&, Inputs inputs, size_t) {
  return {plan_pad(inputs).shape};
}

std::vector<Shape> shape_of_range(const Attributes&, Inputs inputs, size_t) {
  double v[3];
  for (size_t i = 0; i < 3; ++i) {
    const Tensor& t = input(inputs, i);
    expect(t.count() == 1, "start, limit and delta must have one element");
    v[i] = is_float(t.dtype()) ? (t.dtype() == DType::kFloat64 ? t.as<double>()[0] : to_float(t)[0])
                               : static_cast<double>(to_int64(t)[0]);
  }
  expect(v[2] != 0, "delta must not be 0");
  const double count = std::ceil((v[1] - v[0]) / v[2]);
  expect(count < 0x1p40, "start, limit and delta give too many elements");
  return {{count > 0 ? static_cast<int64_t>(count) : 0}};
}

std::vector<Shape> shape_of_reshape(const Attributes& attributes, Inputs inputs, size_t) {
  const Tensor& x = input(inputs, 0);
  Shape shape = to_int64(input(inputs, 1));
  const bool allow_zero = attributes.get_int("allowzero", 0) != 0;
  int64_t rest = -1, others = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 0 && !allow_zero) {
      expect(d < x.shape().size(), "the wanted shape takes over a dimension that the input has not got");
      shape[d] = x.shape()[d];
    }
    if (shape[d] == -1) {
      expect(rest < 0, "the wanted shape has -1 twice");
      rest = static_cast<int64_t>(d);
    } else {
      expect(shape[d] >= 0, "the wanted shape is negative");
      others = checked_mul(others, shape[d]);
    }
  }
  if (rest >= 0) shape[static_cast<size_t>(rest)] = others == 0 ? 0 : x.count() / others;
  return {shape};
}

std::vector<Shape> shape_of_split(const Attributes& attributes, Inputs inputs, size_t outputs) {
  const Tensor& x = input(inputs, 0);
  const auto axis = static_cast<size_t>(normalize_axis(attributes.get_int("axis", 0), x.rank()));
  const std::vector<int64_t> sizes = to_int64(input(inputs, 1));
  expect(sizes.size() == outputs, "one size per output expected");
  std::vector<Shape> shapes(outputs, x.shape());
  int64_t total = 0;
  for (size_t i = 0; i < outputs; ++i) {
    expect(sizes[i] >= 0 && sizes[i] <= x.shape()[axis], "a size is out of range");
    shapes[i][axis] = sizes[i];
    total += sizes[i];
  }
  expect(total == x.shape()[axis], "the sizes do not add up");
  return shapes;
}

std::vector<Shape> shape_of_tile(const Attributes&, Inputs inputs, size_t) {
  Shape shape = input(inputs, 0).shape();
  const std::vector<int64_t> repeats = to_int64(input(inputs, 1));
  expect(repeats.size() == shape.size(), "repeats must have one entry per axis");
  for (size_t d = 0; d < shape.size(); ++d) {
    expect(repeats[d] >= 0, "repeats must not be negative");
    shape[d] = checked_mul(shape[d], repeats[d]);
  }
  return {shape};
}

std::vector<Shape> shape_of_slice(const Attributes&, Inputs inputs, size_t) {
  return {plan_slice(inputs).shape};
}

std::vector<Shape> shape_of_top_k(const Attributes& attributes, Inputs inputs, size_t outputs) {
  Shape shape = input(inputs, 0).shape();
  expect(input(inputs, 1).count() == 1, "k must have one element");
  const int64_t k = to_int64(inputs[1])[0];
  const auto axis =
      static_cast<size_t>(normalize_axis(attributes.get_int("axis", -1), static_cast<int64_t>(shape.size())));
  if (k < 0 || k > shape[axis])
    fail(ErrorCode::kInvalidArgument, "k is {}, the axis has {} elements", k, shape[axis]);
  shape[axis] = k;
  return std::vector<Shape>(outputs, shape);
}

}  // namespace generic
}  // namespace octet::kernels
