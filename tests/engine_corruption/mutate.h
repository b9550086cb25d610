// Random changes of a model's structure, such as an attacker would try.
#pragma once

#include <string>

#include "engine/model.h"
#include "kernels/simd/test_tools.h"

namespace octet::testing {

// Changes one thing; gives what, for messages.
std::string mutate(engine::Model& model, kernels::testing::Random& random);

}  // namespace octet::testing
