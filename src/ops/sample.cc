// GridSample, RoiAlign
#include "ops/support.h"

namespace octet {
namespace {

constexpr size_t kMaxSpatial = 3;

// Names of before opset 20.
void upgrade_grid(Graph& graph, NodeId id, int) {
  Attributes& attributes = graph.node(id).attributes;
  const std::string mode = attributes.get_string("mode", "linear");
  if (mode == "bilinear") attributes.set("mode", std::string("linear"));
  if (mode == "bicubic") attributes.set("mode", std::string("cubic"));
}

void infer_grid(InferContext& context) {
  require_float(context, 0);
  require_float(context, 1);
  const Dims& x = context.shape(0);
  const Dims& grid = context.shape(1);
  if (x.size() < 3 || x.size() > 2 + kMaxSpatial || grid.size() != x.size() ||
      equal(grid.back(), Dim(static_cast<int64_t>(x.size()) - 2)) == false)
    context.fail_here(
        fmt::format("a grid of shape {} for an input of shape {}", to_string(grid), to_string(x)));
  Dims shape{x[0], x[1]};
  shape.insert(shape.end(), grid.begin() + 1, grid.end() - 1);
  context.set_output(0, context.dtype(0), std::move(shape));
}

// The half-pixel offset came with opset 16.
void upgrade_roi(Graph& graph, NodeId id, int opset) {
  if (opset < 16)
    graph.node(id).attributes.set("coordinate_transformation_mode", std::string("output_half_pixel"));
}

void infer_roi(InferContext& context) {
  require_float(context, 0);
  require_same_dtype(context, 0, 1);
  require_rank(context, 0, 4);
  require_rank(context, 1, 2);
  require_rank(context, 2, 1);
  const Attributes& attributes = context.attributes();
  context.set_output(0, context.dtype(0),
                     {context.shape(1)[0], context.shape(0)[1], Dim(attributes.get_int("output_height", 1)),
                      Dim(attributes.get_int("output_width", 1))});
}

}  // namespace

std::span<const OpDef> sample_ops() {
  using enum AttributeKind;
  static const OpDef ops[] = {
      {.name = "GridSample",
       .since = 16,
       .min_inputs = 2,
       .max_inputs = 2,
       .attributes = {{.name = "align_corners", .low = 0, .high = 1},
                      {.name = "mode",
                       .kind = kString,
                       .choices = {"linear", "nearest", "cubic", "bilinear", "bicubic"}},
                      {.name = "padding_mode",
                       .kind = kString,
                       .choices = {"zeros", "border", "reflection"}}},
       .upgrade = upgrade_grid,
       .infer = infer_grid,
       .valid_from = 20},
      {.name = "RoiAlign",
       .since = 10,
       .min_inputs = 3,
       .max_inputs = 3,
       .attributes = {{.name = "coordinate_transformation_mode",
                       .kind = kString,
                       .choices = {"half_pixel", "output_half_pixel"},
                       .since = 16},
                      {.name = "mode", .kind = kString, .choices = {"avg", "max"}},
                      {.name = "output_height", .low = 1, .high = 1 << 16},
                      {.name = "output_width", .low = 1, .high = 1 << 16},
                      {.name = "sampling_ratio", .low = 0, .high = 4096},
                      {.name = "spatial_scale", .kind = kFloat}},
       .upgrade = upgrade_roi,
       .infer = infer_roi,
       .valid_from = 16},
  };
  return ops;
}

}  // namespace octet
