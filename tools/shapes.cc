#include "shapes.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "common.h"

namespace octet::tools {
namespace {

Shape parse_shape(const std::string& text, const std::string& option) {
  Shape shape;
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0 || (stop != end && (*stop != 'x' || stop + 1 == end)))
      throw UsageError(fmt::format("{}: '{}' is no shape; expected for instance 1x3x224x224", option, text));
    shape.push_back(value);
    if (stop == end) return shape;
    at = stop + 1;
  }
}

}  // namespace

std::map<std::string, Shape> parse_input_shapes(const std::string& text, const std::string& option) {
  std::map<std::string, Shape> shapes;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    at = end + 1;
    // Names may hold colons; shapes do not.
    const size_t split = part.find_last_of(":=");
    if (split == std::string::npos || split == 0 || split + 1 == part.size())
      throw UsageError(
          fmt::format("{}: '{}' has not the form INPUT:SHAPE, for instance input:1x3x224x224", option, part));
    const std::string name = part.substr(0, split);
    if (!shapes.emplace(name, parse_shape(part.substr(split + 1), option)).second)
      throw UsageError(fmt::format("{}: the input '{}' is given twice", option, name));
  }
  return shapes;
}

void ProfileArguments::add(CLI::App& app) {
  const auto option = [&](const char* flag, std::vector<std::string>& list, const char* help) {
    app.add_option(flag, list, help)->allow_extra_args(false)->type_name("INPUT:SHAPE,...");
  };
  option("--min-shapes", minimum,
         "smallest shapes of dynamic inputs, e.g. input:1x3x160x160; repeated for another profile");
  option("--opt-shapes", optimum, "shapes that the engine is tried and timed with");
  option("--max-shapes", maximum, "largest shapes; memory is planned for them");
}

std::vector<ShapeProfile> ProfileArguments::profiles() const {
  const size_t count = std::max({minimum.size(), optimum.size(), maximum.size()});
  const auto parsed = [&](const std::vector<std::string>& list, size_t i, const std::string& option) {
    if (!list.empty() && list.size() != count)
      throw UsageError(
          fmt::format("{} is given {} times, another of --min-shapes, --opt-shapes and "
                      "--max-shapes {} times: the n-th of each make a profile",
                      option, list.size(), count));
    return list.empty() ? std::map<std::string, Shape>() : parse_input_shapes(list[i], option);
  };
  std::vector<ShapeProfile> profiles;
  for (size_t i = 0; i < count; ++i) {
    ShapeProfile p{parsed(minimum, i, "--min-shapes"), parsed(optimum, i, "--opt-shapes"),
                   parsed(maximum, i, "--max-shapes")};
    p.complete();
    profiles.push_back(std::move(p));
  }
  return profiles;
}

}  // namespace octet::tools
