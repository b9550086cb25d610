// Operators that copy elements elsewhere, whatever their type.
#include <limits>

#include "kernels/generic/makers.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/pad_indices.h"
#include "kernels/generic/parts.h"

namespace octet::kernels::generic {
namespace {

const char* bytes_at(const Tensor& t, int64_t offset) {
  return data<char>(t) + offset * dtype_bits(t.dtype()) / 8;
}

char* bytes_at(Tensor& t, int64_t offset) {
  return data<char>(t) + offset * dtype_bits(t.dtype()) / 8;
}

// Sizes of a tensor around the axis that Concat and Split cut.
struct Cut {
  int64_t outer, row;  // row: elements from the axis on
};

Cut cut_of(const Attributes& attributes, const Tensor& whole) {
  const int64_t axis = normalize_axis(attributes.get_int("axis", 0), whole.rank());
  return {product(whole.shape(), 0, axis), product(whole.shape(), axis, whole.rank())};
}

// Throws unless `pieces` stand one behind the other in `whole`.
void expect_pieces(const Attributes& attributes, std::span<const Tensor> pieces, const Tensor& whole,
                   const char* problem) {
  const auto axis = static_cast<size_t>(normalize_axis(attributes.get_int("axis", 0), whole.rank()));
  int64_t total = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Tensor& piece = input(pieces, i);
    expect_dtype(piece, whole.dtype());
    Shape expected = whole.shape();
    expected[axis] = piece.rank() == whole.rank() ? piece.shape()[axis] : -1;
    expect_shape(piece, expected);
    total += piece.shape()[axis];
  }
  expect(total == whole.shape()[axis], problem);
}

// Part `index` of `parts` of what a piece and its place in the whole share: rows, or a stretch of each.
struct Stretch {
  int64_t first_row, rows, first, count;
};

Stretch stretch_of(int64_t outer, int64_t own, int64_t index, int64_t parts) {
  if (outer >= parts) {
    const int64_t first = part_begin(outer, index, parts);
    return {first, part_begin(outer, index + 1, parts) - first, 0, own};
  }
  const int64_t first = part_begin(own, index, parts);
  return {0, outer, first, part_begin(own, index + 1, parts) - first};
}

int64_t cut_parts(const Tensor& whole) {
  return suitable_parts(whole.count(), whole.count());
}

}  // namespace

int64_t concat_parts(const Attributes& /*attributes*/, Inputs /*inputs*/, std::span<const Tensor> outputs) {
  return cut_parts(outputs[0]);
}

int64_t split_parts(const Attributes& /*attributes*/, Inputs inputs, std::span<const Tensor> /*outputs*/) {
  return cut_parts(inputs[0]);
}

void run_concat_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                      int64_t end) {
  expect_arity(inputs, 1, SIZE_MAX, outputs);
  Tensor& y = outputs[0];
  expect_pieces(attributes, inputs, y, "the inputs do not add up to the output");
  const auto [outer, row] = cut_of(attributes, y);
  const int64_t parts = cut_parts(y);
  int64_t offset = 0;
  for (const Tensor& x : inputs) {
    const int64_t own = outer == 0 ? 0 : x.count() / outer;
    for (int64_t part = begin; part < end; ++part) {
      const Stretch s = stretch_of(outer, own, part, parts);
      copy_strided(y.dtype(), {s.rows, s.count}, bytes_at(x, s.first_row * own + s.first), {own, 1},
                   bytes_at(y, s.first_row * row + offset + s.first), {row, 1});
    }
    offset += own;
  }
}

void run_split_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                     int64_t end) {
  expect_arity(inputs, 1, 2, outputs, 1, SIZE_MAX);
  const Tensor& x = inputs[0];
  expect_pieces(attributes, outputs, x, "the outputs do not add up to the input");
  const auto [outer, row] = cut_of(attributes, x);
  const int64_t parts = cut_parts(x);
  int64_t offset = 0;
  for (Tensor& y : outputs) {
    const int64_t own = outer == 0 ? 0 : y.count() / outer;
    for (int64_t part = begin; part < end; ++part) {
      const Stretch s = stretch_of(outer, own, part, parts);
      copy_strided(y.dtype(), {s.rows, s.count}, bytes_at(x, s.first_row * row + offset + s.first), {row, 1},
                   bytes_at(y, s.first_row * own + s.first), {own, 1});
    }
    offset += own;
  }
}

void run_concat(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, SIZE_MAX, outputs);
  run_concat_parts(attributes, inputs, outputs, 0, cut_parts(outputs[0]));
}

void run_split(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 2, outputs, 1, SIZE_MAX);
  run_split_parts(attributes, inputs, outputs, 0, cut_parts(inputs[0]));
}

