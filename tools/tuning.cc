#include "tuning.h"

#include <fmt/format.h>

#include <algorithm>
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
constexpr double kFloatShare = 0.3;  // of the time for tactics

struct Tuning {
  std::string cpu, isa;
  Tactics tactics;
  FloatTimes floats;
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
  const auto integers = [&](const char* name, const Json& object, std::map<std::string, int>& to) {
    if (!object.is_object()) bad(fmt::format("'{}' must be an object", name).c_str());
    for (const auto& [key, value] : object.items()) {
      if (!value.is_number_integer() || value < 0 || value > 1000)
        bad(fmt::format("an entry of '{}' is no small integer", name).c_str());
      to[key] = value.get<int>();
    }
  };
  integers("tactics", json.value("tactics", Json()), tuning.tactics);
  // Files of before it was measured have none.
  integers("float_percent", json.value("float_percent", Json::object()), tuning.floats);
  return tuning;
}

void write(const Tuning& tuning, const std::filesystem::path& path) {
  Json json{{"format", kFormat}, {"version", kVersion}, {"cpu", tuning.cpu}, {"isa", tuning.isa}};
  json["tactics"] = Json::object();
  for (const auto& [key, choice] : tuning.tactics) json["tactics"][key] = choice;
  json["float_percent"] = Json::object();
  for (const auto& [key, percent] : tuning.floats) json["float_percent"][key] = percent;
  const std::string text = json.dump(1) + "\n";
  const HoldSignals hold;
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

}  // namespace

Tuned tune(engine::Model& model, const BuildModel& build, const std::filesystem::path& file, bool retime,
           bool allow_float, double seconds) {
  Tuning tuning{cpu_name(), std::string(isa_name(current_isa())), {}, {}};
  if (std::filesystem::exists(file)) {
    Tuning known = read(file);
    if (known.cpu == tuning.cpu && known.isa == tuning.isa)
      tuning = std::move(known);
    else if (!retime)
      fail(ErrorCode::kInvalidArgument,
           "'{}' was measured on {} with {}, this is {} with {}: use another file, or --retime to measure "
           "again",
           file.string(), known.cpu, known.isa, tuning.cpu, tuning.isa);
  }
  Tuned result;
  int timed = 0;
  const std::vector<std::string> keys = layer_keys(model);
  const bool unknown = std::any_of(keys.begin(), keys.end(), [&](const std::string& key) {
    return !key.empty() && !tuning.floats.contains(key);
  });
  if (unknown)
    timed = measure_float_times(model, build(integer_layers(model)), tuning.floats, seconds * kFloatShare);
  result.faster_in_float = faster_in_float(model, tuning.floats);
  if (allow_float && !result.faster_in_float.empty()) {
    std::vector<std::string> names;
    for (const FasterInFloat& layer : result.faster_in_float) names.push_back(layer.name);
    model = build(names);
  }
  result.measured = measure_tactics(model, tuning.tactics, seconds);
  if (result.measured > 0 || timed > 0) write(tuning, file);
  apply_tactics(model, tuning.tactics);
  return result;
}

}  // namespace octet::tools
