// The three kinds of file that inspect shows.
#pragma once

#include <filesystem>
#include <string>

#include "common.h"

namespace octet::tools {

// What is inside, for a program and for a person.
struct Inspection {
  Json json;
  std::string text;
};

Inspection inspect_model(const std::filesystem::path& path);
Inspection inspect_table(const std::filesystem::path& path);
Inspection inspect_engine(const std::filesystem::path& path);

}  // namespace octet::tools