SlicePlan plan_slice(Inputs inputs) {
  const Tensor& x = input(inputs, 0);
  const std::vector<int64_t> starts = to_int64(input(inputs, 1)), ends = to_int64(input(inputs, 2));
  std::vector<int64_t> axes(starts.size()), steps(starts.size(), 1);
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (has(inputs, 3)) axes = to_int64(inputs[3]);
  if (has(inputs, 4)) steps = to_int64(inputs[4]);
  expect(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
         "starts, ends, axes and steps must have the same length");
  Shape shape = x.shape(), strides = row_major_strides(shape);
  int64_t offset = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(normalize_axis(axes[i], x.rank()));
    expect(
        std::count_if(axes.begin(), axes.begin() + static_cast<int64_t>(i),
                      [&](int64_t a) { return normalize_axis(a, x.rank()) == static_cast<int64_t>(d); }) == 0,
        "an axis is named twice");
    const int64_t n = x.shape()[d], step = steps[i];
    expect(step != 0 && step != INT64_MIN, "a step must not be 0");
    const auto bound = [&](int64_t v, int64_t low, int64_t high) {
      return v < 0 ? (v < -n ? low : std::max(v + n, low)) : std::min(v, high);
    };
    const int64_t start = step > 0 ? bound(starts[i], 0, n) : bound(starts[i], 0, n - 1);
    const int64_t end = step > 0 ? bound(ends[i], 0, n) : bound(ends[i], -1, n - 1);
    const int64_t distance = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
    shape[d] = n == 0 || distance <= 0 ? 0 : (distance - 1) / stride + 1;
    offset += start * strides[d];
    strides[d] = shape[d] > 1 ? strides[d] * step : 0;
  }
  return {shape, strides, offset};
}

void run_slice(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 5, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  const SlicePlan plan = plan_slice(inputs);
  expect_shape(y, plan.shape);
  if (y.count() == 0) return;
  copy_strided(y.dtype(), plan.shape, bytes_at(x, plan.offset), plan.strides, y.raw(),
               row_major_strides(plan.shape));
}

void run_transpose(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 1, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  const auto rank = static_cast<size_t>(x.rank());
  std::vector<int64_t> perm = attributes.get_ints("perm");
  if (perm.empty())
    for (size_t d = 0; d < rank; ++d) perm.push_back(static_cast<int64_t>(rank - 1 - d));
  expect(perm.size() == rank && normalize_axes(perm, x.rank()).size() == rank, "perm is not a permutation");
  const Shape strides = row_major_strides(x.shape());
  Shape shape(rank), source(rank);
  for (size_t d = 0; d < rank; ++d) {
    const auto p = static_cast<size_t>(normalize_axis(perm[d], x.rank()));
    shape[d] = x.shape()[p];
    source[d] = strides[p];
  }
  expect_shape(y, shape);
  copy_strided(y.dtype(), shape, x.raw(), source, y.raw(), row_major_strides(shape));
}

void run_expand(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 2, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  const std::array<const Tensor*, 2> tensors{&x, &y};
  const BroadcastPlan plan = plan_broadcast(y.shape(), tensors);
  copy_strided(y.dtype(), plan.dims, x.raw(), plan.strides[0], y.raw(), plan.strides[1]);
}

void run_tile(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 2, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  const std::vector<int64_t> repeats = to_int64(inputs[1]);
  const auto rank = static_cast<size_t>(x.rank());
  expect(repeats.size() == rank && y.shape().size() == rank, "repeats must have one entry per axis");
  const Shape own = row_major_strides(x.shape()), out = row_major_strides(y.shape());
  Shape dims, source, target;
  for (size_t d = 0; d < rank; ++d) {
    expect(repeats[d] >= 0, "repeats must not be negative");
    const int64_t n = x.shape()[d];
    expect(n == 0 ? y.shape()[d] == 0 : y.shape()[d] % n == 0 && y.shape()[d] / n == repeats[d],
           "the output does not fit the repeats");
    dims.insert(dims.end(), {repeats[d], n});
    source.insert(source.end(), {0, own[d]});
    if (y.count() > 0) target.insert(target.end(), {n * out[d], out[d]});
  }
  if (y.count() > 0) copy_strided(y.dtype(), dims, x.raw(), source, y.raw(), target);
}

void run_where(const Attributes&, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 3, 3, outputs);
  Tensor& y = outputs[0];
  expect_dtype(inputs[0], DType::kBool);
  expect_dtype(inputs[1], y.dtype());
  expect_dtype(inputs[2], y.dtype());
  const std::array<const Tensor*, 3> tensors{&inputs[0], &inputs[1], &inputs[2]};
  const BroadcastPlan plan = plan_broadcast(y.shape(), tensors);
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const auto* choose = data<uint8_t>(inputs[0]);
    const T *a = data<T>(inputs[1]), *b = data<T>(inputs[2]);
    T* out = data<T>(y);
    for_each_row(plan, [&](int64_t o, const auto& at, int64_t n, const auto& step) {
      for (int64_t i = 0; i < n; ++i)
        out[o + i] = choose[at[0] + i * step[0]] != 0 ? a[at[1] + i * step[1]] : b[at[2] + i * step[2]];
    });
  });
}

