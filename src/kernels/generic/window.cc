#include "kernels/generic/window.h"

namespace octet::kernels::generic {
namespace {

constexpr int64_t kLimit = 1 << 30;  // products of two and a dimension (below 2^31) fit into int64

std::vector<int64_t> read_list(const Attributes& attributes, std::string_view name, size_t count,
                               int64_t fallback, int64_t low) {
  std::vector<int64_t> values = attributes.get_ints(name);
  if (values.empty()) values.assign(count, fallback);
  if (values.size() != count)
    fail(ErrorCode::kInvalidArgument, "'{}' has {} entries, expected {}", name, values.size(), count);
  for (int64_t v : values)
    if (v < low || v > kLimit) fail(ErrorCode::kInvalidArgument, "'{}' holds {}", name, v);
  return values;
}

Window read_common(const Attributes& attributes, const Shape& kernel) {
  const size_t rank = kernel.size();
  for (int64_t k : kernel) expect(k >= 1 && k <= kLimit, "a kernel dimension is out of range");
  Window w{kernel,
           read_list(attributes, "strides", rank, 1, 1),
           read_list(attributes, "dilations", rank, 1, 1),
           {},
           {}};
  std::vector<int64_t> pads = read_list(attributes, "pads", 2 * rank, 0, -kLimit);
  w.pads_begin.assign(pads.begin(), pads.begin() + static_cast<int64_t>(rank));
  w.pads_end.assign(pads.begin() + static_cast<int64_t>(rank), pads.end());
  return w;
}

std::string read_auto_pad(const Attributes& attributes) {
  std::string mode = attributes.get_string("auto_pad", "NOTSET");
  expect(mode == "NOTSET" || mode == "VALID" || mode == "SAME_UPPER" || mode == "SAME_LOWER",
         "unknown auto_pad");
  return mode;
}

}  // namespace

Shape spatial(const Tensor& tensor) {
  if (tensor.rank() < 3) fail(ErrorCode::kInvalidArgument, "rank {}, expected at least 3", tensor.rank());
  return Shape(tensor.shape().begin() + 2, tensor.shape().end());
}

Window read_window(const Attributes& attributes, const Shape& kernel, const Shape& in, const Shape& out) {
  Window w = read_common(attributes, kernel);
  const std::string mode = read_auto_pad(attributes);
  if (mode == "NOTSET") return w;
  for (size_t d = 0; d < kernel.size(); ++d) {
    w.pads_begin[d] = w.pads_end[d] = 0;
    if (mode == "VALID") continue;
    const int64_t reach = (out[d] - 1) * w.strides[d] + (kernel[d] - 1) * w.dilations[d] + 1;
    const int64_t total = std::max<int64_t>(0, reach - in[d]);
    w.pads_begin[d] = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
    w.pads_end[d] = total - w.pads_begin[d];
  }
  return w;
}

Window read_transposed_window(const Attributes& attributes, const Shape& kernel, const Shape& in,
                              const Shape& out) {
  Window w = read_common(attributes, kernel);
  const std::string mode = read_auto_pad(attributes);
  const std::vector<int64_t> extra = read_list(attributes, "output_padding", kernel.size(), 0, 0);
  const bool given = !attributes.get_ints("output_shape").empty();
  for (size_t d = 0; d < kernel.size(); ++d) {
    if (mode == "VALID") w.pads_begin[d] = w.pads_end[d] = 0;
    if (!given && (mode == "NOTSET" || mode == "VALID")) continue;
    const int64_t total =
        (in[d] - 1) * w.strides[d] + extra[d] + (kernel[d] - 1) * w.dilations[d] + 1 - out[d];
    const int64_t pads = std::max<int64_t>(0, total);
    w.pads_begin[d] = mode == "SAME_UPPER" ? pads / 2 : pads - pads / 2;
    w.pads_end[d] = pads - w.pads_begin[d];
  }
  return w;
}

}  // namespace octet::kernels::generic
