// Convolution and transposed convolution of any rank: one pass over the output per weight, so that every sum
// runs over input channels, then taps, in order. Simple and fixed, not fast.
#include "base/checked.h"
#include "kernels/generic/ops.h"
#include "kernels/generic/window.h"

namespace octet::kernels::generic {
namespace {

// Adds weight * source into target for one tap. `wide` is the side that the stride steps over: the input of a
// convolution, the output of a transposed one; `narrow` is the other.
template <typename T, bool transposed>
struct Tap {
  const Shape &wide, &narrow;
  const Shape &wide_strides, &narrow_strides;
  const Shape &step, &offset;  // index on the wide side = step * index on the narrow side + offset
  T weight;

  void add(const T* source, T* target, size_t d) const {
    const int64_t low = offset[d] >= 0 ? 0 : ceil_div(-offset[d], step[d]);
    const int64_t room = wide[d] - 1 - offset[d];
    const int64_t high = room < 0 ? 0 : std::min(narrow[d], room / step[d] + 1);
    if (d + 1 < wide.size()) {
      for (int64_t i = low; i < high; ++i) {
        const int64_t at_wide = (i * step[d] + offset[d]) * wide_strides[d],
                      at_narrow = i * narrow_strides[d];
        if constexpr (transposed)
          add(source + at_narrow, target + at_wide, d + 1);
        else
          add(source + at_wide, target + at_narrow, d + 1);
      }
      return;
    }
    const int64_t s = step[d], o = offset[d];
    if constexpr (transposed) {
      for (int64_t i = low; i < high; ++i) target[i * s + o] += weight * source[i];
    } else if (s == 1) {
      for (int64_t i = low; i < high; ++i) target[i] += weight * source[i + o];
    } else {
      for (int64_t i = low; i < high; ++i) target[i] += weight * source[i * s + o];
    }
  }
};

template <typename T, bool transposed>
void convolve(const Window& window, const Tensor& x, const Tensor& w, const Tensor* bias, int64_t groups,
              Tensor& y) {
  const Shape in = spatial(x), out = spatial(y);
  const Shape in_strides = row_major_strides(in), out_strides = row_major_strides(out);
  const int64_t batch = x.shape()[0], in_c = x.shape()[1] / groups, out_c = y.shape()[1] / groups;
  const int64_t in_size = product(x.shape(), 2, x.rank()), out_size = product(y.shape(), 2, y.rank());
  const int64_t taps = product(window.kernel, 0, static_cast<int64_t>(window.kernel.size()));
  if (y.count() == 0) return;
  Shape offset(in.size());
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t c = 0; c < groups * out_c; ++c) {
      T* target = data<T>(y) + (n * groups * out_c + c) * out_size;
      std::fill_n(target, out_size, bias != nullptr ? data<T>(*bias)[c] : T{0});
      const int64_t g = c / out_c;
      for (int64_t i = 0; i < in_c; ++i) {
        const int64_t row = transposed ? (g * in_c + i) * out_c + c % out_c : c * in_c + i;
        const T* source = data<T>(x) + (n * groups * in_c + g * in_c + i) * in_size;
        Shape tap(in.size(), 0);
        for (int64_t t = 0; t < taps; ++t) {
          for (size_t d = 0; d < tap.size(); ++d)
            offset[d] = tap[d] * window.dilations[d] - window.pads_begin[d];
          const Tap<T, transposed> one{transposed ? out : in,
                                       transposed ? in : out,
                                       transposed ? out_strides : in_strides,
                                       transposed ? in_strides : out_strides,
                                       window.strides,
                                       offset,
                                       data<T>(w)[row * taps + t]};
          one.add(source, target, 0);
          for (size_t d = tap.size(); d-- > 0;) {
            if (++tap[d] < window.kernel[d]) break;
            tap[d] = 0;
          }
        }
      }
    }
}

template <bool transposed>
void run(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  expect_arity(inputs, 2, 3, outputs);
  const Tensor &x = inputs[0], &w = inputs[1];
  Tensor& y = outputs[0];
  const Tensor* bias = has(inputs, 2) ? &inputs[2] : nullptr;
  for (const Tensor* t : {&w, bias, &std::as_const(y)})
    if (t != nullptr) expect_dtype(*t, x.dtype());
  const Shape in = spatial(x), out = spatial(y), kernel = spatial(w);
  expect(in.size() == out.size() && in.size() == kernel.size(),
         "input, weights and output must have the same rank");
  const int64_t groups = attributes.get_int("group", 1), in_c = x.shape()[1], out_c = y.shape()[1];
  expect(groups >= 1 && in_c % groups == 0 && out_c % groups == 0,
         "channels must be a multiple of the groups");
  expect(x.shape()[0] == y.shape()[0], "input and output differ in the batch");
  const bool fits = transposed ? w.shape()[0] == in_c && w.shape()[1] == out_c / groups
                               : w.shape()[0] == out_c && w.shape()[1] == in_c / groups;
  expect(fits, "the weights do not fit the channels");
  if (bias != nullptr) expect_shape(*bias, {out_c});
  if (const std::vector<int64_t> given = attributes.get_ints("kernel_shape"); !given.empty())
    expect(given == kernel, "kernel_shape differs from the weights");
  const Window window = transposed ? read_transposed_window(attributes, kernel, in, out)
                                   : read_window(attributes, kernel, in, out);
  if (x.dtype() == DType::kInt32)  // as unsigned: overflow wraps
    return convolve<uint32_t, transposed>(window, x, w, bias, groups, y);
  visit_float(x.dtype(), [&](auto type) {
    convolve<typename decltype(type)::type, transposed>(window, x, w, bias, groups, y);
  });
}

}  // namespace

void run_conv(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run<false>(attributes, inputs, outputs);
}

void run_conv_transpose(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  run<true>(attributes, inputs, outputs);
}

}  // namespace octet::kernels::generic
