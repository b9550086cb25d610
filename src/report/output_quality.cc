#include "report/output_quality.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibrate/image_input.h"
#include "report/metrics.h"

namespace octet {
namespace {

constexpr int64_t kPlacesEach = 8;
constexpr double kWorst = -10, kBest = 80;  // decibels
constexpr double kSumOfRow = 1e-3;          // of probabilities, from 1

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

std::optional<double> row_db(const LostInformation& row) {
  const double db = row.lost > 0 ? 10 * std::log10(row.information / row.lost) : kBest;
  return std::clamp(db, kWorst, kBest);
}

double half_a_step(const QuantParams& quant) {
  return quant.scale.empty() ? 0 : quant.scale[0] / 2.0;
}

// One row: no other dimension than that of the classes.
bool one_row(const Shape& shape) {
  int64_t wide = 0;
  for (const int64_t d : shape) wide += d != 1;
  return wide == 1;
}

}  // namespace

LostInformation& LostInformation::operator+=(const LostInformation& more) {
  all = all && more.all;
  information += more.information;
  lost += more.lost;
  return *this;
}

LostInformation lost_information(std::span<const float> reference, std::span<const float> other,
                                 double floor) {
  const auto sum_of = [](std::span<const float> row) {
    double sum = 0;
    for (const float p : row) {
      if (!(p >= 0)) return -1.0;
      sum += p;
    }
    return sum;
  };
  constexpr double kNone = 1e-9;
  floor = std::max(floor, kNone);
  const auto count = static_cast<double>(reference.size());
  // What is 8-bit has sums of its own.
  if (reference.size() < 2 || !(std::abs(sum_of(reference) - 1) <= kSumOfRow) || !(sum_of(other) >= 0))
    return {false, 0, 0};
  double p_sum = 0, q_sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    p_sum += std::max<double>(reference[i], floor);
    q_sum += std::max<double>(other[i], floor);
  }
  LostInformation result;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double p = std::max<double>(reference[i], floor) / p_sum,
                 q = std::max<double>(other[i], floor) / q_sum;
    result.information += p * std::log(p * count);
    result.lost += p * std::log(p / q);
  }
  result.lost = std::max(0.0, result.lost);
  return result;
}

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
  if (rows.size() < more.rows.size()) rows.resize(more.rows.size());
  for (size_t i = 0; i < more.rows.size(); ++i) rows[i] += more.rows[i];
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
        const std::vector<float> found = floats(others[e], other, i);
        sums.outputs.push_back(sums_of_parts(output_parts(shape), wanted[i], found));
        const auto tensor = static_cast<size_t>(others[e].model().outputs[i]);
        sums.rows.push_back(
            one_row(shape)
                ? lost_information(wanted[i], found, half_a_step(others[e].model().tensors[tensor].quant))
                : LostInformation{false, 0, 0});
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
  for (size_t i = 0; i < sums.outputs.size(); ++i) {
    const auto& parts = sums.outputs[i];
    for (const PairSums& p : parts) noise += p.noise + static_cast<double>(p.not_finite);
    const bool row = i < sums.rows.size() && sums.rows[i].all && sums.rows[i].information > 0;
    if (const auto db = row ? row_db(sums.rows[i]) : mean_db(parts)) {
      sum += *db;
      ++count;
    }
  }
  if (count == 0 || !(noise > 0)) return {};
  return sum / count;
}

}  // namespace octet
