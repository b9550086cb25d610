#include "tuning.h"

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/cpu.h"
#include "base/file.h"
#include "common.h"

namespace octet::tools {
namespace {

constexpr const char* kFormat = "octet tuning";
constexpr int kVersion = 1;

struct Tuning {
  std::string cpu, isa;
  Tactics tactics;
};

std::string cpu_name() {
#if defined(__x86_64__)
  std::array<unsigned, 12> words{};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned* w = words.data() + size_t{4} * i;
    if (!__get_cpuid(0x80000002u + i, w, w + 1, w + 2, w + 3)) return "x86-64";
  }
  std::string name(sizeof words, '\0');
  std::memcpy(name.data(), words.data(), sizeof words);
  name.resize(std::strlen(name.c_str()));
  name.erase(0, name.find_first_not_of(' '));
  while (!name.empty() && name.back() == ' ') name.pop_back();
  return name;
#else
  return "unknown";
#endif
}

Tuning read(const std::filesystem::path& path) {
  const Json json = Json::parse(read_text(path), nullptr, false);
  const auto bad = [&](const char* what) {
    fail(ErrorCode::kBadFile, "'{}' is no tuning file: {}", path.string(), what);
  };
  if (!json.is_object() || json.value("format", Json()) != kFormat)
    bad("expected JSON with format 'octet tuning'");
  if (json.value("version", Json()) != kVersion) bad("of another version; delete it to measure again");
  Tuning tuning;
  for (const auto& [name, to] : {std::pair{"cpu", &tuning.cpu}, std::pair{"isa", &tuning.isa}}) {
    const Json value = json.value(name, Json());
    if (!value.is_string()) bad("'cpu' and 'isa' must be strings");
    *to = value.get<std::string>();
  }
  const Json tactics = json.value("tactics", Json());
  if (!tactics.is_object()) bad("'tactics' must be an object");
  for (const auto& [key, value] : tactics.items()) {
    if (!value.is_number_integer() || value < 0 || value > 1000) bad("a tactic is no small integer");
    tuning.tactics[key] = value.get<int>();
  }
  return tuning;
}

void write(const Tuning& tuning, const std::filesystem::path& path) {
  Json json{{"format", kFormat}, {"version", kVersion}, {"cpu", tuning.cpu}, {"isa", tuning.isa}};
  json["tactics"] = Json::object();
  for (const auto& [key, choice] : tuning.tactics) json["tactics"][key] = choice;
  const std::string text = json.dump(1) + "\n";
  const HoldSignals hold;
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace

int tune(engine::Model& model, const std::filesystem::path& file, bool retime, double seconds) {
  Tuning tuning{cpu_name(), std::string(isa_name(current_isa())), {}};
  if (std::filesystem::exists(file)) {
    Tuning known = read(file);
    if (known.cpu == tuning.cpu && known.isa == tuning.isa)
      tuning.tactics = std::move(known.tactics);
    else if (!retime)
      fail(ErrorCode::kInvalidArgument,
           "'{}' was measured on {} with {}, this is {} with {}: use another file, or --retime to measure "
           "again",
           file.string(), known.cpu, known.isa, tuning.cpu, tuning.isa);
  }
  const int measured = measure_tactics(model, tuning.tactics, seconds);
  if (measured > 0) write(tuning, file);
  apply_tactics(model, tuning.tactics);
  return measured;
}

}  // namespace octet::tools
