// Resize: nearest, linear and cubic along any axes, one axis after the other, as the ONNX specification
// defines the coordinates.
#include <algorithm>
#include <cmath>

#include "kernels/generic/makers.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/parts.h"

namespace octet::kernels::generic {
namespace {

// Which elements of an axis make one output element.
struct Taps {
  std::vector<int64_t> index;
  std::vector<float> weight;
  bool outside = false;  // takes the extrapolation value (tf_crop_and_resize)
};

struct Options {
  std::string coordinates, nearest, mode;
  float cubic_a = -0.75f, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
};

// Position of output index `i` in the input. `resized` is the output's length before it is rounded down to
// `out`.
double position(const Options& o, double i, double in, double out, double resized, double scale,
                double roi_start, double roi_end) {
  const std::string& c = o.coordinates;
  if (c == "half_pixel") return (i + 0.5) / scale - 0.5;
  if (c == "half_pixel_symmetric") {
    const double adjustment = out / (in * scale), centre = in / 2;
    return centre * (1 - adjustment) + (i + 0.5) / scale - 0.5;
  }
  if (c == "pytorch_half_pixel") return out > 1 ? (i + 0.5) / scale - 0.5 : 0.0;
  if (c == "align_corners") return resized > 1 ? i * (in - 1) / (resized - 1) : 0.0;
  if (c == "asymmetric") return i / scale;
  if (c == "tf_half_pixel_for_nn") return (i + 0.5) / scale;
  if (c == "tf_crop_and_resize")
    return out > 1 ? roi_start * (in - 1) + i * (roi_end - roi_start) * (in - 1) / (out - 1)
                   : 0.5 * (roi_start + roi_end) * (in - 1);
  fail(ErrorCode::kInvalidArgument, "unknown coordinate_transformation_mode '{}'", c);
}

int64_t nearest_index(const Options& o, double x) {
  if (o.nearest == "round_prefer_floor") return static_cast<int64_t>(std::ceil(x - 0.5));
  if (o.nearest == "round_prefer_ceil") return static_cast<int64_t>(std::floor(x + 0.5));
  if (o.nearest == "floor") return static_cast<int64_t>(std::floor(x));
  if (o.nearest == "ceil") return static_cast<int64_t>(std::ceil(x));
  fail(ErrorCode::kInvalidArgument, "unknown nearest_mode '{}'", o.nearest);
}

// Weight of a sample at distance `t` (Keys, 1981, with the parameter a).
double cubic(double t, double a) {
  t = std::fabs(t);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return 0;
}

double triangle(double t) {
  return std::max(0.0, 1 - std::fabs(t));
}

Taps make_taps(const Options& o, double x, int64_t in, double scale) {
  Taps taps;
  if (o.coordinates == "tf_crop_and_resize" && (x < 0 || x > static_cast<double>(in - 1))) {
    taps.outside = true;
    return taps;
  }
  if (o.mode == "nearest") {
    taps.index = {std::clamp<int64_t>(nearest_index(o, x), 0, in - 1)};
    taps.weight = {1.0f};
    return taps;
  }
  const bool is_cubic = o.mode == "cubic";
  const double shrink = o.antialias ? std::min(1.0, scale) : 1.0;
  const double reach = (is_cubic ? 2.0 : 1.0) / shrink;
  const auto first = static_cast<int64_t>(std::floor(x - reach)) + 1,
             last = static_cast<int64_t>(std::ceil(x + reach)) - 1;
  double total = 0;
  std::vector<double> weights;
  for (int64_t i = first; i <= last; ++i) {
    const double distance = (static_cast<double>(i) - x) * shrink;
    double w = is_cubic ? cubic(distance, o.cubic_a) : triangle(distance);
    if (o.exclude_outside && (i < 0 || i >= in)) w = 0;
    taps.index.push_back(std::clamp<int64_t>(i, 0, in - 1));
    weights.push_back(w);
    total += w;
  }
  if (total == 0) total = 1;
  for (double w : weights)
    taps.weight.push_back(static_cast<float>(o.exclude_outside || o.antialias ? w / total : w));
  return taps;
}

// Whether an output element is an input element, whatever it holds.
bool is_copy(const Taps& taps) {
  return !taps.outside && taps.index.size() == 1 && taps.weight[0] == 1.0f;
}

// The last axis: rows of x, `in` elements each. Every output has kTaps taps or is a copy.
template <typename T, typename Sum, size_t kTaps>
void resize_rows(const T* x, T* y, int64_t rows, int64_t in, const std::vector<Taps>& all) {
  struct Flat {
    bool copy;
    int64_t index[kTaps];
    Sum weight[kTaps];
  };
  std::vector<Flat> flat(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    flat[i].copy = is_copy(all[i]);
    for (size_t t = 0; t < all[i].index.size(); ++t) {
      flat[i].index[t] = all[i].index[t];
      flat[i].weight[t] = static_cast<Sum>(all[i].weight[t]);
    }
  }
  const bool copies = std::ranges::all_of(flat, [](const Flat& f) { return f.copy; });
  for (int64_t r = 0; copies && r < rows; ++r, x += in)
    for (const Flat& taps : flat) *y++ = x[taps.index[0]];
  for (int64_t r = 0; !copies && r < rows; ++r, x += in)
    for (const Flat& taps : flat) {
      Sum sum{0};
      if (taps.copy) {
        *y++ = x[taps.index[0]];
        continue;
      }
      for (size_t t = 0; t < kTaps; ++t) sum += taps.weight[t] * static_cast<Sum>(x[taps.index[t]]);
      *y++ = cast_value<T>(sum);
    }
}

bool fit_rows(const std::vector<Taps>& all, size_t count) {
  return std::ranges::all_of(
      all, [&](const Taps& t) { return is_copy(t) || (!t.outside && t.index.size() == count); });
}

// Resizes one axis: x seen as [outer, in, inner].
template <typename T, typename Sum>
void resize_axis(const T* x, T* y, int64_t outer, int64_t in, int64_t inner, const std::vector<Taps>& all,
                 float outside) {
  if (inner == 1 && fit_rows(all, 2)) return resize_rows<T, Sum, 2>(x, y, outer, in, all);
  if (inner == 1 && fit_rows(all, 4)) return resize_rows<T, Sum, 4>(x, y, outer, in, all);
  std::vector<Sum> row(static_cast<size_t>(inner));
  for (int64_t o = 0; o < outer; ++o)
    for (const Taps& taps : all) {
      const T* source = x + o * in * inner;
      if (taps.outside) {
        y = std::fill_n(y, inner, cast_value<T>(outside));
        continue;
      }
      if (is_copy(taps)) {
        y = std::copy_n(source + taps.index[0] * inner, inner, y);
        continue;
      }
      if (taps.index.size() == 2) {
        const T *a = source + taps.index[0] * inner, *b = source + taps.index[1] * inner;
        const auto u = static_cast<Sum>(taps.weight[0]), v = static_cast<Sum>(taps.weight[1]);
        for (int64_t i = 0; i < inner; ++i)
          y[i] = cast_value<T>(u * static_cast<Sum>(a[i]) + v * static_cast<Sum>(b[i]));
        y += inner;
        continue;
      }
      std::fill(row.begin(), row.end(), Sum{0});
      for (size_t t = 0; t < taps.index.size(); ++t) {
        const T* line = source + taps.index[t] * inner;
        const auto w = static_cast<Sum>(taps.weight[t]);
        for (int64_t i = 0; i < inner; ++i) row[static_cast<size_t>(i)] += w * static_cast<Sum>(line[i]);
      }
      for (int64_t i = 0; i < inner; ++i) *y++ = cast_value<T>(row[static_cast<size_t>(i)]);
    }
}

// What becomes of one axis.
struct ResizedAxis {
  size_t axis;
  std::vector<Taps> taps;
};

struct ResizePlan {
  std::vector<ResizedAxis> axes;  // in the order in which they are resized
  float extrapolation = 0;
};

ResizePlan plan_resize(const Attributes& attributes, Inputs inputs, const Tensor& y) {
  const Tensor& x = input(inputs, 0);
  expect_dtype(y, x.dtype());
  expect(y.rank() == x.rank(), "input and output must have the same rank");
  Options o;
  o.coordinates = attributes.get_string("coordinate_transformation_mode", "half_pixel");
  o.nearest = attributes.get_string("nearest_mode", "round_prefer_floor");
  o.mode = attributes.get_string("mode", "nearest");
  expect(o.mode == "nearest" || o.mode == "linear" || o.mode == "cubic", "unknown resize mode");
  o.cubic_a = attributes.get_float("cubic_coeff_a", -0.75f);
  o.extrapolation = attributes.get_float("extrapolation_value", 0.0f);
  o.exclude_outside = attributes.get_int("exclude_outside", 0) != 0;
  o.antialias = attributes.get_int("antialias", 0) != 0;

  const auto rank = static_cast<size_t>(x.rank());
  std::vector<int64_t> axes = attributes.get_ints("axes");
  if (axes.empty())
    for (size_t d = 0; d < rank; ++d) axes.push_back(static_cast<int64_t>(d));
  normalize_axes(axes, x.rank());
  const auto floats = [&](size_t i) {
    return has(inputs, i) && inputs[i].count() > 0 ? to_float(inputs[i]) : std::vector<float>{};
  };
  const bool crop = o.coordinates == "tf_crop_and_resize";  // the others ignore roi
  const std::vector<float> roi = crop ? floats(1) : std::vector<float>{}, scales = floats(2);
  expect(scales.empty() || scales.size() == axes.size(), "scales must have one entry per axis");
  expect(!crop || roi.size() == 2 * axes.size(), "tf_crop_and_resize needs roi with two entries per axis");
  for (size_t d = 0; d < rank; ++d)
    expect(std::any_of(axes.begin(), axes.end(),
                       [&](int64_t a) { return normalize_axis(a, x.rank()) == static_cast<int64_t>(d); }) ||
               x.shape()[d] == y.shape()[d],
           "an axis that is not resized changes its size");
  if (y.count() == 0) return {};
  expect(x.count() > 0, "an empty tensor cannot be enlarged");

  // With sizes and a policy that keeps the aspect ratio, one scale serves all axes.
  const std::string policy = attributes.get_string("keep_aspect_ratio_policy", "stretch");
  double common = 0;
  if (scales.empty() && has(inputs, 3)) {
    const std::vector<int64_t> sizes = to_int64(inputs[3]);
    expect(sizes.size() == axes.size(), "sizes must have one entry per axis");
    for (size_t i = 0; i < axes.size(); ++i) {
      const auto d = static_cast<size_t>(normalize_axis(axes[i], x.rank()));
      if (policy == "stretch") {
        expect(sizes[i] == y.shape()[d], "the output has another size than asked for");
        continue;
      }
      const double s = static_cast<double>(sizes[i]) / static_cast<double>(x.shape()[d]);
      common = i == 0 ? s : policy == "not_larger" ? std::min(common, s) : std::max(common, s);
    }
  }

  ResizePlan plan;
  plan.extrapolation = o.extrapolation;
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto d = static_cast<size_t>(normalize_axis(axes[i], x.rank()));
    const int64_t in = x.shape()[d], out = y.shape()[d];
    const double scale = !scales.empty() ? static_cast<double>(scales[i])
                         : common > 0    ? common
                                         : static_cast<double>(out) / static_cast<double>(in);
    expect(scale > 0 && scale < 1e9 && scale > 1e-9, "a scale is out of range");
    // Else a window of the filter would be much longer than the axis.
    expect(!o.antialias || scale * static_cast<double>(in) >= 0.5, "a scale shrinks an axis to nothing");
    const double start = roi.empty() ? 0 : roi[i], end = roi.empty() ? 1 : roi[i + axes.size()];
    if (in == out && scale == 1.0 && o.coordinates != "tf_crop_and_resize") continue;
    const double resized = scales.empty() ? static_cast<double>(out) : scale * static_cast<double>(in);
    std::vector<Taps> taps;
    for (int64_t p = 0; p < out; ++p) {
      const double at = position(o, static_cast<double>(p), static_cast<double>(in), static_cast<double>(out),
                                 resized, scale, start, end);
      expect(at > -1e12 && at < 1e12, "a coordinate is out of range");
      taps.push_back(make_taps(o, at, in, scale));
    }
    plan.axes.push_back({d, std::move(taps)});
  }
  // Rows are the slowest, so they are enlarged while there are few of them. Integers keep the order of the
  // axes: they are rounded behind each.
  if (is_float(x.dtype()))
    std::stable_sort(plan.axes.begin(), plan.axes.end(), [&](const ResizedAxis& a, const ResizedAxis& b) {
      const auto grows = [&](const ResizedAxis& r) { return y.shape()[r.axis] >= x.shape()[r.axis]; };
      return grows(a) != grows(b) ? grows(b) : grows(a) && a.axis > b.axis;
    });
  return plan;
}

// Planes are what lies behind the axes in front of the first that is resized.
int64_t planes_of(const ResizePlan& plan, const Tensor& t) {
  size_t first = static_cast<size_t>(t.rank());
  for (const ResizedAxis& r : plan.axes) first = std::min(first, r.axis);
  return product(t.shape(), 0, static_cast<int64_t>(first));
}

template <typename T>
void resize_planes(const ResizePlan& plan, const Tensor& x, Tensor& y, int64_t begin, int64_t end) {
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t planes = planes_of(plan, x);
  if (planes == 0 || y.count() == 0) return;
  const T* from = data<T>(x) + x.count() / planes * begin;
  T* const result = data<T>(y) + y.count() / planes * begin;
  if (plan.axes.empty()) {
    std::copy_n(from, x.count() / planes * (end - begin), result);
    return;
  }
  Shape shape = x.shape();
  std::vector<T> current;
  for (size_t i = 0; i < plan.axes.size(); ++i) {
    const auto& [d, taps] = plan.axes[i];
    const auto axis = static_cast<int64_t>(d);
    const int64_t in = shape[d], inner = product(shape, axis + 1, x.rank());
    const int64_t outer = product(shape, 0, axis) / planes * (end - begin);
    shape[d] = y.shape()[d];
    const bool last = i + 1 == plan.axes.size();
    std::vector<T> next(last ? 0 : static_cast<size_t>(outer * shape[d] * inner));
    resize_axis<T, Sum>(from, last ? result : next.data(), outer, in, inner, taps, plan.extrapolation);
    current.swap(next);
    from = current.data();
  }
}

}  // namespace

