// Everything that cannot be imported from one model, in one message.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace octet {

struct NodeProblem {
  std::string op, domain;
  int opset = 0;
  std::string node;
  std::string what;
};

class Problems {
 public:
  explicit Problems(std::string file) : file_(std::move(file)) {}
  void add(NodeProblem problem) { list_.push_back(std::move(problem)); }
  // One line for each node, or, where they are many, for each operator and reason.
  void throw_if_any() const;

 private:
  std::string file_;
  std::vector<NodeProblem> list_;
};

}  // namespace octet
