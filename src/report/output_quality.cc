#include "report/output_quality.h"

#include <algorithm>
#include <vector>

#include "calibrate/image_input.h"
#include "report/metrics.h"

namespace octet {
namespace {

constexpr int64_t kPlacesEach = 8;
constexpr double kWorst = -10, kBest = 80;  // decibels

std::vector<PairSums> sums_of_parts(const OutputParts& parts, const std::vector<float>& reference,
                                    const std::vector<float>& other) {
  std::vector<PairSums> sums(static_cast<size_t>(parts.count));
  for (size_t i = 0; i < reference.size(); ++i)
    sums[i / static_cast<size_t>(parts.inner) % sums.size()].add(reference[i], other[i]);
  return sums;
}

// Nullopt: no part has a signal.
std::optional<double> mean_db(const std::vector<PairSums>& parts) {
  double sum = 0;
  int count = 0;
  for (const PairSums& p : parts) {
    if (!(p.signal > 0)) continue;
    sum += std::clamp(p.sqnr_db().value_or(kBest), kWorst, kBest);
    ++count;
  }
  if (count == 0) return {};
  return sum / count;
}

}  // namespace

OutputParts output_parts(const Shape& shape) {
  if (shape.size() < 3) return {};
  int64_t places = 1;
  for (size_t d = 2; d < shape.size(); ++d) places *= shape[d];
  if (shape[1] > 0 && places / kPlacesEach >= shape[1]) return {shape[1], places};
  if (shape.size() == 3 && shape[2] > 0 && shape[1] / kPlacesEach >= shape[2]) return {shape[2], 1};
  return {};
}

std::optional<double> output_quality(const engine::Engine& reference, const engine::Engine& other,
                                     const Dataset& data, const RunnerOptions& options) {
  const size_t outputs = reference.model().outputs.size();
  // One row a sample, added up in order at the end.
  std::vector<std::vector<std::vector<PairSums>>> rows(static_cast<size_t>(data.size()));
  DatasetRunner runner(reference, data, options);
  std::vector<ContextCache> contexts(static_cast<size_t>(runner.workers()));
  runner.run([&](int worker, int64_t sample, engine::Context& context, std::span<const Tensor> inputs) {
    const std::vector<Tensor> other_inputs = inputs_for(other.model(), reference.model(), inputs);
    engine::Context& other_context = contexts[static_cast<size_t>(worker)].get(other, other_inputs);
    context.run(inputs);
    other_context.run(other_inputs);
    for (size_t i = 0; i < outputs; ++i) {
      const auto quant = [i](const engine::Engine& e) {
        return e.model().tensors[static_cast<size_t>(e.model().outputs[i])].quant;
      };
      const Shape& shape = context.output(i).shape();
      if (shape != other_context.output(i).shape())
        fail(ErrorCode::kInternal, "outputs of shapes {} and {}", to_string(shape),
             to_string(other_context.output(i).shape()));
      rows[static_cast<size_t>(sample)].push_back(
          sums_of_parts(output_parts(shape), output_floats(context.output(i), quant(reference)),
                        output_floats(other_context.output(i), quant(other))));
    }
  });
  double sum = 0, noise = 0;
  int count = 0;
  for (size_t i = 0; i < outputs; ++i) {
    std::vector<PairSums> parts;
    for (const auto& row : rows) {
      if (row.empty()) continue;
      if (parts.size() < row[i].size()) parts.resize(row[i].size());
      for (size_t p = 0; p < row[i].size(); ++p) parts[p] += row[i][p];
    }
    for (const PairSums& p : parts) noise += p.noise + static_cast<double>(p.not_finite);
    if (const auto db = mean_db(parts)) {
      sum += *db;
      ++count;
    }
  }
  if (count == 0 || !(noise > 0)) return {};
  return sum / count;
}

}  // namespace octet
