// Shapes of inputs on the command line.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "build/build.h"
#include "tensor/tensor.h"

namespace CLI {
class App;
}

namespace octet::tools {

// "input:1x3x224x224,mask:1x128" (or '=' for ':'). Throws UsageError that names `option`.
std::map<std::string, Shape> parse_input_shapes(const std::string& text, const std::string& option);

// --min-shapes, --opt-shapes, --max-shapes; the n-th of each make the n-th profile.
struct ProfileArguments {
  std::vector<std::string> minimum, optimum, maximum;

  void add(CLI::App& app);
  // What is left out of a profile comes from what is there: one shape alone is all three, an optimum is the
  // maximum, or the minimum where that is missing. Throws UsageError.
  std::vector<ShapeProfile> profiles() const;
};

}  // namespace octet::tools
