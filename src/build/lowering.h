// The state of one lowering: which engine tensors hold each value of the graph so far. One file of this
// folder per family of operators adds steps through it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "build/build.h"
#include "ops/op_def.h"
#include "passes/groups.h"

namespace octet {

// A value that exists in 8 bits: `stored` is the input of the DequantizeLinear that makes the float value.
// `params` are for u8: a signed tensor's zero-points are moved by 128.
struct QuantizedValue {
  ValueId stored = kNoId;
  QuantParams params;
};

// Constant weights in 8 bits: int8, [output channel][...], one scale per output channel. `x_scale` is what
// the input adds to it: its scale, for a depthwise convolution that of the output channel's input, or 1 where
// the integers stand for weights times the scales of the input's channels.
struct IntegerWeights {
  Tensor values;
  std::vector<float> scale;
  std::vector<double> x_scale;
  bool input_twice = false;  // they are of two summands, side by side: each reads the whole input
};

class LoweringState {
 public:
  LoweringState(const Graph& graph, const BuildOptions& options);
  engine::Model run();

  // --- reading the graph
  const Graph& graph() const { return graph_; }
  bool wants_float(const Node& node) const;  // BuildOptions::float_layers
  // The 8-bit form of a float value made by a DequantizeLinear of a variable, per tensor or per channel (axis
  // 1).
  std::optional<QuantizedValue> quantized(ValueId value) const;
  // The same where scale and zero-point (kNoId: 0) are uint8 and float32 values that the run gives.
  struct Dynamic {
    ValueId stored = kNoId, scale = kNoId, zero = kNoId;
  };
  std::optional<Dynamic> dynamic(ValueId value) const;
  // The QuantizeLinear that is the only reader of a float value, with the 8-bit value it makes.
  struct Requantized {
    NodeId node;
    QuantizedValue value;
  };
  std::optional<Requantized> requantized(ValueId value) const;
  // The constant per channel that an Add, which a QuantizeLinear alone reads, puts onto a float value: the
  // quantize step does it.
  struct Offset {
    ValueId value = kNoId;
    Tensor numbers;  // one, or one per channel
  };
  std::optional<Offset> quantize_offset(const Node& quantize) const;
  // The u8 parameters of a QuantizeLinear or DequantizeLinear whose 8-bit side is `stored`;
  // nullopt when they are of another kind.
  std::optional<QuantParams> tensor_params(const Node& node, ValueId stored) const;
  // Those that the 8-bit value was made with: the writer's, or for an input the first reader's.
  std::optional<QuantParams> stored_params(ValueId stored) const;
  // A float constant, also one under a DequantizeLinear, and weights that a Div behind it divides.
  std::optional<Tensor> constant_floats(ValueId value) const;
  bool is_quantized_model() const { return quantized_model_; }
  const Dims& dims(ValueId value) const;  // throws Error when it is not known
  int rank(ValueId value) const { return static_cast<int>(dims(value).size()); }

  // --- tensors
  // The engine tensor that holds `value` in `layout`; adds a step that converts when only another form
  // exists.
  int32_t tensor(ValueId value, Layout layout);
  // Whether it was made as a plain tensor, and has no other form yet.
  bool is_plain(ValueId value) const {
    return tensors_.count({value, Layout::kPlain}) > 0 && tensors_.count({value, Layout::kNhwc}) == 0;
  }
  // Whether a step has made its channels-last form.
  bool is_channels_last(ValueId value) const { return tensors_.count({value, Layout::kNhwc}) > 0; }
  // In whichever layout it exists (plain if in none).
  int32_t tensor_any(ValueId value);
  // Plain and of the type that the graph says: the engine keeps signed 8-bit values as unsigned ones.
  int32_t declared_tensor(ValueId value);
  Layout layout_of(int32_t tensor) const { return model_.tensors[tensor].layout; }
  // A new tensor for a value that a step is about to write.
  int32_t make(ValueId value, DType dtype, Layout layout, const QuantParams& quant = {});
  int32_t make_stored(const QuantizedValue& value, Layout layout) {
    return make(value.stored, DType::kUInt8, layout, value.params);
  }
  // A nameless intermediate of the same shape as `like`.
  int32_t make_temporary(const std::string& name, DType dtype, Layout layout, const Dims& shape,
                         const QuantParams& quant = {});
  // `value` is another shape over the elements of the plain tensor `of`.
  int32_t make_view(ValueId value, int32_t of);
  // The tensor of a whole concatenation (made if no part of it was written yet), and a part of it that is
  // copied in.
  int32_t concat_parent(ValueId whole, DType dtype, const QuantParams& quant);
  int32_t make_channel_view(const std::string& name, int32_t root, int64_t channel, const Dims& shape,
                            DType dtype, const QuantParams& quant);
  // Plain floats that a step writes which can leave gaps between planes: in their place of a concatenation.
  int32_t make_planes(ValueId value);
  // Whether a convolution of single pixels should write its float result as planes.
  bool wants_planes(ValueId value) const;
  void bind(ValueId value, int32_t tensor);
  // The value's channels (of a plain tensor: entries of the last axis), and once more behind them.
  int32_t twice(const QuantizedValue& value, Layout layout);
  // Channels-last, with `taps` pixels of each row side by side (unfold_rows): `columns` of them.
  int32_t unfolded(const QuantizedValue& value, int64_t taps, int64_t stride, int64_t left,
                   const Dim& columns);
  // Channels-last, each channel `times` times.
  int32_t repeated(const QuantizedValue& value, int64_t times);
  int32_t constant(const std::string& name, Tensor data);
  int32_t constant(const std::string& name, const std::vector<float>& values);

