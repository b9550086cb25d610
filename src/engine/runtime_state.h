// What the public runtime::Engine holds; for those who make one from a model that was never a file.
#pragma once

#include <vector>

#include "engine/engine.h"
#include "octet/runtime.h"

namespace octet::runtime {

struct Engine::State {
  engine::Engine engine;
  std::vector<TensorInfo> inputs, outputs;
  std::vector<Dimension> dimensions;
  std::vector<Profile> profiles;

  explicit State(engine::Engine loaded);
};

}  // namespace octet::runtime
