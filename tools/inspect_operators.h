// The operators that Octet knows, from their definitions.
#pragma once

#include <string>

#include "inspect_files.h"

namespace octet::tools {

// As JSON, and as the Markdown page docs/operators.md.
Inspection inspect_operators();

}  // namespace octet::tools
