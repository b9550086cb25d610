#include "mutate.h"

#include <cmath>
#include <limits>

#include "kernels/generic/generic.h"

namespace octet::testing {
namespace {

using engine::Model;
using engine::StepDef;
using engine::Storage;
using engine::TensorDef;
using kernels::testing::Random;

constexpr const char* kKinds[] = {"conv",
                                  "gemm",
                                  "add",
                                  "mul",
                                  "max_pool",
                                  "average_pool",
                                  "global_average_pool",
                                  "resize_nearest",
                                  "pad",
                                  "repeat_channels",
                                  "instance_norm",
                                  "unfold_rows",
                                  "depth_to_space",
                                  "resize_linear",
                                  "lut",
                                  "copy",
                                  "layout",
                                  "quantize",
                                  "dequantize",
                                  "conv_f32",
                                  "gemm_f32",
                                  "matmul_f32",
                                  "max_pool_f32",
                                  "average_pool_f32",
                                  "global_average_pool_f32",
                                  "function_f32",
                                  "binary_f32",
                                  "generic",
                                  "unknown"};

template <typename T>
T& pick(std::vector<T>& v, Random& random) {
  return v[random.bits() % v.size()];
}

int64_t odd_integer(int64_t old, Random& random) {
  switch (random.range(0, 13)) {
    case 0:
      return 0;
    case 1:
      return -1;
    case 2:
      return old + 1;
    case 3:
      return old - 1;
    case 4:
      return old * 2;
    case 5:
      return old / 2;
    case 6:
      return -old;
    case 7:
      return int64_t{1} << random.range(0, 62);
    case 8:
      return -(int64_t{1} << random.range(0, 62));
    case 9:
      return random.chance(0.5) ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
    case 10:
      return random.range(-4, 300);
    default:
      return random.range(0, 12);
  }
}

float odd_float(float old, Random& random) {
  switch (random.range(0, 7)) {
    case 0:
      return 0;
    case 1:
      return -old;
    case 2:
      return std::numeric_limits<float>::infinity();
    case 3:
      return std::numeric_limits<float>::quiet_NaN();
    case 4:
      return 1e-40f;
    case 5:
      return 3e38f;
    case 6:
      return old * 2;
    default:
      return random.real(-10, 10);
  }
}

// As odd_integer(), without what overflows when the mutation itself computes.
int64_t odd_dimension(int64_t old, Random& random) {
  old = std::clamp<int64_t>(old, -(int64_t{1} << 40), int64_t{1} << 40);
  return odd_integer(old, random);
}

std::string change_shape(Model& m, Random& random) {
  TensorDef& t = pick(m.tensors, random);
  if (t.shape.empty() || random.chance(0.1)) {
    if (random.chance(0.5) || t.shape.empty())
      t.shape.push_back(Dim(odd_dimension(1, random)));
    else
      t.shape.pop_back();
    return "rank of " + t.name;
  }
  Dim& d = pick(t.shape, random);
  const int64_t old = d.known() ? d.value() : 1;
  if (random.chance(0.1) && !m.symbols.empty()) {
    d = Dim::symbol(m.symbols[0].name) * Dim(random.range(-1, 3));
    return "symbol in " + t.name;
  }
  d = Dim(odd_dimension(old, random));
  return "dimension of " + t.name;
}

// One size wherever it occurs, so that tensors go on fitting each other.
std::string change_all_shapes(Model& m, Random& random) {
  const TensorDef& chosen = pick(m.tensors, random);
  if (chosen.shape.empty()) return "nothing";
  const Dim old = chosen.shape[random.bits() % chosen.shape.size()];
  const Dim value(odd_dimension(old.known() ? old.value() : 1, random));
  const size_t place = random.bits() % 4;
  const bool everywhere = random.chance(0.5);
  for (TensorDef& t : m.tensors) {
    if (t.storage == Storage::kConstant && !random.chance(0.02)) continue;
    for (size_t d = 0; d < t.shape.size(); ++d)
      if (t.shape[d] == old && (everywhere || d == place)) t.shape[d] = value;
  }
  return "all dimensions " + old.text() + " to " + value.text();
}

std::string change_tensor(Model& m, Random& random) {
  TensorDef& t = pick(m.tensors, random);
  switch (random.range(0, 6)) {
    case 6:
      t.plane_stride = odd_integer(t.plane_stride, random);
      break;
    case 0:
      t.dtype = static_cast<DType>(random.range(0, kDTypeCount - 1));
      break;
    case 1:
      t.layout = t.layout == Layout::kPlain ? Layout::kNhwc : Layout::kPlain;
      break;
    case 2:
      t.storage = static_cast<Storage>(random.range(0, 3));
      break;
    case 3:
      t.parent = static_cast<int32_t>(random.range(-2, static_cast<int64_t>(m.tensors.size())));
      break;
    case 4:
      t.channel_offset = odd_integer(t.channel_offset, random);
      break;
    default:
      t.parent = static_cast<int32_t>(random.bits() % m.tensors.size());
      t.dtype = m.tensors[t.parent].dtype;
      t.layout = m.tensors[t.parent].layout;
      if (t.layout == Layout::kNhwc) t.channel_offset = random.range(0, 8);
  }
  if (random.chance(0.5)) t.quant.dtype = t.dtype;
  return "description of " + t.name;
}

std::string change_quant(Model& m, Random& random) {
  TensorDef& t = pick(m.tensors, random);
  QuantParams& q = t.quant;
  switch (random.range(0, 4)) {
    case 0:
      if (!q.scale.empty()) pick(q.scale, random) = odd_float(q.scale[0], random);
      break;
    case 1:
      if (!q.zero_point.empty())
        pick(q.zero_point, random) =
            static_cast<int32_t>(random.chance(0.7) ? random.range(-3, 258) : odd_integer(1, random));
      break;
    case 2:
      q.axis = static_cast<int>(random.range(-3, 5));
      break;
    case 3: {
      const auto n = static_cast<size_t>(random.range(0, 20));
      q.scale.assign(n, 0.5f);
      q.zero_point.assign(n, 3);
      q.axis = n == 1 ? -1 : 1;
      q.dtype = t.dtype;
      break;
    }
    default:
      q = {};
  }
  return "quantization of " + t.name;
}

std::string change_step_tensors(Model& m, Random& random) {
  if (m.steps.empty()) return "nothing";
  StepDef& s = pick(m.steps, random);
  const auto any = [&] {
    return static_cast<int32_t>(random.range(-1, static_cast<int64_t>(m.tensors.size())));
  };
  std::vector<int32_t>& list = random.chance(0.6) ? s.inputs : s.outputs;
  const auto operation = random.range(0, 5);
  if (operation == 0 || list.empty())
    list.push_back(any());
  else if (operation == 1)
    list.pop_back();
  else if (operation == 2)
    std::swap(pick(list, random), pick(list, random));
  else if (operation == 3 && !s.inputs.empty() && !s.outputs.empty())
    std::swap(pick(s.inputs, random), pick(s.outputs, random));
  else
    pick(list, random) = any();
  return "tensors of step " + s.name;
}

void change_attribute(Attribute& a, Random& random) {
  if (auto* i = std::get_if<int64_t>(&a))
    *i = odd_integer(std::clamp<int64_t>(*i, -(1LL << 40), 1LL << 40), random);
  if (auto* f = std::get_if<float>(&a)) *f = odd_float(*f, random);
  if (auto* s = std::get_if<std::string>(&a)) {
    constexpr const char* kWords[] = {"",
                                      "linear",
                                      "nearest",
                                      "cubic",
                                      "align_corners",
                                      "asymmetric",
                                      "half_pixel",
                                      "pytorch_half_pixel",
                                      "tf_crop_and_resize",
                                      "floor",
                                      "ceil",
                                      "SAME_UPPER",
                                      "SAME_LOWER",
                                      "VALID",
                                      "reflect",
                                      "edge",
                                      "wrap",
                                      "constant",
                                      "add",
                                      "max",
                                      "Add",
                                      "Div",
                                      "CRD"};
    *s = kWords[random.bits() % std::size(kWords)];
  }
  if (auto* v = std::get_if<std::vector<int64_t>>(&a)) {
    if (v->empty() || random.chance(0.1))
      v->push_back(odd_integer(1, random));
    else if (random.chance(0.1))
      v->pop_back();
    else
      pick(*v, random) = odd_integer(std::clamp<int64_t>(v->at(0), -(1LL << 40), 1LL << 40), random);
  }
  if (auto* v = std::get_if<std::vector<float>>(&a)) {
    if (v->empty() || random.chance(0.1))
      v->push_back(odd_float(1, random));
    else
      pick(*v, random) = odd_float(v->at(0), random);
  }
}

std::string change_step(Model& m, Random& random) {
  if (m.steps.empty()) return "nothing";
  const size_t at = random.bits() % m.steps.size();
  StepDef& s = m.steps[at];
  switch (random.range(0, 5)) {
    case 0:
      s.kind = kKinds[random.bits() % std::size(kKinds)];
      return "kind of " + s.name + " to " + s.kind;
    case 1: {
      const auto names = kernels::generic_names();
      s.kind = "generic";
      s.attributes.set("op", std::string(names[random.bits() % names.size()]));
      return "operator of " + s.name;
    }
    case 2: {
      constexpr const char* kNames[] = {
          "axis",  "group", "alpha",      "function",   "keepdims",  "blocksize",         "low",
          "high",  "beta",  "size",       "p",          "ceil_mode", "count_include_pad", "auto_pad",
          "axes",  "perm",  "batch_dims", "block_size", "mode",      "output_shape",      "output_padding",
          "start", "end"};
      Attribute a = int64_t{1};
      if (random.chance(0.2)) a = 1.0f;
      if (random.chance(0.3)) a = std::vector<int64_t>{1, 1};
      if (random.chance(0.2)) a = std::string("x");
      change_attribute(a, random);
      const char* name = kNames[random.bits() % std::size(kNames)];
      s.attributes.set(name, a);
      return "attribute " + std::string(name) + " of " + s.name;
    }
    case 3: {
      const StepDef copy = s;
      m.steps.insert(m.steps.begin() + static_cast<int64_t>(random.bits() % m.steps.size()), copy);
      return "repeated step";
    }
    case 4:
      if (random.chance(0.3)) {
        s.version = static_cast<int32_t>(random.range(-1, 3));
        return "version";
      }
      std::swap(s, m.steps[random.bits() % m.steps.size()]);
      return "order of steps";
    default:
      m.steps.erase(m.steps.begin() + static_cast<int64_t>(at));
      return "removed step";
  }
}

std::string change_step_attribute(Model& m, Random& random) {
  for (int tries = 0; tries < 20 && !m.steps.empty(); ++tries) {
    StepDef& s = pick(m.steps, random);
    if (s.attributes.empty()) continue;
    std::vector<std::pair<std::string, Attribute>> all(s.attributes.begin(), s.attributes.end());
    auto& [name, value] = pick(all, random);
    if (random.chance(0.05)) {
      s.attributes.erase(name);
    } else {
      change_attribute(value, random);
      s.attributes.set(name, value);
    }
    return "attribute " + name + " of " + s.name;
  }
  return "nothing";
}

// Elements, size or type of a constant.
std::string change_constant(Model& m, Random& random) {
  for (int tries = 0; tries < 50; ++tries) {
    TensorDef& t = pick(m.tensors, random);
    if (t.storage != Storage::kConstant || !t.constant.defined()) continue;
    if (t.constant.count() > 0 && random.chance(0.6)) {
      Tensor copy = t.constant.clone();
      const auto i = random.bits() % static_cast<uint64_t>(copy.count());
      if (copy.dtype() == DType::kInt64)
        copy.as<int64_t>()[i] =
            odd_integer(std::clamp<int64_t>(copy.as<int64_t>()[i], -(1LL << 40), 1LL << 40), random);
      else if (copy.dtype() == DType::kFloat32)
        copy.as<float>()[i] = odd_float(copy.as<float>()[i], random);
      else
        static_cast<uint8_t*>(
            copy.raw())[i * static_cast<uint64_t>(copy.bytes()) / static_cast<uint64_t>(copy.count())] =
            static_cast<uint8_t>(random.bits());
      t.constant = copy;
      return "element of a constant";
    }
    Shape shape = t.constant.shape();
    if (shape.empty() || random.chance(0.2))
      shape.push_back(random.range(0, 4));
    else
      shape[random.bits() % shape.size()] = random.range(0, 70);
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    if (count > 1 << 16) continue;
    const DType dtype = random.chance(0.8) ? t.dtype : static_cast<DType>(random.range(0, kDTypeCount - 1));
    t.constant = Tensor(dtype, shape);
    t.dtype = dtype;
    t.shape = Dims(shape.begin(), shape.end());
    return "size of a constant";
  }
  return "nothing";
}

std::string change_ends(Model& m, Random& random) {
  if (random.chance(0.3) && !m.symbols.empty()) {
    engine::Symbol& s = pick(m.symbols, random);
    for (int64_t* v : {&s.minimum, &s.optimum, &s.maximum})
      if (random.chance(0.5)) *v = odd_integer(std::clamp<int64_t>(*v, -(1LL << 40), 1LL << 40), random);
    return "range of a symbol";
  }
  std::vector<int32_t>& list = random.chance(0.5) ? m.inputs : m.outputs;
  if (list.empty() || random.chance(0.3))
    list.push_back(static_cast<int32_t>(random.bits() % m.tensors.size()));
  else
    pick(list, random) = static_cast<int32_t>(random.range(-1, static_cast<int64_t>(m.tensors.size())));
  return "inputs or outputs";
}

}  // namespace

std::string mutate(Model& model, Random& random) {
  switch (random.range(0, 13)) {
    case 0:
    case 1:
      return change_shape(model, random);
    case 2:
    case 3:
      return change_all_shapes(model, random);
    case 4:
      return change_tensor(model, random);
    case 5:
      return change_quant(model, random);
    case 6:
    case 7:
      return change_step_tensors(model, random);
    case 8:
      return change_step(model, random);
    case 9:
    case 10:
      return change_step_attribute(model, random);
    case 11:
    case 12:
      return change_constant(model, random);
    default:
      return change_ends(model, random);
  }
}

}  // namespace octet::testing
