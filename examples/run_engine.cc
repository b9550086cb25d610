// Runs an engine once and prints the largest entries of its first output.
//
//   run_engine ENGINE.octet [INPUT.raw]
//
// INPUT.raw holds the elements of the first input as they are in memory; without it they are zero, and so are
// those of all other inputs.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <numeric>

#include "octet/runtime.h"

namespace {

std::vector<char> read_raw(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw octet::Error(octet::ErrorCode::kNotFound, std::string("cannot read ") + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const char* engine_path, const char* input_path) {
  const auto engine = octet::runtime::Engine::load(engine_path);
  octet::runtime::Context context(engine, {.threads = 1});
  std::vector<std::vector<char>> inputs;
  for (size_t i = 0; i < engine.inputs().size(); ++i) {
    const octet::runtime::TensorInfo& info = engine.inputs()[i];
    std::printf("input %s %s %s\n", info.name.c_str(), info.shape_text.c_str(),
                octet::dtype_name(info.dtype).data());
    inputs.push_back(i == 0 && input_path ? read_raw(input_path) : std::vector<char>(context.input_size(i)));
    context.set_input(i, std::as_bytes(std::span(inputs.back())));
  }
  context.run();
  const std::span<const float> scores = context.output<float>(0);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto top = order.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(5, order.size()));
  std::partial_sort(order.begin(), top, order.end(),
                    [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  for (auto i = order.begin(); i != top; ++i)
    std::printf("class %zu  %.4f\n", *i, static_cast<double>(scores[*i]));
}

}  // namespace

int main(int count, char** words) {
  if (count < 2 || count > 3) {
    std::fprintf(stderr, "usage: run_engine ENGINE.octet [INPUT.raw]\n");
    return 2;
  }
  try {
    run(words[1], count > 2 ? words[2] : nullptr);
    return 0;
  } catch (const octet::Error& error) {
    std::fprintf(stderr, "run_engine: %s\n", error.what());
    return 1;
  }
}
