#include "kernels/generic/generic.h"

#include <algorithm>
#include <array>

#include "kernels/generic/ops.h"
#include "tensor/half.h"

namespace octet::kernels {
namespace {

using generic::Inputs;
using generic::Outputs;

enum class Adapt { kExact, kMove, kFloat };

bool is_4bit(DType dtype) {
  return dtype == DType::kInt4 || dtype == DType::kUInt4;
}

bool converts(Adapt adapt, DType dtype) {
  return (adapt == Adapt::kFloat && is_half(dtype)) || (adapt == Adapt::kMove && is_4bit(dtype));
}

bool misaligned(const Tensor& t) {
  return t.count() > 0 &&
         reinterpret_cast<uintptr_t>(t.raw()) % static_cast<size_t>((dtype_bits(t.dtype()) + 7) / 8) != 0;
}

Tensor widen(const Tensor& t) {
  if (is_4bit(t.dtype())) return generic::unpack_4bit(t);
  Tensor wide(DType::kFloat32, t.shape());
  const auto* source = static_cast<const uint16_t*>(t.raw());
  const auto decode = t.dtype() == DType::kFloat16 ? half_to_float : bfloat16_to_float;
  for (int64_t i = 0; i < t.count(); ++i) static_cast<float*>(wide.raw())[i] = decode(source[i]);
  return wide;
}

void narrow(const Tensor& wide, Tensor& t) {
  if (is_4bit(t.dtype())) return generic::pack_4bit(wide, t);
  auto* target = static_cast<uint16_t*>(t.raw());
  const auto encode = t.dtype() == DType::kFloat16 ? float_to_half : float_to_bfloat16;
  for (int64_t i = 0; i < t.count(); ++i) target[i] = encode(static_cast<const float*>(wide.raw())[i]);
}

DType wide_dtype(DType dtype) {
  if (is_4bit(dtype)) return dtype == DType::kInt4 ? DType::kInt8 : DType::kUInt8;
  return DType::kFloat32;
}

void run_adapted(GenericFunction function, Adapt adapt, const Attributes& attributes, Inputs inputs,
                 Outputs outputs) {
  const auto odd = [&](const Tensor& t) {
    return t.count() >= 0 && (converts(adapt, t.dtype()) || misaligned(t));
  };
  if (std::none_of(inputs.begin(), inputs.end(), odd) && std::none_of(outputs.begin(), outputs.end(), odd))
    return function(attributes, inputs, outputs);
  std::vector<Tensor> in(inputs.begin(), inputs.end()), out(outputs.begin(), outputs.end());
  for (Tensor& t : in) {
    if (t.count() >= 0 && misaligned(t)) t = t.clone();
    if (t.count() >= 0 && converts(adapt, t.dtype())) t = widen(t);
  }
  for (Tensor& t : out)
    if (t.count() >= 0 && converts(adapt, t.dtype())) t = Tensor(wide_dtype(t.dtype()), t.shape());
  function(attributes, in, out);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].count() >= 0 && converts(adapt, outputs[i].dtype())) narrow(out[i], outputs[i]);
}

// Operators that decide the shapes of their outputs have something to say even where nothing was expected.
constexpr bool is_maker(std::string_view op) {
#define OCTET_SHAPED(name, function) \
  if (op == #name) return true;
#define OCTET_MADE OCTET_SHAPED
#include "kernels/generic/makers.inc"
#undef OCTET_SHAPED
#undef OCTET_MADE
  return false;
}

// Whether all outputs are without elements. One of their other dimensions can be as large as a file likes.
bool is_empty(Outputs outputs) {
  return !outputs.empty() &&
         std::all_of(outputs.begin(), outputs.end(), [](const Tensor& t) { return t.count() == 0; });
}

template <GenericFunction function, Adapt adapt, bool maker>
void entry(const Attributes& attributes, Inputs inputs, Outputs outputs) {
  if (!maker && is_empty(outputs)) return;
  run_adapted(function, adapt, attributes, inputs, outputs);
}

#define OCTET_GENERIC(name, function, adapt) std::string_view(#name),
constexpr std::array kNames{
#include "kernels/generic/ops.inc"
};
#undef OCTET_GENERIC
static_assert(std::is_sorted(kNames.begin(), kNames.end()));

#define OCTET_GENERIC(name, function, adapt) entry<generic::function, Adapt::adapt, is_maker(#name)>,
constexpr std::array<GenericFunction, kNames.size()> kFunctions{
#include "kernels/generic/ops.inc"
};
#undef OCTET_GENERIC

}  // namespace

GenericFunction find_generic(std::string_view op) {
  const auto it = std::lower_bound(kNames.begin(), kNames.end(), op);
  if (it == kNames.end() || *it != op) return nullptr;
  return kFunctions[static_cast<size_t>(it - kNames.begin())];
}

std::span<const std::string_view> generic_names() {
  return kNames;
}

}  // namespace octet::kernels
