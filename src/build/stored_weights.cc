#include "build/stored_weights.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/generic/support.h"

namespace octet {
namespace {

// Integers of 8 or 4 bits.
Tensor bytes_of(const Tensor& t) {
  return dtype_bits(t.dtype()) == 4 ? kernels::generic::unpack_4bit(t) : t;
}

int value_at(const Tensor& bytes, bool is_signed, int64_t i) {
  return is_signed ? static_cast<const int8_t*>(bytes.raw())[i] : static_cast<const uint8_t*>(bytes.raw())[i];
}

}  // namespace

std::optional<CenteredWeights> center_weights(const Tensor& stored, const Tensor* zero, int64_t axis,
                                              std::string& why_not) {
  const DType dtype = stored.dtype();
  const bool is_signed = dtype == DType::kInt8 || dtype == DType::kInt4;
  if (!is_signed && dtype != DType::kUInt8 && dtype != DType::kUInt4) {
    why_not = "its weights are " + std::string(dtype_name(dtype));
    return {};
  }
  const int64_t channels = stored.shape().at(axis);
  std::vector<int> zeros(channels, 0);
  if (zero != nullptr) {
    const Tensor z = bytes_of(*zero);
    if (z.count() != 1 && z.count() != channels) {
      why_not = "its weights have zero-points along an axis other than the output channels";
      return {};
    }
    for (int64_t c = 0; c < channels; ++c) zeros[c] = value_at(z, is_signed, z.count() == 1 ? 0 : c);
  }
  if (dtype == DType::kInt8 && std::ranges::all_of(zeros, [](int z) { return z == 0; }))
    return CenteredWeights{stored, {}};

  int64_t inner = 1;
  for (int64_t d = axis + 1; d < stored.rank(); ++d) inner *= stored.shape()[d];
  const Tensor bytes = bytes_of(stored);
  CenteredWeights out{Tensor(DType::kInt8, stored.shape()), Tensor()};
  for (int64_t i = 0; i < stored.count(); ++i) {
    const int v = value_at(bytes, is_signed, i) - zeros[i / inner % channels], low = std::clamp(v, -128, 127);
    out.values.as<int8_t>()[i] = static_cast<int8_t>(low);
    if (v == low) continue;
    if (v - low > 127) {
      why_not = "its weights minus their zero-points reach 255, one more than two int8 hold";
      return {};
    }
    if (!out.split()) out.rest = Tensor(DType::kInt8, stored.shape());
    out.rest.as<int8_t>()[i] = static_cast<int8_t>(v - low);
  }
  return out;
}

std::optional<std::vector<float>> channel_scales(const Graph& graph, const Node& dequantize,
                                                 int64_t channel_axis, std::string& why_not) {
  if (!graph.is_constant(dequantize.inputs[1])) {
    why_not = "its weights have scales that are known at run time only";
    return {};
  }
  const Tensor& scale = *graph.value(dequantize.inputs[1]).constant;
  const Shape& shape = graph.value(dequantize.inputs[0]).constant->shape();
  const auto rank = static_cast<int64_t>(shape.size());
  int64_t axis = dequantize.attributes.get_int("axis", 1);
  if (axis < 0) axis += rank;
  const int64_t block = dequantize.attributes.get_int("block_size", 0);
  const int64_t channels = shape.at(channel_axis);
  if (block != 0) {
    // One block along the other axis is a scale per channel.
    if (axis == channel_axis || scale.shape().at(axis) != 1 || scale.count() != channels) {
      why_not = fmt::format("its weights have scales per block of {} along axis {}", block, axis);
      return {};
    }
    return to_float(scale);
  }
  if (scale.count() != 1 && (axis != channel_axis || scale.count() != channels)) {
    why_not = "its weights have scales along an axis other than the output channels";
    return {};
  }
  return to_float(scale);
}

Tensor join_inputs(const Tensor& a, const Tensor& b) {
  Shape shape = a.shape();
  const int64_t channels = shape.at(0), row = channels == 0 ? 0 : a.count() / channels;
  shape.at(1) *= 2;
  Tensor joined(DType::kInt8, shape);
  for (int64_t c = 0; c < channels; ++c) {
    auto* to = joined.as<int8_t>().data() + 2 * c * row;
    std::copy_n(a.as<int8_t>().data() + c * row, row, to);
    std::copy_n(b.as<int8_t>().data() + c * row, row, to + row);
  }
  return joined;
}

}  // namespace octet
