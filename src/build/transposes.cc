// Transpositions by layouts: where the channels go to the end or come back from there, the result is the
// other layout's memory under another shape, and any transposition of matrices is a change of layout of them
// as images of one row.
//
// Only in quantized models: calibration observes what the steps of a float one write.
#include "build/lowering.h"

namespace octet {
namespace {

using engine::TensorDef;

// A tensor, [batch, a, b] and then [batch, b, a].
struct Matrices {
  Dim batch = Dim(1), a = Dim(1), b = Dim(1);
};

std::optional<Matrices> as_matrices(const std::vector<int64_t>& perm, const Dims& dims) {
  // Neighbours that stay neighbours are one axis; those of size one are none.
  std::vector<std::pair<int64_t, Dim>> groups;  // first axis of the input, size
  int64_t last = -2;
  for (int64_t p : perm) {
    const Dim& size = dims[static_cast<size_t>(p)];
    if (size.known() && size.value() == 1) continue;
    bool next = !groups.empty() && p > last;
    for (int64_t between = last + 1; next && between < p; ++between) {
      const Dim& d = dims[static_cast<size_t>(between)];
      next = d.known() && d.value() == 1;
    }
    if (next)
      groups.back().second = groups.back().second * size;
    else
      groups.emplace_back(p, size);
    last = p;
  }
  if (groups.size() == 2) return Matrices{Dim(1), groups[1].second, groups[0].second};
  if (groups.size() == 3 && groups[0].first < groups[2].first && groups[2].first < groups[1].first)
    return Matrices{groups[0].second, groups[2].second, groups[1].second};
  return {};
}

bool whole_fours(const Dim& d) {
  return d.known() && d.value() % 4 == 0;
}

}  // namespace

int32_t LoweringState::make_other_layout(const std::string& name, int32_t of, Layout layout,
                                         const Dims& shape) {
  const TensorDef def = model_.tensors[of];
  const int32_t t = make_temporary(name, def.dtype, layout, shape, def.quant);
  model_.tensors[t].parent = def.parent >= 0 ? def.parent : of;
  model_.tensors[t].channel_offset = def.channel_offset;
  return t;
}

bool LoweringState::lower_transpose_by_layout(NodeId id) {
  const Node& node = graph_.node(id);
  ValueId x = node.inputs[0], y = node.outputs[0];
  const std::vector<int64_t> perm = node.attributes.get_ints("perm", {});
  const auto in = quantized(x);
  const auto out = requantized(y);
  if (!quantized_model_ || perm.size() != dims(x).size() || graph_.is_constant(x)) return false;
  if (in) {
    if (!out || in->params != out->value.params || in->params.per_channel()) return false;
    x = in->stored;
    y = out->value.stored;
  } else if (graph_.value(x).dtype != DType::kFloat32) {
    return false;
  }
  if (graph_.is_output(y)) return false;
  const auto m = as_matrices(perm, dims(x));
  if (!m) return false;
  const bool images_last = perm == std::vector<int64_t>{0, 2, 3, 1};
  const bool images_first = perm == std::vector<int64_t>{0, 3, 1, 2};
  const std::string name = graph_.value(y).name;
  // A view must not lie between the channels of something wider, nor planes that lie apart be read.
  const auto whole = [&](int32_t t) {
    const TensorDef& def = model_.tensors[t];
    return def.storage != engine::Storage::kConstant && def.plane_stride == 0 &&
           (def.parent < 0 || model_.tensors[def.parent].layout == Layout::kPlain);
  };
  const auto exists = [&](Layout layout) { return tensors_.count({x, layout}) > 0; };
  int32_t result = -1;
  if (images_last && (!in || whole_fours(dims(x)[1])) && !graph_.is_constant(x)) {
    if (exists(Layout::kNhwc) && !whole(tensor(x, Layout::kNhwc))) return false;
    result = make_other_layout(name, tensor(x, Layout::kNhwc), Layout::kPlain, dims(y));
  } else {
    const int32_t plain = tensor(x, Layout::kPlain);
    if (!whole(plain)) return false;
    if (images_first && (!in || whole_fours(dims(y)[1]))) {
      result = make_other_layout(name, plain, Layout::kNhwc, dims(y));
    } else if (!in || whole_fours(m->a)) {
      const Dims shape{m->batch, m->a, Dim(1), m->b};
      const int32_t from = make_other_layout(name + "_rows", plain, Layout::kPlain, shape);
      const TensorDef def = model_.tensors[from];
      const int32_t to = make_temporary(name + "_columns", def.dtype, Layout::kNhwc, shape, def.quant);
      set_precision(add_step("layout", id, {from}, {to}), in ? "int8" : "float32",
                    in ? "" : float_reason(node));
      result = make_other_layout(name, to, Layout::kPlain, dims(y));
    } else if (whole_fours(m->b)) {
      const Dims shape{m->batch, m->b, Dim(1), m->a};
      const int32_t from = make_other_layout(name + "_rows", plain, Layout::kNhwc, shape);
      const TensorDef def = model_.tensors[from];
      const int32_t to = make_temporary(name + "_columns", def.dtype, Layout::kPlain, shape, def.quant);
      set_precision(add_step("layout", id, {from}, {to}), "int8");
      result = make_other_layout(name, to, Layout::kPlain, dims(y));
    } else {
      return false;
    }
  }
  bind(y, result);
  if (in) mark_done(out->node);
  return true;
}

}  // namespace octet
