#include "engine/validate.h"

#include <algorithm>
#include <limits>
#include <set>

#include "base/checked.h"
#include "engine/engine.h"
#include "engine/late.h"
#include "engine/steps/step.h"

namespace octet::engine {
namespace {

constexpr size_t kMaxRank = 16;

template <typename... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(ErrorCode::kBadFile, "engine: {}", fmt::format(format, std::forward<Args>(args)...));
}

bool has_no_gaps(const TensorDef& t) {
  return t.layout == Layout::kPlain ||
         (dtype_bits(t.dtype) == 8 && t.shape[1].known() && t.shape[1].value() % 4 == 0);
}

void validate_tensor(const Model& model, size_t index) {
  const TensorDef& t = model.tensors[index];
  require(t.shape.size() <= kMaxRank, "tensor '{}' has rank {}", t.name, t.shape.size());
  require(t.layout == Layout::kPlain || t.shape.size() == 4, "tensor '{}' is channels-last but has rank {}",
          t.name, t.shape.size());
  require(t.layout == Layout::kPlain || dtype_bits(t.dtype) >= 8,
          "tensor '{}' is channels-last with a 4-bit type", t.name);
  if (!t.quant.scale.empty()) {
    octet::validate(t.quant, "tensor '" + t.name + "'");
    require(t.quant.dtype == t.dtype, "tensor '{}' is {} but quantized as {}", t.name, dtype_name(t.dtype),
            dtype_name(t.quant.dtype));
    require(!t.quant.per_channel() || static_cast<size_t>(t.quant.axis) < t.shape.size(),
            "tensor '{}' has scales along axis {} of {}", t.name, t.quant.axis, t.shape.size());
  } else {
    require(!t.quant.per_channel(), "tensor '{}' has an axis of scales but no scales", t.name);
  }
  if (t.storage == Storage::kConstant) {
    require(t.layout == Layout::kPlain && t.parent < 0, "constant '{}' is not plain", t.name);
    const DType stored = t.constant.dtype();
    const bool shortened =
        t.dtype == DType::kFloat32 && (stored == DType::kFloat16 || stored == DType::kBFloat16);
    require(t.constant.defined() && (stored == t.dtype || shortened), "constant '{}' has no data", t.name);
    require(all_known(t.shape), "constant '{}' has a shape that is not known", t.name);
    require(evaluate(t.shape) == t.constant.shape(), "constant '{}' has the wrong size", t.name);
  }
  if (t.parent < 0) {
    require(t.channel_offset == 0 && t.plane_stride == 0, "tensor '{}' has an offset but no parent", t.name);
    return;
  }
  require(static_cast<size_t>(t.parent) < index, "tensor '{}' is a view of a tensor that stands behind it",
          t.name);
  const TensorDef& parent = model.tensors[t.parent];
  require(parent.parent < 0, "tensor '{}' is a view of a view", t.name);
  require(parent.storage != Storage::kConstant && t.storage != Storage::kInput,
          "tensor '{}' is a view of a constant", t.name);
  // A tensor of 32 bits is an array without gaps in either layout, one of bytes where groups of four channels
  // are whole.
  const bool array = dtype_bits(t.dtype) == 32;
  require(parent.dtype == t.dtype &&
              (array || parent.layout == t.layout || (has_no_gaps(parent) && has_no_gaps(t))),
          "tensor '{}' differs from the tensor it is a view of", t.name);
  const bool channels = t.layout == Layout::kNhwc && parent.layout == Layout::kNhwc;
  require(t.channel_offset >= 0 && (array || channels || t.channel_offset == 0),
          "tensor '{}' has a wrong offset", t.name);
  require(t.plane_stride == 0 || (array && t.layout == Layout::kPlain && t.shape.size() == 4),
          "tensor '{}' has a wrong distance between its planes", t.name);
}

// Views of one tensor that begin at different places of it.
bool are_parts(const TensorDef& a, const TensorDef& b) {
  return a.parent >= 0 && b.parent >= 0 && a.channel_offset != b.channel_offset;
}

// Elements from the first to the last of a view of an array.
int64_t extent(const TensorDef& t, const Shape& shape) {
  const int64_t elements = checked_product(shape);
  if (t.plane_stride == 0 || elements == 0) return elements;
  const int64_t plane = shape[2] * shape[3];
  require(shape[0] == 1 && t.plane_stride >= plane, "tensor '{}' ({}) has planes {} apart", t.name,
          to_string(shape), t.plane_stride);
  return checked_add(checked_mul(shape[1] - 1, t.plane_stride), plane);
}

// Sizes that no tensor has, so that loops over single dimensions end and products of a few do not overflow.
void check_size(const TensorDef& t, const Shape& shape) {
  constexpr int64_t kMaxEmpty = 1 << 24;
  int64_t others = 1;  // product of the dimensions that are not 0
  bool empty = false;
  for (int64_t d : shape) {
    require(d <= std::numeric_limits<int32_t>::max(), "tensor '{}' has a dimension of {}", t.name, d);
    if (d == 0)
      empty = true;
    else
      require(!__builtin_mul_overflow(others, d, &others), "tensor '{}' ({}) has too many elements", t.name,
              to_string(shape));
  }
  require(!empty || others <= kMaxEmpty, "tensor '{}' ({}) is empty", t.name, to_string(shape));
}

// Run-time symbols get their values in the order of the steps, from steps that can make what they write.
void validate_run_symbols(const Model& model) {
  const std::vector<std::vector<std::string>> needs = run_symbols(model);
  std::set<std::string_view> known;
  const auto settled = [&](int32_t t) {
    const auto is_known = [&](const std::string& name) { return known.count(name) > 0; };
    const int32_t parent = model.tensors[t].parent;
    return std::ranges::all_of(needs[t], is_known) &&
           (parent < 0 || std::ranges::all_of(needs[parent], is_known));
  };
  for (size_t t = 0; t < needs.size(); ++t) {
    const Storage storage = model.tensors[t].storage;
    require(needs[t].empty() || storage == Storage::kArena || storage == Storage::kOutput,
            "the shape of '{}' depends on the data", model.tensors[t].name);
  }
  for (const StepDef& step : model.steps) {
    for (int32_t t : step.inputs)
      require(t < 0 || settled(t), "step '{}' reads '{}' before its shape is known", step.name,
              t < 0 ? "" : model.tensors[t].name);
    bool makes = false;
    for (int32_t t : step.outputs) makes = makes || !settled(t);
    if (!makes) continue;
    require(makes_outputs(step), "step '{}' ({}) cannot decide the shape of what it writes", step.name,
            step.kind);
    for (int32_t t : step.outputs) {
      const TensorDef& def = model.tensors[t];
      require(def.parent < 0 && def.layout == Layout::kPlain, "step '{}' makes '{}', which is not plain",
              step.name, def.name);
      for (const Dim& d : def.shape)
        if (!d.known() && d.op() == Dim::Op::kSymbol) known.insert(d.name());
      require(settled(t), "step '{}' makes '{}', whose shape is {}", step.name, def.name,
              to_string(def.shape));
    }
  }
}

}  // namespace

