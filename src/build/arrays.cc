// Float values in plain memory: parts of a concatenation that are written where they belong, in rows or as
// planes that lie apart, and splits that are read where they are.
//
// Only in quantized models: calibration observes what the steps of a float one write.
#include "base/checked.h"
#include "build/lowering.h"

namespace octet {
namespace {

using engine::TensorDef;

// Below it a convolution's few pixels are better cut by their channels.
constexpr int64_t kFewestPlanePixels = 64;

bool static_floats(const Graph& g, ValueId v) {
  return v != kNoId && g.value(v).dtype == DType::kFloat32 && g.value(v).shape &&
         all_known(*g.value(v).shape);
}

bool reshapes(const Node& node) {
  const OpDef* op = find_op(node.op, node.domain);
  return op && op->lowering == Lowering::kReshape;
}

bool to_channels_last(const Node& node) {
  return node.is("Transpose") && node.attributes.get_ints("perm", {}) == std::vector<int64_t>{0, 2, 3, 1};
}

int64_t product(const Shape& shape, size_t first, size_t last) {
  int64_t n = 1;
  for (size_t i = first; i < last; ++i) n = checked_mul(n, shape[i]);
  return n;
}

size_t axis_of(const Node& node, size_t rank) {
  const int64_t axis = node.attributes.get_int("axis", 0);
  return static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
}

}  // namespace

// What reads the value wants it plain in any case.
bool LoweringState::read_as_planes(ValueId value) const {
  const std::vector<NodeId>& readers = graph_.consumers(value);
  for (NodeId reader : readers)
    if (!reshapes(graph_.node(reader)) && !array_concats_.count(reader)) return false;
  return !readers.empty() || graph_.is_output(value);
}

bool LoweringState::wants_planes(ValueId value) const {
  if (!quantized_model_ || !static_floats(graph_, value) || rank(value) != 4 || concat_place_.count(value))
    return false;
  const Shape shape = evaluate(dims(value));
  return product(shape, 2, 4) >= kFewestPlanePixels && read_as_planes(value);
}

bool LoweringState::can_be_part(ValueId value) const {
  return static_floats(graph_, value) && !graph_.is_constant(value) &&
         graph_.value(value).producer != kNoId && !graph_.is_output(value);
}

// `rows` rows of `length` elements that lie apart: only images are written like that.
bool LoweringState::give_planes(ValueId value, const ArrayPlace& place, int64_t rows, int64_t length) {
  if (!can_be_part(value) || !only_consumer(graph_, value)) return false;
  const Shape shape = evaluate(dims(value));
  if (shape.size() == 4 && shape[0] == 1 && shape[1] == rows && product(shape, 2, 4) == length)
    return array_place_.try_emplace(value, place).second;
  const Node& producer = *graph_.producer(value);
  return reshapes(producer) && !quantized(producer.inputs[0]) &&
         give_planes(producer.inputs[0], place, rows, length);
}

void LoweringState::plan_array_concat(NodeId id) {
  const Node& node = graph_.node(id);
  const ValueId y = node.outputs[0];
  if (!static_floats(graph_, y) || requantized(y)) return;
  for (ValueId v : node.inputs)
    if (!static_floats(graph_, v)) return;
  const Shape shape = evaluate(dims(y));
  const size_t axis = axis_of(node, shape.size());
  const int64_t outer = product(shape, 0, axis), inner = product(shape, axis + 1, shape.size());
  const auto own = array_place_.find(y);
  const bool placed = own != array_place_.end(), images = shape.size() == 4 && axis == 1;
  // Channels of images are joined channels-last unless something wants them plain.
  if (images && !placed && (outer != 1 || !read_as_planes(y))) return;
  ArrayPlace base = placed ? own->second : ArrayPlace{y};
  if (base.layout != Layout::kPlain || (base.plane_stride > 0 && !images)) return;
  const bool apart = outer != 1;
  if (apart && base.plane_stride > 0) return;
  bool any = false;
  int64_t at = 0;
  for (ValueId v : node.inputs) {
    const int64_t length = evaluate(dims(v))[axis];
    ArrayPlace part = base;
    if (base.plane_stride > 0) {
      part.offset += at * base.plane_stride;
      any = give_planes(v, part, length, inner) || any;
    } else {
      part.offset += at * inner;
      part.plane_stride = apart ? shape[axis] * inner : 0;
      any = (apart            ? give_planes(v, part, outer, length * inner)
             : can_be_part(v) ? array_place_.try_emplace(v, part).second
                              : false) ||
            any;
    }
    at += length;
  }
  if (any) array_concats_.insert(id);
}

void LoweringState::plan_arrays() {
  if (!quantized_model_) return;
  const std::vector<NodeId> sorted = graph_.sorted();
  for (auto id = sorted.rbegin(); id != sorted.rend(); ++id) {
    const Node& node = graph_.node(*id);
    if (node.is("Concat")) {
      plan_array_concat(*id);
      continue;
    }
    if (node.outputs.empty() || node.outputs[0] == kNoId) continue;
    const auto place = array_place_.find(node.outputs[0]);
    if (place == array_place_.end() || place->second.plane_stride > 0) continue;
    ArrayPlace from = place->second;
    const ValueId x = node.inputs[0];
    if (to_channels_last(node))
      from.layout = Layout::kNhwc;
    else if (!reshapes(node))
      continue;
    if (!can_be_part(x) || quantized(x)) continue;
    // Its own parts are views of it.
    if (from.layout == Layout::kNhwc && graph_.producer(x)->is("Concat")) continue;
    array_place_.try_emplace(x, from);
  }
}

int32_t LoweringState::array_root(ValueId whole) {
  const auto found = tensors_.find({whole, Layout::kPlain});
  if (found != tensors_.end()) return found->second;
  const int32_t t = make_temporary(graph_.value(whole).name, DType::kFloat32, Layout::kPlain, dims(whole));
  bind(whole, t);
  return t;
}

int32_t LoweringState::make_part(const std::string& name, Layout layout, const Dims& shape,
                                 const ArrayPlace& place) {
  const int32_t root = array_root(place.whole);
  const int32_t t = make_temporary(name, DType::kFloat32, layout, shape);
  TensorDef& def = model_.tensors[t];
  def.parent = root;
  def.channel_offset = place.offset;
  def.plane_stride = place.plane_stride;
  return t;
}

const LoweringState::ArrayPlace* LoweringState::array_place(ValueId value, Layout layout) const {
  const auto found = array_place_.find(value);
  return found != array_place_.end() && found->second.layout == layout ? &found->second : nullptr;
}

int32_t LoweringState::make_planes(ValueId value) {
  const ArrayPlace* place = array_place(value, Layout::kPlain);
  if (place == nullptr) return make(value, DType::kFloat32, Layout::kPlain);
  const int32_t t = make_part(graph_.value(value).name, Layout::kPlain, dims(value), *place);
  bind(value, t);
  return t;
}

bool LoweringState::lower_array_concat(NodeId id) {
  if (!array_concats_.count(id)) return false;
  const Node& node = graph_.node(id);
  const ValueId y = node.outputs[0];
  const Shape shape = evaluate(dims(y));
  const size_t axis = axis_of(node, shape.size());
  const int64_t outer = product(shape, 0, axis), inner = product(shape, axis + 1, shape.size());
  const ArrayPlace* own = array_place(y, Layout::kPlain);
  const ArrayPlace base = own != nullptr ? *own : ArrayPlace{y};
  const int32_t root = array_root(base.whole);
  int64_t at = 0;
  for (ValueId v : node.inputs) {
    const int64_t length = evaluate(dims(v))[axis];
    const bool planes = base.plane_stride > 0, apart = planes || outer != 1;
    ArrayPlace part = base;
    part.offset += at * (planes ? base.plane_stride : inner);
    if (outer != 1) part.plane_stride = shape[axis] * inner;
    at += length;
    const int32_t from = tensor(v, Layout::kPlain);
    const TensorDef def = model_.tensors[from];
    if (def.parent == root && def.channel_offset == part.offset) continue;  // written in place
    const std::string name = graph_.value(v).name + "_in_" + node.name;
    const Dims rows{Dim(1), Dim(planes ? length : outer), Dim(1), Dim(planes ? inner : length * inner)};
    const Dims to_shape = apart ? rows : dims(v);
    int32_t source = from;
    if (apart && def.storage == engine::Storage::kConstant) {
      source = constant(name, def.constant.reshaped(evaluate(rows)));
    } else if (apart) {
      source = make_temporary(name, DType::kFloat32, Layout::kPlain, rows);
      model_.tensors[source].parent = def.parent >= 0 ? def.parent : from;
      model_.tensors[source].channel_offset = def.channel_offset;
    }
    const int32_t to = make_part(name, Layout::kPlain, to_shape, part);
    set_precision(add_step("copy", id, {source}, {to}), "float32", float_reason(node));
  }
  if (own != nullptr) make_planes(y);
  return true;
}

bool LoweringState::lower_array_split(NodeId id) {
  const Node& node = graph_.node(id);
  const ValueId x = node.inputs[0];
  if (!quantized_model_ || !static_floats(graph_, x)) return false;
  const Shape shape = evaluate(dims(x));
  const size_t axis = axis_of(node, shape.size());
  if (product(shape, 0, axis) != 1) return false;
  for (ValueId v : node.outputs)
    if (!static_floats(graph_, v) || graph_.is_output(v)) return false;
  const int32_t whole = tensor(x, Layout::kPlain);
  const TensorDef def = model_.tensors[whole];
  if (def.storage == engine::Storage::kConstant) return false;
  int64_t offset = def.channel_offset;
  for (ValueId v : node.outputs) {
    const int32_t part = make_temporary(graph_.value(v).name, DType::kFloat32, Layout::kPlain, dims(v));
    model_.tensors[part].parent = def.parent >= 0 ? def.parent : whole;
    model_.tensors[part].channel_offset = offset;
    bind(v, part);
    offset += checked_product(evaluate(dims(v)));
  }
  return true;
}

}  // namespace octet