// Each part computes the taps anew.
int64_t resize_parts(const Attributes& /*attributes*/, Inputs inputs, std::span<const Tensor> outputs) {
  const Tensor &x = inputs[0], &y = outputs[0];
  if (x.rank() != y.rank()) return 1;
  int64_t planes = 1;
  for (int64_t d = 0; d < x.rank() && x.shape()[d] == y.shape()[d]; ++d) planes *= x.shape()[d];
  return std::min<int64_t>(suitable_parts(y.count(), planes), 8);
}

void run_resize_parts(const Attributes& attributes, Inputs inputs, Outputs outputs, int64_t begin,
                      int64_t end) {
  expect_arity(inputs, 1, 4, outputs);
  const Tensor& x = inputs[0];
  const ResizePlan plan = plan_resize(attributes, inputs, outputs[0]);
  const int64_t parts = resize_parts(attributes, inputs, outputs), planes = planes_of(plan, x);
  visit_number(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    resize_planes<T>(plan, x, outputs[0], part_begin(planes, begin, parts), part_begin(planes, end, parts));
  });
}

void run_resize(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 1, 4, outputs);
  const ResizePlan plan = plan_resize(attributes, inputs, outputs[0]);
  visit_number(inputs[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    resize_planes<T>(plan, inputs[0], outputs[0], 0, planes_of(plan, inputs[0]));
  });
}