  // --- steps
  engine::StepDef& add_step(std::string kind, NodeId named_after, std::vector<int32_t> inputs,
                            std::vector<int32_t> outputs);
  void set_precision(engine::StepDef& step, std::string precision, std::string reason = "");
  void mark_done(NodeId node) { done_.insert(node); }
  bool is_done(NodeId node) const { return done_.count(node) > 0; }
  // The float steps' reason, from what is known of the node.
  std::string float_reason(const Node& node) const;
  // Adds steps that turn 8-bit values of one scale (or of one scale per channel) into those of another.
  int32_t requantize(int32_t from, const QuantParams& to, const std::string& name);
  void requantize_into(int32_t from, int32_t to, NodeId node);

  // A transposition of 8-bit values that its readers do themselves: `stored` is what it would make.
  struct Transposed {
    ValueId source = kNoId;  // 8-bit value
    std::vector<int64_t> perm;
  };
  void leave_transposed(ValueId stored, Transposed transposed) {
    transposed_[stored] = std::move(transposed);
  }
  const Transposed* transposed(ValueId stored) const {
    const auto found = transposed_.find(stored);
    return found == transposed_.end() ? nullptr : &found->second;
  }

  // Attention whose scores begin with the product `scores` is lowered with the product `last`.
  void begin_attention(NodeId last, NodeId scores) { attention_[last] = scores; }
  std::optional<NodeId> attention_of(NodeId last) const {
    const auto found = attention_.find(last);
    return found == attention_.end() ? std::nullopt : std::optional(found->second);
  }

  // A sum of two plain float tensors that is left to the normalization that reads it; false when there is
  // none. What else reads it makes tensor() add the step after all.
  struct Sum {
    NodeId add = kNoId;
    int32_t a = -1, b = -1;
  };
  bool defer_sum(ValueId sum, NodeId add, int32_t a, int32_t b);
  std::optional<Sum> take_sum(ValueId value);

  // Concat and Split of floats as views of plain memory (arrays.cc); false where they are not.
  bool lower_array_concat(NodeId id);
  bool lower_array_split(NodeId id);
  // A Transpose as a change of layout or a view of what has the other one (transposes.cc); false where it is
  // neither.
  bool lower_transpose_by_layout(NodeId id);

  engine::Model& model() { return model_; }

 private:
  // Where in a plain concatenation of floats a value is written.
  struct ArrayPlace {
    ValueId whole = kNoId;
    Layout layout = Layout::kPlain;  // that its maker writes
    int64_t offset = 0;              // elements
    int64_t plane_stride = 0;        // as TensorDef's
  };
  void plan_arrays();
  void plan_array_concat(NodeId id);
  bool read_as_planes(ValueId value) const;
  bool can_be_part(ValueId value) const;
  bool give_planes(ValueId value, const ArrayPlace& place, int64_t rows, int64_t length);
  const ArrayPlace* array_place(ValueId value, Layout layout) const;
  int32_t array_root(ValueId whole);
  int32_t make_part(const std::string& name, Layout layout, const Dims& shape, const ArrayPlace& place);
  // The same memory, of which a tensor without gaps is, in either layout.
  int32_t make_other_layout(const std::string& name, int32_t of, Layout layout, const Dims& shape);
  void requantize_channels(int32_t from, int32_t to, NodeId node);
  void add_inputs();
  void add_outputs();
  void add_run_symbols();
  void plan_concats();
  void lower(NodeId id);
  void lower_single(NodeId id);
  void check_int8_only() const;
  void make_sum(ValueId value);
  // The 8-bit value whose Split makes the first of `parts`, when all that it makes stand there in order.
  std::optional<ValueId> whole_of_parts(std::span<const ValueId> parts) const;
  int32_t push(engine::TensorDef def);
  std::string input_reason(ValueId value) const;

