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
#include "pipeline/calibration.h"
#include "pipeline/recipe.h"

namespace CLI {
class App;
}

namespace octet::tools {

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

void add_options(CLI::App& app, DataArguments& a, bool required);
// --data-loader-script, instead of --data.
void add_loader(CLI::App& app, std::string& script);
// Not `whole`: calibrate has no use for the options on the form of the result.
void add_options(CLI::App& app, QuantizationArguments& a, bool whole);
// Throws UsageError for --percentile with another --method.
void check_percentile(const QuantizationArguments& arguments, bool given);
// --effort and --skip.
void add_options(CLI::App& app, EffortArguments& a);

// "4G", "500M", "1000": bytes. Throws UsageError.
int64_t parse_size(const std::string& text);

// "name=value" at the first '='. Throws UsageError that names the option.
std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& option);

}  // namespace octet::tools