std::vector<int64_t> pad_indices(int64_t size, int64_t before, int64_t out, std::string_view mode) {
  std::vector<int64_t> indices(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    int64_t s = i - before;
    if (s < 0 || s >= size) {
      if (mode == "constant") {
        s = -1;
      } else {
        expect(size > 0, "an empty axis can only be padded with a constant");
        if (mode == "edge") {
          s = std::clamp<int64_t>(s, 0, size - 1);
        } else if (mode == "wrap") {
          s = (s % size + size) % size;
        } else if (size == 1) {
          s = 0;
        } else {  // reflect, as often as needed
          const int64_t period = 2 * (size - 1);
          s = (s % period + period) % period;
          if (s >= size) s = period - s;
        }
      }
    }
    indices[static_cast<size_t>(i)] = s;
  }
  return indices;
}

namespace {

template <typename T>
struct PadRun {
  const std::vector<std::vector<int64_t>>& indices;
  const Shape& strides;
  int64_t inner;  // elements behind the last of these axes, which move together
  T fill;
  T* out;

  // A null source is a region of the constant.
  void run(const T* source, size_t d) {
    const auto& index = indices[d];
    if (d + 1 < indices.size()) {
      for (int64_t s : index) run(source != nullptr && s >= 0 ? source + s * strides[d] : nullptr, d + 1);
      return;
    }
    if (source == nullptr) {
      out = std::fill_n(out, static_cast<int64_t>(index.size()) * inner, fill);
      return;
    }
    for (size_t i = 0; i < index.size();) {
      if (index[i] < 0) {
        out = std::fill_n(out, inner, fill);
        ++i;
        continue;
      }
      size_t run_end = i + 1;
      while (run_end < index.size() && index[run_end] == index[run_end - 1] + 1) ++run_end;
      out = std::copy_n(source + index[i] * inner, static_cast<int64_t>(run_end - i) * inner, out);
      i = run_end;
    }
  }
};

}  // namespace

PadPlan plan_pad(Inputs inputs) {
  const Tensor& x = input(inputs, 0);
  const auto rank = static_cast<size_t>(x.rank());
  std::vector<int64_t> axes(rank);
  for (size_t d = 0; d < rank; ++d) axes[d] = static_cast<int64_t>(d);
  if (has(inputs, 3)) axes = to_int64(inputs[3]);
  const std::vector<int64_t> pads = to_int64(input(inputs, 1));
  expect(pads.size() == 2 * axes.size(), "pads must have two entries per axis");
  normalize_axes(axes, x.rank());
  Shape before(rank, 0), shape = x.shape();
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(normalize_axis(axes[i], x.rank()));
    constexpr int64_t kLimit = int64_t{1} << 40;
    const int64_t b = pads[i], e = pads[i + axes.size()];
    expect(b >= -kLimit && b <= kLimit && e >= -kLimit && e <= kLimit, "a pad is out of range");
    before[d] = b;
    shape[d] += b + e;
  }
  return {shape, before};
}

void run_pad(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 4, outputs);
  const Tensor& x = inputs[0];
  Tensor& y = outputs[0];
  expect_dtype(y, x.dtype());
  const std::string mode = attributes.get_string("mode", "constant");
  expect(mode == "constant" || mode == "edge" || mode == "reflect" || mode == "wrap", "unknown pad mode");
  const auto rank = static_cast<size_t>(x.rank());
  const auto [shape, before] = plan_pad(inputs);
  expect_shape(y, shape);
  if (y.count() == 0) return;
  std::vector<std::vector<int64_t>> indices;
  // What follows the last axis that changes moves as a whole.
  size_t axes = rank;
  while (axes > 1 && before[axes - 1] == 0 && shape[axes - 1] == x.shape()[axes - 1]) --axes;
  for (size_t d = 0; d < axes; ++d) indices.push_back(pad_indices(x.shape()[d], before[d], shape[d], mode));
  visit_size(y.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    T fill{};
    if (has(inputs, 2)) {
      expect_dtype(inputs[2], x.dtype());
      expect(inputs[2].count() == 1, "the pad value must have one element");
      std::memcpy(&fill, inputs[2].raw(), sizeof fill);
    }
    if (rank == 0) {
      *data<T>(y) = *data<T>(x);
      return;
    }
    PadRun<T> run{indices, row_major_strides(x.shape()),
                  product(x.shape(), static_cast<int64_t>(axes), static_cast<int64_t>(rank)), fill,
                  data<T>(y)};
    run.run(x.count() > 0 ? data<T>(x) : nullptr, 0);
  });
}

}  // namespace octet::kernels::generic
