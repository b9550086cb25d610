#include "kernels/generic/support.h"

#include "base/checked.h"

namespace octet::kernels::generic {

void unsupported_dtype(DType dtype) {
  fail(ErrorCode::kUnsupported, "the operator has no form for {}", dtype_name(dtype));
}

void refuse(std::string_view what) {
  fail(ErrorCode::kInvalidArgument, "{}", what);
}

void expect_arity(Inputs inputs, size_t min_inputs, size_t max_inputs, std::span<const Tensor> outputs,
                  size_t min_outputs, size_t max_outputs) {
  if (inputs.size() < min_inputs || inputs.size() > max_inputs)
    fail(ErrorCode::kInvalidArgument, "{} inputs, expected {} to {}", inputs.size(), min_inputs, max_inputs);
  if (outputs.size() < min_outputs || outputs.size() > max_outputs)
    fail(ErrorCode::kInvalidArgument, "{} outputs, expected {} to {}", outputs.size(), min_outputs,
         max_outputs);
  for (size_t i = 0; i < min_inputs; ++i) input(inputs, i);
  if (outputs[0].count() < 0) fail(ErrorCode::kInvalidArgument, "the first output is absent");
}

const Tensor& input(Inputs inputs, size_t i) {
  if (!has(inputs, i)) fail(ErrorCode::kInvalidArgument, "input {} is absent", i);
  return inputs[i];
}

void expect_shape(const Tensor& tensor, const Shape& shape) {
  if (tensor.shape() != shape)
    fail(ErrorCode::kInvalidArgument, "shape {}, expected {}", to_string(tensor.shape()), to_string(shape));
}

void expect_dtype(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() != dtype)
    fail(ErrorCode::kInvalidArgument, "type {}, expected {}", dtype_name(tensor.dtype()), dtype_name(dtype));
}

int64_t normalize_axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank)
    fail(ErrorCode::kInvalidArgument, "axis {} of a tensor of rank {}", axis, rank);
  return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> normalize_axes(std::vector<int64_t> axes, int64_t rank) {
  for (int64_t& axis : axes) axis = normalize_axis(axis, rank);
  std::sort(axes.begin(), axes.end());
  expect(std::adjacent_find(axes.begin(), axes.end()) == axes.end(), "an axis is named twice");
  return axes;
}

Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    // Wraps around only beside a dimension of 0, where no stride is used.
    stride = static_cast<int64_t>(static_cast<uint64_t>(stride) *
                                  static_cast<uint64_t>(std::max<int64_t>(shape[d], 1)));
  }
  return strides;
}

int64_t product(const Shape& shape, int64_t begin, int64_t end) {
  int64_t n = 1;
  for (int64_t d = begin; d < end; ++d) n *= shape[static_cast<size_t>(d)];
  return n;
}

Shape broadcast_shape(std::span<const Tensor* const> tensors) {
  Shape shape;
  for (const Tensor* t : tensors) {
    Shape s = t->shape();
    if (s.size() > shape.size()) shape.insert(shape.begin(), s.size() - shape.size(), 1);
    s.insert(s.begin(), shape.size() - s.size(), 1);
    for (size_t d = 0; d < s.size(); ++d) {
      if (shape[d] == 1) shape[d] = s[d];
      if (s[d] != 1 && s[d] != shape[d])
        fail(ErrorCode::kInvalidArgument, "shapes {} and {} do not broadcast", to_string(shape),
             to_string(t->shape()));
    }
  }
  return shape;
}

BroadcastPlan plan_broadcast(const Shape& shape, std::span<const Tensor* const> tensors) {
  if (broadcast_shape(tensors) != shape)
    fail(ErrorCode::kInvalidArgument, "output shape {}, expected {}", to_string(shape),
         to_string(broadcast_shape(tensors)));
  BroadcastPlan plan;
  std::array<Shape, kMaxBroadcast> full;
  for (size_t k = 0; k < tensors.size(); ++k) {
    const Shape& own = tensors[k]->shape();
    const Shape strides = row_major_strides(own);
    full[k].assign(shape.size(), 0);
    const size_t lead = shape.size() - own.size();
    for (size_t d = 0; d < own.size(); ++d)
      if (own[d] != 1) full[k][lead + d] = strides[d];
  }
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    bool merge = !plan.dims.empty();
    for (size_t k = 0; merge && k < tensors.size(); ++k)
      merge = plan.strides[k].back() == full[k][d] * shape[d];
    if (merge) {
      plan.dims.back() *= shape[d];
      for (size_t k = 0; k < tensors.size(); ++k) plan.strides[k].back() = full[k][d];
    } else {
      plan.dims.push_back(shape[d]);
      for (size_t k = 0; k < tensors.size(); ++k) plan.strides[k].push_back(full[k][d]);
    }
  }
  if (plan.dims.empty()) {
    plan.dims.push_back(1);
    for (size_t k = 0; k < tensors.size(); ++k) plan.strides[k].push_back(0);
  }
  return plan;
}

namespace {

// Rows of kLength elements.
template <int kLength, typename T>
void copy_short_rows(const T* source, int64_t source_step, T* target, int64_t target_step, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i)
    std::memcpy(target + i * target_step, source + i * source_step, kLength * sizeof(T));
}