  const Graph& graph_;
  const BuildOptions& options_;
  NodeGroups groups_;
  engine::Model model_;
  bool quantized_model_ = false;
  std::map<std::pair<ValueId, Layout>, int32_t> tensors_;
  std::map<std::pair<ValueId, Layout>, int32_t> twice_;
  std::map<std::pair<ValueId, int64_t>, int32_t> repeated_;
  std::map<ValueId, int32_t> declared_;  // s8 forms of values whose tensors_ are u8
  struct Place {
    ValueId whole;
    int64_t channel;
  };
  std::map<ValueId, Place> concat_place_;  // values that are written straight into a concatenation
  std::map<ValueId, ArrayPlace> array_place_;
  std::set<NodeId> array_concats_;  // whose parts are written in their places
  std::set<NodeId> done_;
  std::map<ValueId, Transposed> transposed_;
  std::map<NodeId, NodeId> attention_;
  std::map<ValueId, Sum> sums_;
};

// Limits of an 8-bit output.
struct Saturation {
  int64_t low = 0, high = 255;
  friend bool operator==(const Saturation&, const Saturation&) = default;
};
// ReLU or clip as saturation of an 8-bit output; nullopt for other functions, and where channels differ.
std::optional<Saturation> saturation_of(const ActivationSpec& spec, const QuantParams& q);

// Of one channel, also where all share one.
inline double scale_at(const QuantParams& q, size_t channel) {
  return q.scale[q.per_channel() ? channel : 0];
}
inline double zero_at(const QuantParams& q, size_t channel) {
  return q.zero_point[q.per_channel() ? channel : 0];
}

// Elements of a constant that is one number, or one per channel of a rank-4 value `full`, as a list.
std::optional<Tensor> channel_constant(const LoweringState& l, ValueId value, const Dims& full);

// Each lowers one node or group; lower_node's are chosen by OpDef::lowering.
void lower_weighted(LoweringState& l, const NodeGroup& group);
void lower_arithmetic(LoweringState& l, const NodeGroup& group);
void lower_activation(LoweringState& l, NodeId id);
void lower_pool(LoweringState& l, NodeId id);
void lower_resize(LoweringState& l, NodeId id);
void lower_pad(LoweringState& l, NodeId id);
void lower_depth_to_space(LoweringState& l, NodeId id);
void lower_concat(LoweringState& l, NodeId id);
void lower_reshape(LoweringState& l, NodeId id);
void lower_matmul(LoweringState& l, NodeId id);
void lower_float_matmul(LoweringState& l, NodeId id);
void lower_norm(LoweringState& l, NodeId id);
void lower_instance_norm(LoweringState& l, NodeId id);
void lower_split(LoweringState& l, NodeId id);
void lower_gather(LoweringState& l, NodeId id);
// A Split along the channels of a rank-4 value.
bool splits_channels(const LoweringState& l, const Node& node);
void lower_transpose(LoweringState& l, NodeId id);
void lower_quantize(LoweringState& l, NodeId id);
void lower_dynamic_quantize(LoweringState& l, NodeId id);
void lower_generic(LoweringState& l, NodeId id);
// Add, Sub, Mul, Div in float where a fast step serves; false where not.
bool lower_binary(LoweringState& l, NodeId id, ValueId value);

// function_f32 behind `from`; gives the tensor it writes, which becomes `value`'s.
void add_function_f32(LoweringState& l, NodeId id, const ActivationSpec& spec, int32_t from, int32_t to);

// Pads (top, left, bottom, right) of a Conv or pool with auto_pad resolved; needs known sizes when auto_pad
// is used.
std::vector<int64_t> resolved_pads(const Graph& graph, const Node& node, const std::vector<int64_t>& kernel);

}  // namespace octet
