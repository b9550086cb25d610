// The tuning file: tactics that were measured on one CPU, as JSON.
#pragma once

#include <filesystem>
#include <string>

#include "build/tune.h"

namespace octet::tools {

// Chooses the tactics of `model` by the file; what the file does not know is measured for about `seconds` and
// added to it. So a file that knows every step gives the same engine everywhere, without a measurement. A
// file that does not exist begins empty; one of another CPU or instruction set is refused, or with `retime`
// replaced. Returns how many steps' tactics were measured. Throws Error.
int tune(engine::Model& model, const std::filesystem::path& file, bool retime, double seconds);

}  // namespace octet::tools