template <typename T>
void copy_rows(const Shape& dims, const T* source, const Shape& ss, T* target, const Shape& ts, size_t d) {
  const int64_t n = dims[d];
  if (d + 1 == dims.size()) {
    if (ss[d] == 1 && ts[d] == 1)
      std::memcpy(target, source, static_cast<size_t>(n) * sizeof(T));
    else if (ss[d] == 0 && ts[d] == 1)
      std::fill_n(target, n, *source);
    else
      for (int64_t i = 0; i < n; ++i) target[i * ts[d]] = source[i * ss[d]];
    return;
  }
  if (d + 2 == dims.size() && ss[d + 1] == 1 && ts[d + 1] == 1) {
    switch (dims[d + 1]) {
      case 2:
        return copy_short_rows<2>(source, ss[d], target, ts[d], n);
      case 3:
        return copy_short_rows<3>(source, ss[d], target, ts[d], n);
      case 4:
        return copy_short_rows<4>(source, ss[d], target, ts[d], n);
      default:
        break;
    }
  }
  if (d + 2 == dims.size() && ss[d] == 1 &&
      ss[d + 1] != 1) {  // a transposition: in tiles that stay in the cache
    constexpr int64_t kTile = 32;
    const int64_t m = dims[d + 1];
    for (int64_t i0 = 0; i0 < n; i0 += kTile)
      for (int64_t j0 = 0; j0 < m; j0 += kTile)
        for (int64_t i = i0; i < std::min(n, i0 + kTile); ++i)
          for (int64_t j = j0; j < std::min(m, j0 + kTile); ++j)
            target[i * ts[d] + j * ts[d + 1]] = source[i + j * ss[d + 1]];
    return;
  }
  for (int64_t i = 0; i < n; ++i) copy_rows(dims, source + i * ss[d], ss, target + i * ts[d], ts, d + 1);
}

float tree(const float* lanes) {
  float s[16];
  std::copy_n(lanes, 16, s);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}

}  // namespace

void copy_strided(DType dtype, Shape dims, const void* source, Shape source_strides, void* target,
                  Shape target_strides) {
  Shape merged, ss, ts;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 0) return;
    if (dims[d] == 1) continue;
    if (!merged.empty() && ss.back() == source_strides[d] * dims[d] &&
        ts.back() == target_strides[d] * dims[d]) {
      merged.back() *= dims[d];
      ss.back() = source_strides[d];
      ts.back() = target_strides[d];
    } else {
      merged.push_back(dims[d]);
      ss.push_back(source_strides[d]);
      ts.push_back(target_strides[d]);
    }
  }
  if (merged.empty()) {
    merged = {1};
    ss = ts = {1};
  }
  // The dimension that is contiguous in the source next to the one that is contiguous in the target, so that
  // both are walked in tiles.
  const size_t last = merged.size() - 1;
  if (ss[last] != 1 && ts[last] == 1)
    for (size_t d = 0; d < last; ++d)
      if (ss[d] == 1) {
        std::rotate(merged.begin() + static_cast<int64_t>(d), merged.begin() + static_cast<int64_t>(d) + 1,
                    merged.begin() + static_cast<int64_t>(last));
        std::rotate(ss.begin() + static_cast<int64_t>(d), ss.begin() + static_cast<int64_t>(d) + 1,
                    ss.begin() + static_cast<int64_t>(last));
        std::rotate(ts.begin() + static_cast<int64_t>(d), ts.begin() + static_cast<int64_t>(d) + 1,
                    ts.begin() + static_cast<int64_t>(last));
        break;
      }
  visit_size(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    copy_rows(merged, static_cast<const T*>(source), ss, static_cast<T*>(target), ts, 0);
  });
}

float sum_lanes(const float* values, int64_t count) noexcept {
  float lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int l = 0; l < 16; ++l) lanes[l] += values[i + l];
  for (int l = 0; i + l < count; ++l) lanes[l] += values[i + l];
  return tree(lanes);
}

float sum_squares_lanes(const float* values, int64_t count, float shift) noexcept {
  float lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int l = 0; l < 16; ++l) {
      const float v = values[i + l] - shift;
      lanes[l] += v * v;
    }
  for (int l = 0; i + l < count; ++l) {
    const float v = values[i + l] - shift;
    lanes[l] += v * v;
  }
  return tree(lanes);
}

Tensor unpack_4bit(const Tensor& packed) {
  const bool is_signed = packed.dtype() == DType::kInt4;
  Tensor bytes(is_signed ? DType::kInt8 : DType::kUInt8, packed.shape());
  const auto* source = data<uint8_t>(packed);
  auto* target = data<uint8_t>(bytes);
  for (int64_t i = 0; i < packed.count(); ++i) {
    const int nibble = (source[i / 2] >> (4 * (i % 2))) & 15;
    target[i] = static_cast<uint8_t>(is_signed ? (nibble ^ 8) - 8 : nibble);
  }
  return bytes;
}

void pack_4bit(const Tensor& bytes, Tensor& packed) {
  const auto* source = data<uint8_t>(bytes);
  auto* target = data<uint8_t>(packed);
  for (int64_t i = 0; i < packed.count(); i += 2) {
    const int high = i + 1 < packed.count() ? source[i + 1] : 0;
    target[i / 2] = static_cast<uint8_t>((source[i] & 15) | (high << 4));
  }
}

}  // namespace octet::kernels::generic
