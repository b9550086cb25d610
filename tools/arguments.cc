#include "arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "common.h"
#include "data/preprocess.h"
#include "tensor/tensor.h"

namespace octet::tools {

void CommonArguments::add(CLI::App& app, bool with_threads) {
  app.add_flag("--json", json, "print one JSON object and nothing else to standard output");
  if (with_threads)
    app.add_option("--threads", threads, "number of threads; 0: one per available CPU")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
  app.add_option("--memory-limit", memory_limit_,
                 "most memory for tensors, e.g. 500M or 4G; default: the machine's")
      ->type_name("SIZE")
      ->each([](const std::string& text) { set_memory_limit(parse_size(text)); });
}

void CommonArguments::add_deterministic(CLI::App& app) {
  app.add_flag("--deterministic", deterministic,
               "float convolutions and products give the same bits on every CPU, slower");
}

RunnerOptions CommonArguments::runner(Progress& progress, std::string label) const {
  return {threads, &progress, std::move(label)};
}

void DataArguments::add(CLI::App& app, bool required) {
  app.add_option("--data", data, "folder of images, .txt list, .npy or .npz arrays")
      ->required(required)
      ->type_name("PATH");
  app.add_option("--preprocess", preprocess,
                 "how an image becomes a tensor, e.g. \"short=256 crop=224 rgb mean=127.5 std=127.5\"; steps "
                 "short= stretch= crop= letterbox= multiple= interp= rgb bgr gray mean= std= scale=. "
                 "Default: what the "
                 "model or engine has stored")
      ->type_name("STEPS");
  app.add_option("--limit", limit, "use the first N samples")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->type_name("N");
  app.add_flag("--skip-bad-images", skip_bad, "go on without images that cannot be read, and count them");
}

std::optional<std::string> DataArguments::choose_preprocess(
    std::initializer_list<const Metadata*> stored) const {
  std::optional<std::string> found;
  for (const Metadata* metadata : stored) {
    const auto entry = metadata->find(kPreprocessKey);
    if (!found && entry != metadata->end() && !entry->second.empty())
      found = Preprocess::parse(entry->second).text();
  }
  if (!preprocess) return found;
  const std::string given = Preprocess::parse(*preprocess).text();
  if (found && *found != given)
    note(fmt::format("--preprocess \"{}\" differs from the stored \"{}\"", given, *found));
  return given;
}

std::unique_ptr<Dataset> DataArguments::open(const std::optional<std::string>& chosen, int64_t most) const {
  DataOptions options;
  options.preprocess = chosen;
  options.skip_bad = skip_bad;
  options.limit = limit > 0 && most > 0 ? std::min(limit, most) : std::max(limit, most);
  return open_data(data, options);
}

int64_t parse_size(const std::string& text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const std::string_view suffix(stop, static_cast<size_t>(end - stop));
  constexpr std::string_view kUnits = "KMG";
  int shift = 0;
  bool good = error == std::errc() && value > 0 && suffix.size() <= 1;
  if (good && !suffix.empty()) {
    const size_t unit = kUnits.find(suffix[0]);
    good = unit != std::string_view::npos;
    if (good) shift = 10 * (static_cast<int>(unit) + 1);
  }
  if (!good || value > INT64_MAX >> shift)
    throw UsageError(fmt::format("--memory-limit: '{}' is no size; expected e.g. 500M or 4G", text));
  return value << shift;
}

std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& option) {
  const size_t at = text.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size())
    throw UsageError(fmt::format("{}: '{}' has not the form NAME=VALUE", option, text));
  return {text.substr(0, at), text.substr(at + 1)};
}

}  // namespace octet::tools