void validate(const Model& model) {
  const int32_t count = static_cast<int32_t>(model.tensors.size());
  for (size_t i = 0; i < model.tensors.size(); ++i) validate_tensor(model, i);
  std::set<std::string_view> names;
  for (const Symbol& s : model.symbols) {
    require(!s.name.empty() && 0 <= s.minimum && s.minimum <= s.optimum && s.optimum <= s.maximum,
            "dimension '{}' has the range {}..{}..{}", s.name, s.minimum, s.optimum, s.maximum);
    require(names.insert(s.name).second, "dimension '{}' is declared twice", s.name);
  }

  for (const Profile& profile : model.profiles) {
    require(profile.size() == model.symbols.size(), "a profile has {} ranges for {} dimensions",
            profile.size(), model.symbols.size());
    for (size_t i = 0; i < profile.size(); ++i) {
      const SizeRange& r = profile[i];
      const Symbol& s = model.symbols[i];
      require(s.minimum <= r.minimum && r.minimum <= r.optimum && r.optimum <= r.maximum &&
                  r.maximum <= s.maximum,
              "a profile has the range {}..{}..{} for dimension '{}'", r.minimum, r.optimum, r.maximum,
              s.name);
    }
  }

  std::vector<bool> written(count, false);
  const auto root = [&](int32_t t) { return model.tensors[t].parent >= 0 ? model.tensors[t].parent : t; };
  for (int32_t t : model.inputs) {
    require(t >= 0 && t < count, "an input refers to tensor {} of {}", t, count);
    const TensorDef& def = model.tensors[t];
    require(def.storage == Storage::kInput && def.layout == Layout::kPlain && def.parent < 0,
            "input '{}' is not a plain input", def.name);
    written[t] = true;
  }
  for (const StepDef& step : model.steps) {
    require(find_step_kind(step.kind) != nullptr,
            "step '{}' is of the unknown kind '{}': rebuild the engine with this release", step.name,
            step.kind);
    require(step.version == 1,
            "step '{}' ({}) has version {}, this release runs version 1: rebuild the engine", step.name,
            step.kind, step.version);
    for (int32_t t : step.inputs) {
      require(t >= -1 && t < count, "step '{}' reads tensor {} of {}", step.name, t, count);
      if (t < 0) continue;
      require(model.tensors[t].storage == Storage::kConstant || written[root(t)],
              "step '{}' reads '{}' before it is written", step.name, model.tensors[t].name);
    }
    for (int32_t t : step.outputs) {
      require(t >= 0 && t < count, "step '{}' writes tensor {} of {}", step.name, t, count);
      const Storage storage = model.tensors[root(t)].storage;
      require(storage == Storage::kArena || storage == Storage::kOutput,
              "step '{}' writes to '{}', which is an input or a constant", step.name, model.tensors[t].name);
      for (int32_t other : step.inputs)
        require(other != t && (other < 0 || model.tensors[t].layout == Layout::kNhwc ||
                               root(other) != root(t) || are_parts(model.tensors[other], model.tensors[t])),
                "step '{}' writes to its own input '{}'", step.name, model.tensors[t].name);
    }
    for (int32_t t : step.outputs) written[root(t)] = true;
  }
  validate_run_symbols(model);
  require(!model.outputs.empty(), "it has no outputs");
  for (int32_t t : model.outputs) {
    require(t >= 0 && t < count, "an output refers to tensor {} of {}", t, count);
    const TensorDef& def = model.tensors[t];
    require(def.layout == Layout::kPlain, "output '{}' is not plain", def.name);
    require(def.storage == Storage::kConstant || written[root(t)], "output '{}' is never written", def.name);
  }
}

