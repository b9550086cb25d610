#include "tensor/attributes.h"

#include <array>

namespace octet {
namespace {

constexpr std::array<std::string_view, std::variant_size_v<Attribute>> kTypeNames{
    "an integer",       "a float",           "a string", "a list of integers",
    "a list of floats", "a list of strings", "a tensor"};

template <typename T>
const T* find_as(const Attributes& attributes, std::string_view name) {
  const Attribute* attribute = attributes.find(name);
  if (attribute == nullptr) return nullptr;
  if (const T* value = std::get_if<T>(attribute)) return value;
  fail(ErrorCode::kInvalidArgument, "attribute '{}' is {}, expected {}", name, kTypeNames[attribute->index()],
       kTypeNames[Attribute(T{}).index()]);
}

}  // namespace

bool Attributes::has(std::string_view name) const {
  return values_.contains(name);
}

const Attribute* Attributes::find(std::string_view name) const {
  const auto it = values_.find(name);
  return it == values_.end() ? nullptr : &it->second;
}

void Attributes::set(std::string name, Attribute value) {
  values_.insert_or_assign(std::move(name), std::move(value));
}

void Attributes::erase(std::string_view name) {
  if (const auto it = values_.find(name); it != values_.end()) values_.erase(it);
}

int64_t Attributes::get_int(std::string_view name, int64_t fallback) const {
  const auto* value = find_as<int64_t>(*this, name);
  return value ? *value : fallback;
}

float Attributes::get_float(std::string_view name, float fallback) const {
  const auto* value = find_as<float>(*this, name);
  return value ? *value : fallback;
}

std::string Attributes::get_string(std::string_view name, std::string_view fallback) const {
  const auto* value = find_as<std::string>(*this, name);
  return value ? *value : std::string(fallback);
}

std::vector<int64_t> Attributes::get_ints(std::string_view name, const std::vector<int64_t>& fallback) const {
  const auto* value = find_as<std::vector<int64_t>>(*this, name);
  return value ? *value : fallback;
}

std::vector<float> Attributes::get_floats(std::string_view name, const std::vector<float>& fallback) const {
  const auto* value = find_as<std::vector<float>>(*this, name);
  return value ? *value : fallback;
}

}  // namespace octet
