// Attention, RotaryEmbedding
#include "ops/support.h"

namespace octet {
namespace {

// What is computed in float32 anyway.
void upgrade(Graph& graph, NodeId id, int) {
  drop_attribute(graph, id, "softmax_precision");
  drop_unused_outputs(graph, id, 1);
}

// [batch, heads, length, size] of an input of rank 4, or of rank 3 with the heads side by side.
Dims read_heads(const InferContext& context, size_t i, std::string_view attribute) {
  require_float(context, i);
  const Dims& shape = context.shape(i);
  if (shape.size() == 4) return shape;
  require_rank(context, i, 3);
  const int64_t heads = context.attributes().get_int(attribute, 0);
  if (heads < 1) context.fail_here(fmt::format("an input of rank 3 needs the attribute '{}'", attribute));
  if (shape[2].known() && shape[2].value() % heads != 0)
    context.fail_here(fmt::format("{} do not divide into {} heads", shape[2].text(), heads));
  return {shape[0], Dim(heads), shape[1], floor_div(shape[2], heads)};
}

void infer(InferContext& context) {
  const Dims q = read_heads(context, 0, "q_num_heads"), k = read_heads(context, 1, "kv_num_heads"),
             v = read_heads(context, 2, "kv_num_heads");
  if (equal(q[3], k[3]) == false || equal(k[1], v[1]) == false || equal(k[2], v[2]) == false ||
      equal(q[0], k[0]) == false || equal(k[0], v[0]) == false)
    context.fail_here(fmt::format("queries {}, keys {} and values {} do not fit together", to_string(q),
                                  to_string(k), to_string(v)));
  if (q[1].known() && k[1].known() && (k[1].value() < 1 || q[1].value() % k[1].value() != 0))
    context.fail_here(fmt::format("{} query heads share {} key heads", q[1].text(), k[1].text()));
  if (context.has_input(4) != context.has_input(5))
    context.fail_here("past_key and past_value belong together");
  Dim total = k[2];
  if (context.has_input(4)) {
    require_rank(context, 4, 4);
    require_rank(context, 5, 4);
    total = context.shape(4)[2] + total;
  }
  const DType dtype = context.dtype(0);
  context.set_output(
      0, dtype, context.shape(0).size() == 4 ? Dims{q[0], q[1], q[2], v[3]} : Dims{q[0], q[2], q[1] * v[3]});
  context.set_output(1, context.dtype(1), {k[0], k[1], total, k[3]});
  context.set_output(2, context.dtype(2), {v[0], v[1], total, v[3]});
  context.set_output(3, dtype, {q[0], q[1], q[2], total});
}

int opset(const Graph&, const Node& node) {
  return has_input(node, 6) ? 24 : 23;
}

void infer_rotary(InferContext& context) {
  require_float(context, 0);
  require_same_dtype(context, 0, 1);
  require_same_dtype(context, 0, 2);
  read_heads(context, 0, "num_heads");
  infer_like_first(context);
}

}  // namespace

std::span<const OpDef> attention_ops() {
  using enum AttributeKind;
  constexpr int64_t kMany = 1 << 24;
  static const OpDef ops[] = {
      {.name = "Attention",
       .since = 23,
       .min_inputs = 3,
       .max_inputs = 7,
       .max_outputs = 4,
       .attributes = {{.name = "is_causal", .low = 0, .high = 1},
                      {.name = "kv_num_heads", .low = 1, .high = kMany},
                      {.name = "left_window_size", .low = -1, .high = kMany, .since = 25},
                      {.name = "q_num_heads", .low = 1, .high = kMany},
                      {.name = "qk_matmul_output_mode", .low = 0, .high = 3},
                      {.name = "right_window_size", .low = -1, .high = kMany, .since = 25},
                      {.name = "scale", .kind = kFloat},
                      {.name = "softcap", .kind = kFloat},
                      {.name = "softmax_precision", .until = kNewestOpset}},
       .upgrade = upgrade,
       .infer = infer,
       .valid_from = 23,
       .export_opset = opset},
      {.name = "RotaryEmbedding",
       .since = 23,
       .min_inputs = 3,
       .max_inputs = 4,
       .attributes = {{.name = "interleaved", .low = 0, .high = 1},
                      {.name = "num_heads", .low = 0, .high = kMany},
                      {.name = "rotary_embedding_dim", .low = 0, .high = kMany}},
       .infer = infer_rotary,
       .valid_from = 23},
  };
  return ops;
}

}  // namespace octet