namespace {

std::vector<Profile> all_profiles(const Model& model) {
  if (!model.profiles.empty()) return model.profiles;
  Profile only;
  for (const Symbol& s : model.symbols) only.push_back({s.minimum, s.optimum, s.maximum});
  return {only};
}

bool holds(const Model& model, const Profile& profile, const Dims& dims, const SymbolValues& symbols) {
  for (const Dim& dim : dims) {
    if (dim.op() != Dim::Op::kSymbol) continue;
    for (size_t i = 0; i < profile.size(); ++i) {
      if (model.symbols[i].name != dim.name()) continue;
      const int64_t value = symbols.at(dim.name());
      if (value < profile[i].minimum || value > profile[i].maximum) return false;
    }
  }
  return true;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", or ") + part;
  return text;
}

}  // namespace

std::vector<std::string> profile_texts(const Model& model, size_t input) {
  const Dims& dims = model.tensors[model.inputs.at(input)].shape;
  std::vector<std::string> texts;
  for (const Profile& profile : all_profiles(model)) {
    SymbolValues low, high;
    for (size_t i = 0; i < profile.size(); ++i) {
      low[model.symbols[i].name] = profile[i].minimum;
      high[model.symbols[i].name] = profile[i].maximum;
    }
    const Shape first = evaluate(dims, low), last = evaluate(dims, high);
    texts.push_back(first == last ? to_string(first) : to_string(first) + " to " + to_string(last));
  }
  return texts;
}

void check_ranges(const Model& model, const SymbolValues& symbols) {
  const std::vector<Profile> profiles = all_profiles(model);
  const auto all = [&](const Profile& profile) {
    for (const int32_t t : model.inputs)
      if (!holds(model, profile, model.tensors[t].shape, symbols)) return false;
    return true;
  };
  for (const Profile& profile : profiles)
    if (all(profile)) return;
  for (size_t i = 0; i < model.inputs.size(); ++i) {
    const TensorDef& def = model.tensors[model.inputs[i]];
    bool fits = false;
    for (const Profile& profile : profiles) fits = fits || holds(model, profile, def.shape, symbols);
    if (!fits)
      fail(ErrorCode::kInvalidArgument,
           "input '{}' has shape {}, but the engine was built for {}: build it with other --min-shapes and "
           "--max-shapes",
           def.name, to_string(evaluate(def.shape, symbols)), joined(profile_texts(model, i)));
  }
  fail(ErrorCode::kInvalidArgument, "the inputs' shapes fit none of the engine's {} profiles together",
       profiles.size());
}