std::vector<Shape> shape_of_resize(const Attributes& attributes, Inputs inputs, size_t) {
  const Tensor& x = input(inputs, 0);
  Shape shape = x.shape();
  std::vector<int64_t> axes = attributes.get_ints("axes");
  if (axes.empty())
    for (int64_t d = 0; d < x.rank(); ++d) axes.push_back(d);
  normalize_axes(axes, x.rank());
  const bool by_size = has(inputs, 3) && inputs[3].count() > 0;
  const std::vector<float> scales = by_size ? std::vector<float>{} : to_float(input(inputs, 2));
  const std::vector<int64_t> sizes = by_size ? to_int64(inputs[3]) : std::vector<int64_t>{};
  expect((by_size ? sizes.size() : scales.size()) == axes.size(), "one scale or size per axis expected");
  const std::string policy = attributes.get_string("keep_aspect_ratio_policy", "stretch");
  double common = 0;
  for (size_t i = 0; by_size && i < axes.size(); ++i) {
    const int64_t in = shape[static_cast<size_t>(normalize_axis(axes[i], x.rank()))];
    expect(sizes[i] >= 0 && (in > 0 || policy == "stretch"), "a size is out of range");
    const double s = static_cast<double>(sizes[i]) / static_cast<double>(std::max<int64_t>(in, 1));
    common = i == 0 ? s : policy == "not_larger" ? std::min(common, s) : std::max(common, s);
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t& d = shape[static_cast<size_t>(normalize_axis(axes[i], x.rank()))];
    if (!by_size) {
      expect(scales[i] > 0 && scales[i] <= 65536.0f, "a scale is out of range");
      d = static_cast<int64_t>(std::floor(static_cast<float>(d) * scales[i]));
    } else {
      d = policy == "stretch" ? sizes[i]
                              : static_cast<int64_t>(std::floor(common * static_cast<double>(d) + 0.5));
    }
  }
  return {shape};
}

}  // namespace octet::kernels::generic
