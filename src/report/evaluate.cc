#include "report/evaluate.h"

#include <algorithm>

#include "calibrate/image_input.h"

namespace octet {
namespace {

// What one sample contributes.
struct Row {
  bool seen = false;
  bool first = false, five = false, agrees = false;
  std::vector<PairSums> outputs;
};

}  // namespace

PairSums Evaluation::all() const {
  PairSums sums;
  for (const PairSums& s : outputs) sums += s;
  return sums;
}

Evaluation evaluate_engine(const engine::Engine& engine, const engine::Engine* reference, const Dataset& data,
                           const std::vector<int64_t>& labels, int64_t class_offset,
                           const RunnerOptions& options) {
  const engine::Model& model = engine.model();
  if (reference && reference->model().outputs.size() != model.outputs.size())
    fail(ErrorCode::kInvalidArgument,
         "the model has {} outputs and the reference {}: they are not the same network", model.outputs.size(),
         reference->model().outputs.size());
  std::vector<Row> rows(data.size());
  DatasetRunner runner(engine, data, options);
  std::vector<ContextCache> contexts(runner.workers());  // of the reference

  Evaluation result;
  result.skipped = runner.run([&](int worker, int64_t sample, engine::Context& context,
                                  std::span<const Tensor> inputs) {
    Row& row = rows[sample];
    row.seen = true;
    context.run(inputs);
    const std::vector<float> scores = output_floats(context.output(0), model.tensors[model.outputs[0]].quant);
    // A model of a fixed batch repeats the sample.
    const Shape& shape = context.output(0).shape();
    const bool batch =
        !inputs.empty() && shape.size() > 1 && shape[0] > 1 && shape[0] == inputs[0].shape()[0];
    const auto classes = static_cast<int64_t>(scores.size()) / (batch ? shape[0] : 1);
    const std::vector<int64_t> best = top_indices(std::span(scores).first(classes), 5);
    if (!labels.empty() && labels[sample] >= 0) {
      const int64_t index = labels[sample] + class_offset;
      if (index < 0 || index >= classes)
        fail(ErrorCode::kInvalidArgument,
             "class {} with offset {} is not among the {} values of output '{}': check --labels and "
             "--class-offset",
             labels[sample], class_offset, classes, model.tensors[model.outputs[0]].name);
      row.first = !best.empty() && best[0] == index;
      row.five = std::find(best.begin(), best.end(), index) != best.end();
    }
    if (!reference) return;
    const std::vector<Tensor> theirs_in = inputs_for(reference->model(), model, inputs);
    engine::Context& expected = contexts[worker].get(*reference, theirs_in);
    expected.run(theirs_in);
    for (size_t i = 0; i < model.outputs.size(); ++i) {
      const auto theirs =
          output_floats(expected.output(i), reference->model().tensors[reference->model().outputs[i]].quant);
      const auto ours =
          i == 0 ? scores : output_floats(context.output(i), model.tensors[model.outputs[i]].quant);
      if (theirs.size() != ours.size())
        fail(ErrorCode::kInvalidArgument, "output '{}' has {} values, the reference's {}",
             model.tensors[model.outputs[i]].name, ours.size(), theirs.size());
      row.outputs.push_back(compare_values(theirs, ours));
      if (i == 0)
        row.agrees = !best.empty() && top_indices(std::span(theirs).first(classes), 1)[0] == best[0];
    }
  });

  int64_t labelled = 0, first = 0, five = 0, agree = 0;
  for (int32_t t : model.outputs) result.names.push_back(model.tensors[t].name);
  if (reference) {
    result.outputs.resize(model.outputs.size());
    result.cosine.resize(model.outputs.size());
  }
  for (size_t s = 0; s < rows.size(); ++s) {
    const Row& row = rows[s];
    if (!row.seen) continue;
    ++result.images;
    if (!labels.empty() && labels[s] >= 0) {
      ++labelled;
      first += row.first;
      five += row.five;
    }
    agree += row.agrees;
    for (size_t i = 0; i < row.outputs.size(); ++i) {
      result.outputs[i] += row.outputs[i];
      result.cosine[i] += row.outputs[i].cosine();
    }
  }
  if (result.images == 0)
    fail(ErrorCode::kInvalidArgument, "none of the {} samples could be read: {}", data.size(),
         result.skipped.front().reason);
  const auto percent = [](int64_t part, int64_t whole) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  if (labelled > 0) {
    result.top1 = percent(first, labelled);
    result.top5 = percent(five, labelled);
  }
  if (reference) result.agreement = percent(agree, result.images);
  for (double& c : result.cosine) c /= static_cast<double>(result.images);
  return result;
}

}  // namespace octet