std::map<std::string, int64_t> symbols_for(const Model& model, std::span<const Shape> shapes) {
  if (shapes.size() != model.inputs.size())
    fail(ErrorCode::kInvalidArgument, "{} shapes given, the model has {} inputs", shapes.size(),
         model.inputs.size());
  std::map<std::string, int64_t> symbols;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const TensorDef& def = model.tensors[model.inputs[i]];
    const Shape& shape = shapes[i];
    const auto refuse = [&] {
      fail(ErrorCode::kInvalidArgument, "input '{}' has shape {}, the model expects {}", def.name,
           to_string(shape), to_string(def.shape));
    };
    if (shape.size() != def.shape.size()) refuse();
    for (size_t d = 0; d < shape.size(); ++d) {
      const Dim& expected = def.shape[d];
      if (expected.known() && expected.value() != shape[d]) refuse();
      if (expected.known() || expected.op() != Dim::Op::kSymbol) continue;
      const auto [it, fresh] = symbols.emplace(expected.name(), shape[d]);
      if (!fresh && it->second != shape[d])
        fail(ErrorCode::kInvalidArgument,
             "input '{}' has shape {}: dimension '{}' would be both {} and {}, and the model needs one size",
             def.name, to_string(shape), expected.name(), it->second, shape[d]);
    }
  }
  const SymbolValues values(symbols.begin(), symbols.end());
  for (size_t i = 0; i < shapes.size(); ++i) {
    const TensorDef& def = model.tensors[model.inputs[i]];
    for (size_t d = 0; d < shapes[i].size(); ++d)
      if (const int64_t size = def.shape[d].evaluate(values); size != shapes[i][d])
        fail(ErrorCode::kInvalidArgument, "input '{}' has shape {}: {} is {} by the sizes of the inputs",
             def.name, to_string(shapes[i]), def.shape[d].text(), size);
  }
  return symbols;
}

void check_equalities(const Model& model, const SymbolValues& symbols) {
  for (const Equality& e : model.equalities) {
    const int64_t a = e.a.evaluate(symbols), b = e.b.evaluate(symbols);
    if (a == b) continue;
    std::string with;
    for (const auto& [name, value] : symbols)
      with += fmt::format("{}{} = {}", with.empty() ? "" : ", ", name, value);
    fail(ErrorCode::kInvalidArgument,
         "node '{}' needs {} and {} to be equal, but with {} they are {} and {}: choose other input shapes",
         e.node, e.a.text(), e.b.text(), with, a, b);
  }
}

Shape concrete_shape(const Model& model, size_t tensor, const SymbolValues& symbols,
                     std::span<const Shape> shapes) {
  const TensorDef& t = model.tensors[tensor];
  Shape shape = evaluate(t.shape, symbols);
  check_size(t, shape);
  require(!t.quant.per_channel() || shape[t.quant.axis] == static_cast<int64_t>(t.quant.scale.size()),
          "tensor '{}' ({}) has {} scales along axis {}", t.name, to_string(shape), t.quant.scale.size(),
          t.quant.axis);
  if (t.parent < 0) return shape;
  const Shape& parent = shapes[t.parent];
  if (t.layout == Layout::kNhwc && model.tensors[t.parent].layout == Layout::kNhwc)
    require(shape[0] == parent[0] && shape[2] == parent[2] && shape[3] == parent[3] &&
                checked_add(t.channel_offset, shape[1]) <= parent[1],
            "tensor '{}' ({}) does not fit into '{}' ({}) at channel {}", t.name, to_string(shape),
            model.tensors[t.parent].name, to_string(parent), t.channel_offset);
  else
    require(dtype_bits(t.dtype) == 32
                ? checked_add(t.channel_offset, extent(t, shape)) <= checked_product(parent)
                : checked_product(shape) == checked_product(parent),
            "tensor '{}' ({}) is a view of '{}' ({})", t.name, to_string(shape), model.tensors[t.parent].name,
            to_string(parent));
  return shape;
}

std::vector<Shape> concrete_shapes(const Model& model, const SymbolValues& symbols,
                                   const std::vector<bool>& late) {
  std::vector<Shape> shapes;
  shapes.reserve(model.tensors.size());
  for (size_t t = 0; t < model.tensors.size(); ++t)
    shapes.push_back(!late.empty() && late[t] ? Shape{} : concrete_shape(model, t, symbols, shapes));
  return shapes;
}

}  // namespace octet::engine
