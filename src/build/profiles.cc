// The ranges of dynamic dimensions, from the shapes that a user names.
#include <algorithm>
#include <functional>
#include <optional>

#include "build/build.h"

namespace octet {
namespace {

using engine::SizeRange;
using Ranges = std::map<std::string, SizeRange>;

constexpr int64_t kMaximum = 65536;

// What a dimension of an input probably is, where nobody said it: for timing, and to try an engine.
int64_t likely_size(size_t rank, size_t axis) {
  constexpr int64_t kSide = 256;  // a multiple of any usual stride
  constexpr int64_t kLength = 128;
  if (axis == 0) return 1;
  if (rank == 4) return axis == 1 ? 3 : kSide;
  return kLength;
}

const Value& find_input(const Graph& graph, const std::string& name) {
  std::string names;
  for (const ValueId v : graph.inputs()) {
    if (graph.value(v).name == name) return graph.value(v);
    names += fmt::format("{}'{}'", names.empty() ? "" : ", ", graph.value(v).name);
  }
  fail(ErrorCode::kInvalidArgument, "shapes are given for the input '{}', but the model has only {}", name,
       names);
}

// An expression's value where these sizes have all of its symbols.
std::optional<int64_t> decided(const Dim& dim, const std::map<std::string, int64_t>& sizes) {
  Dim left = dim;
  for (const auto& [name, size] : sizes) left = replace(left, Dim::symbol(name), size);
  return left.known() ? std::optional(left.value()) : std::nullopt;
}

// Sizes of the symbols of all inputs that `shapes` names.
std::map<std::string, int64_t> sizes_of(const Graph& graph, const std::map<std::string, Shape>& shapes) {
  std::map<std::string, int64_t> sizes;
  for (const auto& [name, shape] : shapes) {
    const Dims& dims = *find_input(graph, name).shape;
    bool fits = dims.size() == shape.size();
    for (size_t d = 0; fits && d < dims.size(); ++d) fits = !dims[d].known() || dims[d].value() == shape[d];
    if (!fits)
      fail(ErrorCode::kInvalidArgument, "the shape {} is given for the input '{}', which has shape {}",
           to_string(shape), name, to_string(dims));
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d].op() != Dim::Op::kSymbol) continue;
      if (shape[d] < 0)
        fail(ErrorCode::kInvalidArgument, "the shape {} of the input '{}' has a size of {}", to_string(shape),
             name, shape[d]);
      const auto [it, fresh] = sizes.emplace(dims[d].name(), shape[d]);
      if (!fresh && it->second != shape[d])
        fail(ErrorCode::kInvalidArgument,
             "the shape {} of the input '{}' makes the dimension '{}' {}, but another input makes it {}",
             to_string(shape), name, dims[d].name(), shape[d], it->second);
    }
  }
  for (const auto& [name, shape] : shapes) {  // what other sizes decide
    const Dims& dims = *find_input(graph, name).shape;
    for (size_t d = 0; d < dims.size(); ++d)
      if (const auto size = decided(dims[d], sizes); size && *size != shape[d])
        fail(ErrorCode::kInvalidArgument,
             "the shape {} of the input '{}' has {} where {} is {} by the other inputs", to_string(shape),
             name, shape[d], dims[d].text(), *size);
  }
  return sizes;
}

// The first input that has the dimension.
std::string input_with(const Graph& graph, const std::string& dimension) {
  for (const ValueId input : graph.inputs())
    for (const Dim& d : *graph.value(input).shape)
      if (d == Dim::symbol(dimension)) return graph.value(input).name;
  return {};
}

Ranges ranges_of(const Graph& graph, const ShapeProfile& profile) {
  const auto low = sizes_of(graph, profile.minimum), best = sizes_of(graph, profile.optimum),
             high = sizes_of(graph, profile.maximum);
  Ranges ranges;
  for (const auto& [name, minimum] : low) {
    const auto b = best.find(name), h = high.find(name);
    if (b == best.end() || h == high.end())
      fail(ErrorCode::kInvalidArgument, "a profile needs minimum, optimum and maximum of the same inputs");
    if (minimum > b->second || b->second > h->second)
      fail(ErrorCode::kInvalidArgument,
           "input '{}': the dimension '{}' would range from {} over {} to {}; expected minimum <= optimum <= "
           "maximum",
           input_with(graph, name), name, minimum, b->second, h->second);
    ranges[name] = {minimum, b->second, h->second};
  }
  return ranges;
}

}  // namespace

void ShapeProfile::complete() {
  const auto fill = [](std::map<std::string, Shape>& into, const std::map<std::string, Shape>& from) {
    for (const auto& [name, shape] : from) into.try_emplace(name, shape);
  };
  fill(optimum, maximum);
  fill(optimum, minimum);
  fill(maximum, optimum);
  fill(minimum, optimum);
}

void pin_dimensions(Graph& graph, const std::vector<ShapeProfile>& profiles) {
  std::map<std::string, std::optional<int64_t>> sizes;  // of all profiles; nullopt where it varies
  for (size_t p = 0; p < profiles.size(); ++p) {
    const Ranges ranges = ranges_of(graph, profiles[p]);
    for (auto& [name, size] : sizes)
      if (!ranges.contains(name)) size.reset();
    for (const auto& [name, range] : ranges) {
      const auto one = range.minimum == range.maximum ? std::optional(range.minimum) : std::nullopt;
      const auto [it, fresh] = sizes.emplace(name, p == 0 ? one : std::nullopt);
      if (!fresh && it->second != one) it->second.reset();
    }
  }
  for (const ValueId input : graph.inputs())
    for (Dim& dim : *graph.value(input).shape)
      for (const auto& [name, size] : sizes)
        if (size) dim = replace(dim, Dim::symbol(name), *size);
}

ShapeRanges shape_ranges(const Graph& graph, const std::vector<ShapeProfile>& profiles) {
  std::map<std::string, SizeRange> symbols;
  for (const ValueId input : graph.inputs()) {
    const Dims& dims = *graph.value(input).shape;
    for (size_t d = 0; d < dims.size(); ++d)
      if (dims[d].op() == Dim::Op::kSymbol)
        symbols.try_emplace(dims[d].name(), SizeRange{0, likely_size(dims.size(), d), kMaximum});
  }
  ShapeRanges result;
  for (const ShapeProfile& profile : profiles) {
    const Ranges ranges = ranges_of(graph, profile);
    engine::Profile own;
    for (const auto& [name, whole] : symbols) {
      const auto found = ranges.find(name);
      own.push_back(found != ranges.end() ? found->second : whole);
    }
    result.profiles.push_back(std::move(own));
  }
  size_t i = 0;
  for (const auto& [name, whole] : symbols) {
    SizeRange hull = result.profiles.empty() ? whole : result.profiles[0][i];
    for (const engine::Profile& p : result.profiles) {
      hull.minimum = std::min(hull.minimum, p[i].minimum);
      hull.maximum = std::max(hull.maximum, p[i].maximum);
    }
    result.symbols.push_back({name, hull.minimum, hull.optimum, hull.maximum});
    ++i;
  }
  if (result.symbols.empty()) result.profiles.clear();
  return result;
}

}  // namespace octet
