#include "report/compare.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "calibrate/image_input.h"

namespace octet {
namespace {

// Values that both engines make, with the tensors that hold them.
struct SharedValues {
  std::vector<std::string> names;
  std::vector<std::string> precision;          // in the second engine
  std::map<int32_t, size_t> reference, other;  // tensor to index into names
};

std::map<std::string, int32_t> variables(const engine::Model& model) {
  std::map<std::string, int32_t> found;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const engine::TensorDef& def = model.tensors[t];
    const bool real =
        def.dtype == DType::kFloat32 || (dtype_bits(def.dtype) == 8 && !def.quant.scale.empty());
    if (def.storage != engine::Storage::kConstant && def.storage != engine::Storage::kInput && real)
      found.try_emplace(def.name, static_cast<int32_t>(t));
  }
  return found;
}

SharedValues shared_values(const engine::Model& reference, const engine::Model& other) {
  const auto a = variables(reference), b = variables(other);
  std::map<int32_t, std::string> precision;
  for (const engine::StepDef& step : other.steps)
    for (int32_t t : step.outputs) precision.try_emplace(t, step.precision);
  std::set<int32_t> observed;  // by a step of the reference
  for (const engine::StepDef& step : reference.steps)
    observed.insert(step.outputs.begin(), step.outputs.end());
  SharedValues shared;
  for (const auto& [name, t] : a) {
    const auto found = b.find(name);
    if (found == b.end() || !observed.count(t) || !precision.count(found->second)) continue;
    shared.reference[t] = shared.names.size();
    shared.other[found->second] = shared.names.size();
    shared.names.push_back(name);
    shared.precision.push_back(precision[found->second]);
  }
  return shared;
}

void check_outputs(const engine::Model& a, const engine::Model& b) {
  if (a.outputs.size() != b.outputs.size())
    fail(ErrorCode::kInvalidArgument, "the models have {} and {} outputs: they are not the same network",
         a.outputs.size(), b.outputs.size());
}

}  // namespace

Comparison compare_engines(const engine::Engine& reference, const engine::Engine& other, const Dataset& data,
                           const RunnerOptions& options) {
  check_outputs(reference.model(), other.model());
  const SharedValues shared = shared_values(reference.model(), other.model());
  const size_t outputs = reference.model().outputs.size();
  // One row a sample, added up in order at the end.
  std::vector<std::vector<PairSums>> rows(data.size());
  DatasetRunner runner(reference, data, options);
  std::vector<ContextCache> contexts(runner.workers());  // of the second engine

  Comparison result;
  result.skipped =
      runner.run([&](int worker, int64_t sample, engine::Context& context, std::span<const Tensor> inputs) {
        const std::vector<Tensor> other_inputs = inputs_for(other.model(), reference.model(), inputs);
        engine::Context& other_context = contexts[worker].get(other, other_inputs);
        std::vector<std::vector<float>> values(shared.names.size());
        std::vector<PairSums> row(shared.names.size() + outputs);
        context.run(inputs, [&](const engine::Observation& o) {
          if (const auto found = shared.reference.find(o.tensor); found != shared.reference.end())
            values[found->second] = plain_floats(o);
        });
        other_context.run(other_inputs, [&](const engine::Observation& o) {
          const auto found = shared.other.find(o.tensor);
          if (found == shared.other.end() || row[found->second].count > 0) return;
          const std::vector<float> theirs = plain_floats(o);
          if (theirs.size() == values[found->second].size())
            row[found->second] = compare_values(values[found->second], theirs);
          values[found->second] = {};
        });
        for (size_t i = 0; i < outputs; ++i) {
          const engine::TensorDef &a = reference.model().tensors[reference.model().outputs[i]],
                                  &b = other.model().tensors[other.model().outputs[i]];
          if (context.output(i).shape() != other_context.output(i).shape())
            fail(ErrorCode::kInvalidArgument, "output '{}' has shape {} in one model and {} in the other",
                 a.name, to_string(context.output(i).shape()), to_string(other_context.output(i).shape()));
          row[shared.names.size() + i] = compare_values(output_floats(context.output(i), a.quant),
                                                        output_floats(other_context.output(i), b.quant));
        }
        rows[sample] = std::move(row);
      });

  for (size_t i = 0; i < shared.names.size(); ++i)
    result.layers.push_back({shared.names[i], {}, shared.precision[i]});
  for (int32_t t : reference.model().outputs)
    result.outputs.push_back({reference.model().tensors[t].name, {}, ""});
  for (const auto& row : rows) {
    if (row.empty()) continue;
    ++result.samples;
    for (size_t i = 0; i < row.size(); ++i) {
      LayerComparison& layer =
          i < shared.names.size() ? result.layers[i] : result.outputs[i - shared.names.size()];
      layer.sums += row[i];
    }
  }
  const auto quality = [](const LayerComparison& l) { return l.sums.sqnr_db().value_or(1e9); };
  std::stable_sort(
      result.layers.begin(), result.layers.end(),
      [&](const LayerComparison& a, const LayerComparison& b) { return quality(a) < quality(b); });
  return result;
}

}  // namespace octet
