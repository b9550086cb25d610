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

OutputSums& OutputSums::operator+=(const OutputSums& more) {
  if (outputs.size() < more.outputs.size()) outputs.resize(more.outputs.size());
  for (size_t i = 0; i < more.outputs.size(); ++i) {
    std::vector<PairSums>& parts = outputs[i];
    if (parts.size() < more.outputs[i].size()) parts.resize(more.outputs[i].size());
    for (size_t p = 0; p < more.outputs[i].size(); ++p) parts[p] += more.outputs[i][p];
  }
  return *this;
}

std::vector<OutputSums> measure_outputs(const engine::Engine& reference,
                                        std::span<const engine::Engine> others, const Dataset& data,
                                        const RunnerOptions& options) {
  const size_t outputs = reference.model().outputs.size();
  const auto floats = [](const engine::Engine& engine, const engine::Context& context, size_t i) {
    const auto tensor = static_cast<size_t>(engine.model().outputs[i]);
    return output_floats(context.output(static_cast<int>(i)), engine.model().tensors[tensor].quant);
  };
  // One row a sample, added up in order at the end.
  std::vector<std::vector<OutputSums>> rows(static_cast<size_t>(data.size()));
  DatasetRunner runner(reference, data, options);
  std::vector<std::vector<ContextCache>> contexts(static_cast<size_t>(runner.workers()));
  for (auto& of_worker : contexts) of_worker.resize(others.size());
  runner.run([&](int worker, int64_t sample, engine::Context& context, std::span<const Tensor> inputs) {
    context.run(inputs);
    std::vector<std::vector<float>> wanted;
    for (size_t i = 0; i < outputs; ++i) wanted.push_back(floats(reference, context, i));
    for (size_t e = 0; e < others.size(); ++e) {
      const std::vector<Tensor> other_inputs = inputs_for(others[e].model(), reference.model(), inputs);
      engine::Context& other = contexts[static_cast<size_t>(worker)][e].get(others[e], other_inputs);
      other.run(other_inputs);
      OutputSums sums;
      for (size_t i = 0; i < outputs; ++i) {
        const Shape& shape = context.output(static_cast<int>(i)).shape();
        if (const Shape& found = other.output(static_cast<int>(i)).shape(); found != shape)
          fail(ErrorCode::kInternal, "outputs of shapes {} and {}", to_string(shape), to_string(found));
        sums.outputs.push_back(sums_of_parts(output_parts(shape), wanted[i], floats(others[e], other, i)));
      }
      rows[static_cast<size_t>(sample)].push_back(std::move(sums));
    }
  });
  std::vector<OutputSums> totals(others.size());
  for (const auto& row : rows)
    for (size_t e = 0; e < row.size(); ++e) totals[e] += row[e];
  return totals;
}

std::optional<double> output_quality(const OutputSums& sums) {
  double sum = 0, noise = 0;
  int count = 0;
  for (const auto& parts : sums.outputs) {
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
