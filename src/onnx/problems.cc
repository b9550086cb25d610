#include "onnx/problems.h"

#include <map>
#include <tuple>

#include "base/error.h"

namespace octet {
namespace {

constexpr size_t kMaxLines = 50;
constexpr size_t kMaxNames = 3;

std::string operator_text(const NodeProblem& problem) {
  return fmt::format("{} (domain '{}', opset {})", problem.op,
                     problem.domain.empty() ? "ai.onnx" : problem.domain, problem.opset);
}

}  // namespace

void Problems::throw_if_any() const {
  if (list_.empty()) return;
  std::vector<std::string> lines;
  if (list_.size() <= kMaxLines) {
    for (const NodeProblem& problem : list_)
      lines.push_back(fmt::format("node '{}': {}: {}", problem.node, operator_text(problem), problem.what));
  } else {
    std::map<std::tuple<std::string, std::string, std::string>, std::vector<const NodeProblem*>> groups;
    for (const NodeProblem& problem : list_)
      groups[{problem.domain, problem.op, problem.what}].push_back(&problem);
    for (const auto& [key, members] : groups) {
      std::string names;
      for (size_t i = 0; i < members.size() && i < kMaxNames; ++i)
        names += fmt::format("{}'{}'", i == 0 ? "" : ", ", members[i]->node);
      if (members.size() > kMaxNames) names += fmt::format(" and {} more", members.size() - kMaxNames);
      lines.push_back(fmt::format("{}: {}: {} node(s): {}", operator_text(*members[0]), members[0]->what,
                                  members.size(), names));
    }
  }
  std::string text =
      fmt::format("'{}' has {} that Octet cannot import:", file_,
                  list_.size() == 1 ? "a node" : fmt::format("{} nodes or attributes", list_.size()));
  for (size_t i = 0; i < lines.size() && i < kMaxLines; ++i) text += "\n  " + lines[i];
  if (lines.size() > kMaxLines) text += fmt::format("\n  and {} more", lines.size() - kMaxLines);
  throw Error(ErrorCode::kUnsupported, text);
}

}  // namespace octet
