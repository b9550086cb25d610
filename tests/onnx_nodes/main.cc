// Runs ONNX's backend node tests through import, build and execution.
//   octet_node_tests FOLDER LIST [--every N] [--others] [CASE...]
// FOLDER holds a folder per case, LIST names those that must pass, one a line. With --every N each N-th of
// them runs. --others also tries the cases that are not listed, and reports them without failing. Given cases
// run alone. Ends with 1 when a listed case failed, 77 when FOLDER or LIST is missing.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "case.h"

namespace fs = std::filesystem;

namespace {

using octet::CaseResult;

struct Options {
  fs::path folder, list;
  size_t every = 1;
  bool others = false;
  std::vector<std::string> cases;
};

std::vector<std::string> read_list(const fs::path& path) {
  std::vector<std::string> names;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (!line.empty() && line[0] != '#') names.push_back(line);
  return names;
}

// The operator that a case is about: its model's only one, or "several".
std::string subject(const CaseResult& result) {
  const std::set<std::string> different(result.operators.begin(), result.operators.end());
  return different.size() == 1 ? *different.begin() : "several";
}

void print_failures(const std::vector<CaseResult>& results) {
  for (const CaseResult& r : results)
    if (!r.passed()) std::printf("FAILED %s: %s\n", r.name.c_str(), r.problem.c_str());
}

void print_operators(const std::vector<CaseResult>& results) {
  std::map<std::string, std::pair<int, int>> counts;
  for (const CaseResult& r : results) {
    auto& [passed, all] = counts[subject(r)];
    passed += r.passed() ? 1 : 0;
    ++all;
  }
  for (const auto& [name, count] : counts)
    std::printf("%-28s %3d of %3d%s\n", name.c_str(), count.first, count.second,
                count.first == count.second ? "" : "  <--");
}

size_t passed(const std::vector<CaseResult>& results) {
  return static_cast<size_t>(
      std::count_if(results.begin(), results.end(), [](const auto& r) { return r.passed(); }));
}

// Unlisted cases: only how many pass and, by first words, why the others do not.
void run_others(const Options& options, const std::vector<std::string>& listed) {
  const std::set<std::string> known(listed.begin(), listed.end());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(options.folder))
    if (const std::string name = entry.path().filename().string(); !known.count(name)) names.push_back(name);
  std::sort(names.begin(), names.end());
  std::vector<CaseResult> expanded, rest;
  for (const std::string& name : names) {
    CaseResult result = octet::run_case(options.folder / name);
    if (!result.passed()) std::printf("other %s: %.200s\n", name.c_str(), result.problem.c_str());
    (name.find("_expanded") != std::string::npos ? expanded : rest).push_back(std::move(result));
  }
  std::printf("not listed: %zu of %zu written out as simpler operators, %zu of %zu others\n",
              passed(expanded), expanded.size(), passed(rest), rest.size());
}

int usage() {
  std::fprintf(stderr, "usage: octet_node_tests FOLDER LIST [--every N] [--others] [CASE...]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc < 3) return usage();
  Options options{argv[1], argv[2], 1, false, {}};
  for (int i = 3; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--every" && i + 1 < argc)
      options.every = std::max<size_t>(1, std::strtoul(argv[++i], nullptr, 10));
    else if (argument == "--others")
      options.others = true;
    else if (argument.starts_with("--"))
      return usage();
    else
      options.cases.push_back(argument);
  }
  if (!fs::is_directory(options.folder) || !fs::is_regular_file(options.list)) {
    std::printf("skipped: '%s' or '%s' is missing (OCTET_DATA names the test data)\n", options.folder.c_str(),
                options.list.c_str());
    return 77;
  }
  const std::vector<std::string> listed = read_list(options.list);
  std::vector<CaseResult> results;
  double seconds = 0;
  for (size_t i = 0; i < listed.size(); ++i)
    if (options.cases.empty() ? i % options.every == 0
                              : std::ranges::find(options.cases, listed[i]) != options.cases.end()) {
      results.push_back(octet::run_case(options.folder / listed[i]));
      seconds += results.back().seconds;
    }
  for (const std::string& name : options.cases)
    if (std::ranges::find(listed, name) == listed.end())
      results.push_back(octet::run_case(options.folder / name));
  print_failures(results);
  if (options.cases.empty() && options.every == 1) print_operators(results);
  if (options.others) run_others(options, listed);
  std::printf("%zu of %zu (%.1f s)\n", passed(results), results.size(), seconds);
  return passed(results) == results.size() && !results.empty() ? 0 : 1;
}
