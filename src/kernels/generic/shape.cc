// Operators that keep the elements and change or report the shape, and those that make tensors from nothing.
#include <cmath>

#include "kernels/generic/ops.h"
#include "kernels/generic/parts.h"
#include "tensor/half.h"

namespace octet::kernels::generic {

// Reshape, Flatten, Squeeze, Unsqueeze, Identity: the new shape is the output's.
void run_reshape(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 2, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  if (x.count() != y.count())
    fail(ErrorCode::kInvalidArgument, "a tensor of shape {} cannot become one of shape {}",
         to_string(x.shape()), to_string(y.shape()));
  if (x.count() > 0) std::memmove(y.raw(), x.raw(), static_cast<size_t>(x.bytes()));
}

void run_shape(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Shape& shape = inputs[0].shape();
  const auto rank = static_cast<int64_t>(shape.size());
  const auto bound = [&](std::string_view name, int64_t fallback) {
    const int64_t v = attributes.get_int(name, fallback);
    return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank);
  };
  const int64_t start = bound("start", 0), end = std::max(start, bound("end", rank));
  expect_dtype(outputs[0], DType::kInt64);
  expect_shape(outputs[0], {end - start});
  std::copy(shape.begin() + start, shape.begin() + end, data<int64_t>(outputs[0]));
}

void run_size(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  expect_dtype(outputs[0], DType::kInt64);
  expect_shape(outputs[0], {});
  *data<int64_t>(outputs[0]) = inputs[0].count();
}

void run_constant_of_shape(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  Tensor& y = outputs[0];
  expect_shape(y, to_int64(inputs[0]));
  const Attribute* value = attributes.find("value");
  Tensor fill = Tensor::scalar(0.0f);
  if (value != nullptr) {
    if (!std::holds_alternative<Tensor>(*value))
      fail(ErrorCode::kInvalidArgument, "'value' must be a tensor");
    fill = std::get<Tensor>(*value);
    if (fill.dtype() == DType::kInt4 || fill.dtype() == DType::kUInt4) fill = unpack_4bit(fill);
  }
  expect(fill.count() == 1, "'value' must have one element");
  expect_dtype(y, fill.dtype());
  copy_strided(y.dtype(), {y.count()}, fill.raw(), {0}, y.raw(), {1});
}

void run_range(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  Tensor& y = outputs[0];
  for (const Tensor& t : inputs) {
    expect_dtype(t, y.dtype());
    expect(t.count() == 1, "start, limit and delta must have one element");
  }
  visit_number(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T start = *data<T>(inputs[0]), limit = *data<T>(inputs[1]), delta = *data<T>(inputs[2]);
    expect(delta != T{0}, "delta must not be 0");
    const double count =
        std::ceil((static_cast<double>(limit) - static_cast<double>(start)) / static_cast<double>(delta));
    if (!(std::max(0.0, count) == static_cast<double>(y.count())) || y.rank() != 1)
      fail(ErrorCode::kInvalidArgument, "shape {}, expected {} elements", to_string(y.shape()),
           std::max(0.0, count));
    T* out = data<T>(y);
    using Wide = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;  // integers wrap
    for (int64_t i = 0; i < y.count(); ++i)
      out[i] = static_cast<T>(static_cast<Wide>(start) + static_cast<Wide>(i) * static_cast<Wide>(delta));
  });
}

namespace {

// `decode` gives the number that an element of x stands for.
template <typename Element, typename Decode>
void cast_from(const Element* x, Tensor& y, Decode decode) {
  using From = decltype(decode(*x));
  const int64_t n = y.count();
  const auto each = [&](auto* out, auto convert) {
    for (int64_t i = 0; i < n; ++i) out[i] = convert(decode(x[i]));
  };
  switch (y.dtype()) {
    case DType::kFloat16:
      return each(data<uint16_t>(y), [](From v) { return float_to_half(static_cast<float>(v)); });
    case DType::kBFloat16:
      return each(data<uint16_t>(y), [](From v) { return float_to_bfloat16(static_cast<float>(v)); });
    case DType::kBool:
      return each(data<uint8_t>(y), [](From v) { return static_cast<uint8_t>(v != From{0}); });
    case DType::kInt4:
    case DType::kUInt4: {
      Tensor bytes(DType::kUInt8, y.shape());
      each(data<uint8_t>(bytes), [&](From v) { return static_cast<uint8_t>(cast_value<int64_t>(v)); });
      return pack_4bit(bytes, y);
    }
    default:
      visit_number(y.dtype(), [&](auto type) {
        using To = typename decltype(type)::type;
        each(data<To>(y), [](From v) { return cast_value<To>(v); });
      });
  }
}

}  // namespace

void run_cast(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 2, outputs);  // CastLike has a second one
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_shape(y, x.shape());
  if (x.dtype() == y.dtype()) {
    if (x.count() > 0) std::memmove(y.raw(), x.raw(), static_cast<size_t>(x.bytes()));
    return;
  }
  switch (x.dtype()) {
    case DType::kInt4:
    case DType::kUInt4:
      return run_cast({}, std::array{unpack_4bit(x)}, outputs);
    case DType::kFloat16:
      return cast_from(data<uint16_t>(x), y, [](uint16_t v) { return half_to_float(v); });
    case DType::kBFloat16:
      return cast_from(data<uint16_t>(x), y, [](uint16_t v) { return bfloat16_to_float(v); });
    default:
      visit_number(
          x.dtype(),
          [&](auto type) {
            using From = typename decltype(type)::type;
            cast_from(data<From>(x), y, [](From v) { return v; });
          },
          true);
  }
}

int64_t cast_parts(const Attributes& /*attributes*/, Inputs inputs, std::span<const Tensor> outputs) {
  const bool bytes = dtype_bits(outputs[0].dtype()) % 8 == 0;
  return bytes ? suitable_parts(inputs[0].count(), inputs[0].count()) : 1;
}

void run_cast_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                    int64_t end) {
  const int64_t count = inputs[0].count(), parts = cast_parts(attributes, inputs, outputs);
  expect_shape(outputs[0], inputs[0].shape());
  const int64_t first = part_begin(count, begin, parts), last = part_begin(count, end, parts);
  const auto slice = [&](const Tensor& t) {
    return Tensor::view(t.dtype(), {last - first},
                        static_cast<const std::byte*>(t.raw()) + dtype_bytes(t.dtype(), first));
  };
  Tensor y = slice(outputs[0]);
  run_cast({}, std::array{slice(inputs[0])}, std::span(&y, 1));
}

}  // namespace octet::kernels::generic
