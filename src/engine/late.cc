#include "engine/late.h"

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "engine/plan.h"
#include "engine/validate.h"

namespace octet::engine {
namespace {

void collect(const Dim& dim, const std::set<std::string, std::less<>>& wanted,
             std::vector<std::string>& found) {
  if (dim.known()) return;
  if (dim.op() == Dim::Op::kSymbol) {
    if (wanted.count(dim.name()) && std::ranges::find(found, dim.name()) == found.end())
      found.push_back(dim.name());
    return;
  }
  collect(dim.left(), wanted, found);
  collect(dim.right(), wanted, found);
}

}  // namespace

std::vector<std::vector<std::string>> run_symbols(const Model& model) {
  std::set<std::string, std::less<>> names;
  for (const Symbol& s : model.symbols)
    if (s.at_run) names.insert(s.name);
  std::vector<std::vector<std::string>> result(model.tensors.size());
  if (names.empty()) return result;
  for (size_t t = 0; t < model.tensors.size(); ++t)
    for (const Dim& d : model.tensors[t].shape) collect(d, names, result[t]);
  return result;
}

LateShapes::LateShapes(const Model& model)
    : model_(model),
      late_(model.tensors.size(), false),
      needs_(run_symbols(model)),
      own_(model.tensors.size()) {
  for (size_t t = 0; t < late_.size(); ++t) {
    const int32_t parent = model.tensors[t].parent;
    late_[t] = !needs_[t].empty() || (parent >= 0 && late_[static_cast<size_t>(parent)]);
    any_ = any_ || late_[t];
  }
}

bool LateShapes::touches(const StepDef& step) const {
  const auto is_late = [&](int32_t t) { return late(t); };
  return any_ && (std::ranges::any_of(step.inputs, is_late) || std::ranges::any_of(step.outputs, is_late));
}

bool LateShapes::known(int32_t tensor) const {
  return std::ranges::all_of(needs_[static_cast<size_t>(tensor)],
                             [&](const std::string& name) { return symbols_.count(name) > 0; });
}

void LateShapes::settle(int32_t tensor, std::vector<Shape>& shapes, std::vector<std::byte*>& memory) {
  if (!late(tensor)) return;
  const int32_t parent = model_.tensors[static_cast<size_t>(tensor)].parent;
  if (late(parent)) settle_one(parent, shapes, memory);
  settle_one(tensor, shapes, memory);
}

void LateShapes::settle_one(int32_t tensor, std::vector<Shape>& shapes, std::vector<std::byte*>& memory) {
  const auto t = static_cast<size_t>(tensor);
  const TensorDef& def = model_.tensors[t];
  if (!known(tensor))
    fail(ErrorCode::kUnsupported, "the shape of '{}' ({}) is needed before the data have decided it",
         def.name, to_string(def.shape));
  shapes[t] = concrete_shape(model_, t, symbols_, shapes);
  if (def.parent >= 0) {
    memory[t] = memory[static_cast<size_t>(def.parent)] + dtype_bytes(def.dtype, def.channel_offset);
    return;
  }
  const int64_t bytes = place_bytes(def, shapes[t]);
  if (own_[t].count() < bytes) own_[t] = Tensor(DType::kUInt8, {bytes});
  memory[t] = static_cast<std::byte*>(own_[t].raw());
}

void LateShapes::learn(int32_t tensor, const Shape& shape) {
  const TensorDef& def = model_.tensors[static_cast<size_t>(tensor)];
  const auto refuse = [&] {
    fail(ErrorCode::kInvalidArgument, "'{}' came out as {}, expected {}", def.name, to_string(shape),
         to_string(def.shape));
  };
  if (shape.size() != def.shape.size()) refuse();
  for (size_t d = 0; d < shape.size(); ++d)
    if (const Dim& dim = def.shape[d]; !dim.known() && dim.op() == Dim::Op::kSymbol)
      symbols_.emplace(dim.name(), shape[d]);
  for (size_t d = 0; d < shape.size(); ++d)
    if (def.shape[d].evaluate(symbols_) != shape[d]) refuse();
}

int64_t LateShapes::bytes() const {
  int64_t total = 0;
  for (const Tensor& t : own_) total += std::max<int64_t>(t.count(), 0);
  return total;
}

}  // namespace octet::engine
