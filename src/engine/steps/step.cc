#include "engine/steps/step.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"

namespace octet::engine {

#define OCTET_STEP(kind, prepare) std::unique_ptr<Step> prepare(const StepSetup&);
#include "engine/steps/steps.inc"
#undef OCTET_STEP

PrepareStep find_step_kind(std::string_view kind) {
#define OCTET_STEP(name, prepare) \
  if (kind == name) return prepare;
#include "engine/steps/steps.inc"
#undef OCTET_STEP
  return nullptr;
}

bool reads_constant(std::string_view kind, size_t index) {
  const bool weighted = kind == "conv_f32" || kind == "gemm_f32";
  return !weighted || (index != 1 && index != 2);
}

int64_t natural_pixel_stride(DType dtype, int64_t channels) {
  return dtype_bits(dtype) == 8 ? round_up(channels, 4) : channels;
}

int64_t pixel_stride(const Model& model, int32_t tensor, std::span<const Shape> shapes) {
  const TensorDef& def = model.tensors[tensor];
  if (def.layout != Layout::kNhwc) return 0;
  const bool in_parent = def.parent >= 0 && model.tensors[def.parent].layout == Layout::kNhwc;
  return natural_pixel_stride(def.dtype, shapes[in_parent ? def.parent : tensor][1]);
}

int64_t Operand::count() const {
  return checked_product(shape);
}

StepSetup::StepSetup(const Model& model, const StepDef& def, std::span<const Shape> shapes, Isa isa,
                     int threads)
    : def_(def), isa_(isa), threads_(threads), deterministic_(model.deterministic) {
  const auto operand = [&](int32_t index) {
    Operand o;
    if (index < 0) return o;
    o.index = index;
    o.def = &model.tensors[index];
    o.shape = shapes[index];
    o.pixel_stride = engine::pixel_stride(model, index, shapes);
    return o;
  };
  for (int32_t i : def.inputs) inputs_.push_back(operand(i));
  for (int32_t i : def.outputs) outputs_.push_back(operand(i));
  for (const Operand& o : inputs_) expect(!o || o.def->plane_stride == 0, "an input's planes lie apart");
  const bool writes_planes = def.kind == "conv" || def.kind == "copy" || def.kind == "layout";
  for (const Operand& o : outputs_)
    expect(writes_planes || !o || o.def->plane_stride == 0, "an output's planes lie apart");
}

void StepSetup::fail_here(std::string_view what) const {
  fail(ErrorCode::kBadFile, "step '{}' ({}): {}", def_.name, def_.kind, what);
}

void StepSetup::expect(bool condition, std::string_view what) const {
  if (!condition) fail_here(what);
}

void StepSetup::expect_arity(size_t min_inputs, size_t max_inputs, size_t outputs) const {
  if (inputs_.size() < min_inputs || inputs_.size() > max_inputs)
    fail_here(fmt::format("has {} inputs, expected {} to {}", inputs_.size(), min_inputs, max_inputs));
  if (outputs_.size() != outputs)
    fail_here(fmt::format("has {} outputs, expected {}", outputs_.size(), outputs));
}

const Operand& StepSetup::input(size_t i) const {
  if (!has_input(i)) fail_here(fmt::format("input {} is missing", i));
  return inputs_[i];
}

const Operand& StepSetup::output(size_t i) const {
  if (i >= outputs_.size() || !outputs_[i]) fail_here(fmt::format("output {} is missing", i));
  return outputs_[i];
}

void StepSetup::expect_dtype(const Operand& operand, DType dtype) const {
  if (operand.def->dtype != dtype)
    fail_here(fmt::format("tensor '{}' is {}, expected {}", operand.def->name, dtype_name(operand.def->dtype),
                          dtype_name(dtype)));
}

void StepSetup::expect_nhwc(const Operand& operand, DType dtype) const {
  expect_dtype(operand, dtype);
  if (!operand.nhwc() || operand.shape.size() != 4)
    fail_here(fmt::format("tensor '{}' is not channels-last", operand.def->name));
}

void StepSetup::expect_same_shape(const Operand& a, const Operand& b) const {
  if (a.shape != b.shape)
    fail_here(fmt::format("tensors '{}' ({}) and '{}' ({}) differ in shape", a.def->name, to_string(a.shape),
                          b.def->name, to_string(b.shape)));
}

namespace {

const Tensor& constant_of(const StepSetup& setup, size_t i, DType dtype, int64_t count) {
  const Operand& o = setup.input(i);
  if (!o.constant()) setup.fail_here(fmt::format("input {} is not a constant", i));
  setup.expect_dtype(o, dtype);
  if (o.def->constant.count() != count)
    setup.fail_here(fmt::format("constant '{}' has {} elements, expected {}", o.def->name,
                                o.def->constant.count(), count));
  return o.def->constant;
}

}  // namespace

std::span<const float> StepSetup::floats(size_t i, int64_t count) const {
  const Operand& o = input(i);
  if (o.constant() && o.def->constant.dtype() != o.def->dtype) {
    constant_of(*this, i, DType::kFloat32, count);
    return converted_.emplace_back(to_float(o.def->constant));
  }
  return constant_of(*this, i, DType::kFloat32, count).as<float>();
}

std::span<const int32_t> StepSetup::ints(size_t i, int64_t count) const {
  return constant_of(*this, i, DType::kInt32, count).as<int32_t>();
}

std::span<const std::byte> StepSetup::bytes(size_t i, int64_t count) const {
  const auto data = constant_of(*this, i, DType::kUInt8, count).as<uint8_t>();
  return std::as_bytes(data);
}

std::vector<float> StepSetup::channel_floats(size_t i, int64_t channels, float padding) const {
  const int64_t found = input(i).constant() ? input(i).def->constant.count() : -1;
  expect(found == 1 || found == channels, "a per-channel constant has the wrong number of elements");
  const auto values = floats(i, found);
  std::vector<float> all(round_up(std::max<int64_t>(channels, 1), 64), padding);
  for (int64_t c = 0; c < channels; ++c) all[c] = values[found == 1 ? 0 : c];
  return all;
}

std::vector<int64_t> StepSetup::int_list(std::string_view name, size_t count, int64_t low,
                                         int64_t high) const {
  std::vector<int64_t> values = attributes().get_ints(name);
  if (values.size() != count)
    fail_here(fmt::format("'{}' has {} entries, expected {}", name, values.size(), count));
  for (int64_t v : values)
    if (v < low || v > high) fail_here(fmt::format("'{}' holds {}, expected {}..{}", name, v, low, high));
  return values;
}

int64_t StepSetup::int_value(std::string_view name, int64_t fallback, int64_t low, int64_t high) const {
  const int64_t v = attributes().get_int(name, fallback);
  if (v < low || v > high) fail_here(fmt::format("'{}' is {}, expected {}..{}", name, v, low, high));
  return v;
}

float StepSetup::float_value(std::string_view name, float fallback) const {
  const float v = attributes().get_float(name, fallback);
  if (!std::isfinite(v)) fail_here(fmt::format("'{}' is not finite", name));
  return v;
}

std::vector<uint8_t> StepSetup::zero_points(const Operand& operand, int64_t channels) const {
  const QuantParams& q = operand.def->quant;
  if (q.zero_point.size() != 1 && static_cast<int64_t>(q.zero_point.size()) != channels)
    fail_here(fmt::format("tensor '{}' has {} zero-points for {} channels", operand.def->name,
                          q.zero_point.size(), channels));
  std::vector<uint8_t> all(channels);
  for (int64_t c = 0; c < channels; ++c)
    all[c] = static_cast<uint8_t>(q.zero_point[q.zero_point.size() == 1 ? 0 : c]);
  return all;
}

}  // namespace octet::engine
