#include "build/lowering.h"

namespace octet {

using engine::StepDef;
using engine::Storage;
using engine::TensorDef;

int32_t LoweringState::push(TensorDef def) {
  model_.tensors.push_back(std::move(def));
  return static_cast<int32_t>(model_.tensors.size()) - 1;
}

void LoweringState::bind(ValueId value, int32_t tensor) {
  tensors_[{value, layout_of(tensor)}] = tensor;
}

int32_t LoweringState::make(ValueId value, DType dtype, Layout layout, const QuantParams& quant) {
  TensorDef def;
  // An 8-bit value goes by the name of the real value that it stands for, so that layers of different models
  // can be compared.
  const Node* producer = graph_.producer(value);
  def.name = graph_.value(producer && producer->is("QuantizeLinear") ? producer->inputs[0] : value).name;
  def.dtype = dtype;
  def.layout = layout;
  def.shape = dims(value);
  def.quant = quant;
  const auto place = concat_place_.find(value);
  if (layout == Layout::kNhwc && place != concat_place_.end()) {
    const ValueId whole = place->second.whole;
    if (!tensors_.count({whole, Layout::kNhwc}))
      make(whole, dtype, Layout::kNhwc, quant.per_channel() ? stored_params(whole).value_or(quant) : quant);
    const int32_t parent = tensors_.at({whole, Layout::kNhwc});
    const TensorDef& p = model_.tensors[parent];
    if (p.dtype == dtype && p.layout == layout) {
      def.parent = p.parent >= 0 ? p.parent : parent;
      def.channel_offset = p.channel_offset + place->second.channel;
    }
  }
  if (const ArrayPlace* array = array_place(value, layout);
      array && array->plane_stride == 0 && dtype == DType::kFloat32 && def.parent < 0) {
    const int32_t part = make_part(def.name, layout, def.shape, *array);
    bind(value, part);
    return part;
  }
  const int32_t t = push(std::move(def));
  bind(value, t);
  return t;
}

int32_t LoweringState::make_temporary(const std::string& name, DType dtype, Layout layout, const Dims& shape,
                                      const QuantParams& quant) {
  TensorDef def;
  def.name = name;
  def.dtype = dtype;
  def.layout = layout;
  def.shape = shape;
  def.quant = quant;
  return push(std::move(def));
}

int32_t LoweringState::make_view(ValueId value, int32_t of) {
  TensorDef def;
  def.name = graph_.value(value).name;
  def.dtype = model_.tensors[of].dtype;
  def.shape = dims(value);
  def.quant = model_.tensors[of].quant;
  def.parent = model_.tensors[of].parent >= 0 ? model_.tensors[of].parent : of;
  def.channel_offset = model_.tensors[of].channel_offset;
  const int32_t t = push(std::move(def));
  bind(value, t);
  return t;
}

int32_t LoweringState::concat_parent(ValueId whole, DType dtype, const QuantParams& quant) {
  const auto found = tensors_.find({whole, Layout::kNhwc});
  return found != tensors_.end() ? found->second : make(whole, dtype, Layout::kNhwc, quant);
}

int32_t LoweringState::make_channel_view(const std::string& name, int32_t root, int64_t channel,
                                         const Dims& shape, DType dtype, const QuantParams& quant) {
  const int32_t t = make_temporary(name, dtype, Layout::kNhwc, shape, quant);
  model_.tensors[t].parent = root;
  model_.tensors[t].channel_offset = channel;
  return t;
}

int32_t LoweringState::twice(const QuantizedValue& value, Layout layout) {
  if (const auto found = twice_.find({value.stored, layout}); found != twice_.end()) return found->second;
  const int32_t from = tensor(value.stored, layout);
  const std::string name = graph_.value(value.stored).name + "_twice";
  const NodeId reader = graph_.consumers(value.stored).at(0);
  Dims shape = dims(value.stored);
  Dim& channels = layout == Layout::kNhwc ? shape.at(1) : shape.back();
  const Dim once = channels;
  channels = channels * Dim(2);
  const int32_t to = make_temporary(name, DType::kUInt8, layout, shape, value.params);
  if (layout == Layout::kNhwc) {
    for (const int64_t at : {int64_t{0}, once.value()}) {
      const int32_t view = make_channel_view(name, to, at, dims(value.stored), DType::kUInt8, value.params);
      set_precision(add_step("copy", reader, {from}, {view}), "int8");
    }
  } else {
    StepDef& step = add_step("generic", reader, {from, from}, {to});
    step.attributes.set("op", std::string("Concat"));
    step.attributes.set("axis", int64_t{-1});
    set_precision(step, "int8");
  }
  return twice_[{value.stored, layout}] = to;
}

int32_t LoweringState::unfolded(const QuantizedValue& value, int64_t taps, int64_t stride, int64_t left,
                                const Dim& columns) {
  const int32_t from = tensor(value.stored, Layout::kNhwc);
  Dims shape = dims(value.stored);
  shape.at(1) = shape[1] * Dim(taps);
  shape.at(3) = columns;
  const NodeId reader = graph_.consumers(value.stored).at(0);
  const int32_t to = make_temporary(graph_.value(value.stored).name + "_windows", DType::kUInt8,
                                    Layout::kNhwc, shape, value.params);
  StepDef& step = add_step("unfold_rows", reader, {from}, {to});
  step.attributes.set("stride", stride);
  step.attributes.set("left", left);
  set_precision(step, "int8");
  return to;
}

int32_t LoweringState::repeated(const QuantizedValue& value, int64_t times) {
  const auto [found, fresh] = repeated_.try_emplace({value.stored, times}, -1);
  if (!fresh) return found->second;
  const int32_t from = tensor(value.stored, Layout::kNhwc);
  Dims shape = dims(value.stored);
  shape.at(1) = shape[1] * Dim(times);
  QuantParams params = value.params;
  if (params.per_channel()) {
    params.scale.clear();
    params.zero_point.clear();
    for (size_t c = 0; c < value.params.scale.size(); ++c) {
      params.scale.insert(params.scale.end(), times, value.params.scale[c]);
      params.zero_point.insert(params.zero_point.end(), times, value.params.zero_point[c]);
    }
  }
  const NodeId reader = graph_.consumers(value.stored).at(0);
  const int32_t to = make_temporary(graph_.value(value.stored).name + "_repeated", DType::kUInt8,
                                    Layout::kNhwc, shape, params);
  set_precision(add_step("repeat_channels", reader, {from}, {to}), "int8");
  return found->second = to;
}

int32_t LoweringState::constant(const std::string& name, Tensor data) {
  TensorDef def;
  def.name = name;
  def.dtype = data.dtype();
  def.storage = Storage::kConstant;
  for (int64_t d : data.shape()) def.shape.emplace_back(d);
  def.constant = std::move(data);
  return push(std::move(def));
}

int32_t LoweringState::constant(const std::string& name, const std::vector<float>& values) {
  return constant(name,
                  Tensor::of<float>({static_cast<int64_t>(values.size())}, std::span<const float>(values)));
}

int32_t LoweringState::tensor_any(ValueId value) {
  for (Layout layout : {Layout::kNhwc, Layout::kPlain})
    if (const auto found = tensors_.find({value, layout}); found != tensors_.end()) return found->second;
  return tensor(value, quantized(value) && rank(value) == 4 ? Layout::kNhwc : Layout::kPlain);
}

int32_t LoweringState::tensor(ValueId value, Layout layout) {
  if (const auto found = tensors_.find({value, layout}); found != tensors_.end()) return found->second;
  if (sums_.count(value)) {
    make_sum(value);
    return tensor(value, layout);
  }
  if (graph_.is_constant(value)) {
    const int32_t plain = constant(graph_.value(value).name, *graph_.value(value).constant);
    bind(value, plain);
    if (layout == Layout::kPlain) return plain;
  }
  const Layout other = layout == Layout::kPlain ? Layout::kNhwc : Layout::kPlain;
  const NodeId producer = graph_.value(value).producer;
  const NodeId named = producer != kNoId                 ? producer
                       : graph_.consumers(value).empty() ? kNoId
                                                         : graph_.consumers(value)[0];
  if (!tensors_.count({value, other})) {
    // Only the 8-bit form exists, or a dequantized constant.
    if (const auto q = quantized(value)) {
      const int32_t from = tensor_any(q->stored);
      const int32_t to = make(value, DType::kFloat32, layout);
      set_precision(add_step("dequantize", producer, {from}, {to}), "int8");
      return to;
    }
    if (dynamic(value)) {
      lower_generic(*this, producer);
      return tensor(value, layout);
    }
    const auto constant_value = constant_floats(value);
    if (!constant_value)
      fail(ErrorCode::kInternal, "value '{}' is used before it is made", graph_.value(value).name);
    bind(value, constant(graph_.value(value).name, *constant_value));
    return tensor(value, layout);
  }
  const int32_t from = tensors_.at({value, other});
  // One channel is the same array in both.
  if (const TensorDef& def = model_.tensors[from];
      quantized_model_ && rank(value) == 4 && dims(value)[1] == Dim(1) && dtype_bits(def.dtype) == 32 &&
      def.parent < 0 && def.storage == Storage::kArena && array_place(value, layout) == nullptr) {
    const int32_t view = make_other_layout(graph_.value(value).name, from, layout, dims(value));
    bind(value, view);
    return view;
  }
  // Written apart from a concatenation that the value may be part of.
  int32_t to;
  if (layout == Layout::kPlain && array_place(value, layout) != nullptr) {
    to = make_planes(value);
  } else {
    to = make_temporary(graph_.value(value).name, model_.tensors[from].dtype, layout, dims(value),
                        model_.tensors[from].quant);
    bind(value, to);
  }
  const bool bytes = dtype_bits(model_.tensors[from].dtype) == 8;
  set_precision(add_step("layout", named, {from}, {to}),
                bytes ? "int8" : std::string(dtype_name(model_.tensors[from].dtype)));
  return to;
}

StepDef& LoweringState::add_step(std::string kind, NodeId named_after, std::vector<int32_t> inputs,
                                 std::vector<int32_t> outputs) {
  StepDef step;
  step.kind = std::move(kind);
  step.inputs = std::move(inputs);
  step.outputs = std::move(outputs);
  if (named_after != kNoId) {
    step.name = graph_.node(named_after).name;
    step.nodes.push_back(step.name);
  }
  model_.steps.push_back(std::move(step));
  return model_.steps.back();
}

void LoweringState::set_precision(StepDef& step, std::string precision, std::string reason) {
  step.precision = std::move(precision);
  step.reason = std::move(reason);
}

void LoweringState::requantize_into(int32_t from, int32_t to, NodeId node) {
  const QuantParams &a = model_.tensors[from].quant, &b = model_.tensors[to].quant;
  if (a == b) {
    set_precision(add_step("copy", node, {from}, {to}), "int8");
    return;
  }
  if (a.per_channel() || b.per_channel()) return requantize_channels(from, to, node);
  Tensor table(DType::kUInt8, {256});
  for (int q = 0; q < 256; ++q)
    table.as<uint8_t>()[q] = static_cast<uint8_t>(quantize_one(
        static_cast<float>(q - a.zero_point[0]) * a.scale[0], b.scale[0], b.zero_point[0], {0, 255}));
  set_precision(
      add_step("lut", node, {from, constant(model_.tensors[to].name + "_table", std::move(table))}, {to}),
      "int8");
}

void LoweringState::requantize_channels(int32_t from, int32_t to, NodeId node) {
  if (layout_of(from) == Layout::kNhwc && layout_of(to) == Layout::kNhwc) {
    // The mean of one pixel.
    StepDef& step = add_step("average_pool", node, {from}, {to});
    for (const char* name : {"kernel", "strides", "dilations"})
      step.attributes.set(name, std::vector<int64_t>{1, 1});
    step.attributes.set("pads", std::vector<int64_t>{0, 0, 0, 0});
    return set_precision(step, "int8");
  }
  const int32_t real = make_temporary(model_.tensors[to].name + "_real", DType::kFloat32, layout_of(from),
                                      model_.tensors[from].shape);
  set_precision(add_step("dequantize", node, {from}, {real}), "int8");
  set_precision(add_step("quantize", node, {real}, {to}), "int8");
}

int32_t LoweringState::requantize(int32_t from, const QuantParams& to, const std::string& name) {
  if (model_.tensors[from].quant == to) return from;
  const int32_t made = make_temporary(name, DType::kUInt8, layout_of(from), model_.tensors[from].shape, to);
  requantize_into(from, made, kNoId);
  model_.steps.back().name = name;
  return made;
}

}  // namespace octet
