// One ONNX backend node test: a model of one node with inputs and the outputs that they must give.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace octet {

struct CaseResult {
  std::string name;
  std::vector<std::string> operators;  // of the model's nodes
  std::string problem;                 // empty: passed
  double seconds = 0;

  bool passed() const { return problem.empty(); }
};

// Imports `folder`/model.onnx, builds it, and for every test_data_set_* runs it on input_*.pb and compares
// the outputs with output_*.pb: dtype and shape exactly, elements within 1e-3 relative plus 1e-7. Never
// throws.
CaseResult run_case(const std::filesystem::path& folder);

}  // namespace octet
