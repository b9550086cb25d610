// Groups of options that several subcommands have.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/progress.h"
#include "calibrate/dataset_runner.h"
#include "data/dataset.h"

namespace CLI {
class App;
}

namespace octet::tools {

using Metadata = std::map<std::string, std::string>;

struct CommonArguments {
  bool json = false;
  int threads = 0;

  void add(CLI::App& app, bool with_threads = true);
  RunnerOptions runner(Progress& progress, std::string label) const;
  // For commands that run float networks: --deterministic.
  void add_deterministic(CLI::App& app);
  bool deterministic = false;

 private:
  std::string memory_limit_;
};

struct DataArguments {
  std::string data;
  std::optional<std::string> preprocess;
  int64_t limit = 0;
  bool skip_bad = false;

  void add(CLI::App& app, bool required);

  // The canonical preprocessing: --preprocess, or else what the first of these has stored. A note when both
  // are there and differ.
  std::optional<std::string> choose_preprocess(std::initializer_list<const Metadata*> stored) const;
  // `most` above 0 limits the samples further.
  std::unique_ptr<Dataset> open(const std::optional<std::string>& chosen, int64_t most = 0) const;
};

// "4G", "500M", "1000": bytes. Throws UsageError.
int64_t parse_size(const std::string& text);

// "name=value" at the first '='. Throws UsageError that names the option.
std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& option);

}  // namespace octet::tools
