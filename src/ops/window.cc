#include "ops/window.h"

namespace octet {
namespace {
constexpr int64_t kMaxSize = 1 << 24;
}

Window read_window(const InferContext& context, size_t spatial, const std::vector<int64_t>& kernel) {
  Window window;
  window.kernel = context.attributes().get_ints("kernel_shape");
  if (window.kernel.empty()) window.kernel = kernel;
  if (window.kernel.size() != spatial)
    context.fail_here(
        fmt::format("the kernel has {} spatial dimensions, the input {}", window.kernel.size(), spatial));
  if (!kernel.empty() && window.kernel != kernel)
    context.fail_here(fmt::format("kernel_shape is {}, but the weights have {}", to_string(window.kernel),
                                  to_string(kernel)));
  for (const int64_t k : window.kernel)
    if (k < 1) context.fail_here("an empty kernel");
  window.strides = spatial_attribute(context, "strides", spatial, 1);
  window.dilations = spatial_attribute(context, "dilations", spatial, 1);
  window.pads = spatial_attribute(context, "pads", 2 * spatial, 0);
  window.auto_pad = context.attributes().get_string("auto_pad", "NOTSET");
  return window;
}

Dim window_output(const InferContext& context, const Window& window, size_t i, const Dim& input,
                  bool ceil_mode) {
  const size_t spatial = window.kernel.size();
  const int64_t stride = window.strides[i];
  const int64_t extent = (window.kernel[i] - 1) * window.dilations[i] + 1;
  if (window.auto_pad.starts_with("SAME")) return ceil_div(input, stride);
  int64_t begin = window.pads[i], total = begin + window.pads[spatial + i];
  if (window.auto_pad == "VALID") begin = total = 0;
  const Dim room = input + total - extent;
  if (room.known() && room.value() < 0)
    context.fail_here(fmt::format("a kernel of extent {} does not fit into {} + {} of padding", extent,
                                  input.text(), total));
  if (!ceil_mode || stride == 1) return floor_div(room, stride) + 1;
  return min(ceil_div(room, stride) + 1, floor_div(input + begin - 1, stride) + 1);
}

std::vector<AttributeDef> window_attributes(bool kernel_required, int dilations_since) {
  using enum AttributeKind;
  return {
      {.name = "auto_pad", .kind = kString, .choices = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"}},
      {.name = "dilations", .kind = kInts, .low = 1, .high = kMaxSize, .since = dilations_since},
      {.name = "kernel_shape", .kind = kInts, .required = kernel_required, .low = 1, .high = kMaxSize},
      {.name = "pads", .kind = kInts, .low = 0, .high = kMaxSize},
      {.name = "strides", .kind = kInts, .low = 1, .high = kMaxSize},
  };
}

void upgrade_window(Graph& graph, NodeId id) {
  for (const char* name : {"dilations", "kernel_shape", "output_padding", "output_shape", "pads", "strides"})
    if (graph.node(id).attributes.get_ints(name).empty()) drop_attribute(graph, id, name);
  const std::string auto_pad = graph.node(id).attributes.get_string("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET") drop_attribute(graph, id, "pads");
  if (auto_pad == "NOTSET" || auto_pad == "VALID") drop_attribute(graph, id, "auto_pad");
}

}  // namespace octet
