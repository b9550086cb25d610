#include "engine/engine.h"
#include "inspect_files.h"
#include "summary.h"

namespace octet::tools {
namespace {

Json tensors_json(const engine::Model& model, const std::vector<int32_t>& tensors) {
  Json list = Json::array();
  for (int32_t t : tensors) {
    const engine::TensorDef& def = model.tensors[t];
    Json entry{{"name", def.name}, {"shape", shape_text(def.shape)}, {"dtype", dtype_name(def.dtype)}};
    if (!def.quant.scale.empty()) {
      entry["scale"] = def.quant.scale;
      entry["zero_point"] = def.quant.zero_point;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json steps_json(const engine::Model& model, const std::vector<std::string>& kernels) {
  Json list = Json::array();
  for (size_t i = 0; i < model.steps.size(); ++i) {
    const engine::StepDef& s = model.steps[i];
    list.push_back({{"name", s.name},
                    {"kind", step_kind(s)},
                    {"kernel", kernels[i]},
                    {"precision", s.precision},
                    {"reason", s.reason},
                    {"nodes", s.nodes}});
  }
  return list;
}

std::string steps_text(const engine::Model& model, const std::vector<std::string>& kernels) {
  std::vector<std::vector<std::string>> rows{
      {"step", "kind", "kernel", "precision", "output", "why not int8"}};
  for (size_t i = 0; i < model.steps.size(); ++i) {
    const engine::StepDef& s = model.steps[i];
    const bool has_output = !s.outputs.empty() && s.outputs[0] >= 0;
    rows.push_back({s.name, step_kind(s), kernels[i], s.precision,
                    has_output ? shape_text(model.tensors[s.outputs[0]].shape) : "", s.reason});
  }
  return columns(rows, 6);
}

}  // namespace

Inspection inspect_engine(const std::filesystem::path& path) {
  const engine::Engine engine = engine::Engine::load(path);
  const engine::Model& model = engine.model();
  const engine::ContextOptions options = engine::default_options();
  const engine::Context context(engine, options);
  const std::vector<std::string> kernels = context.step_kernels();
  const EngineSummary summary = summarize(model);

  Inspection result;
  result.json = {{"kind", "engine"},
                 {"producer", model.producer},
                 {"bytes", std::filesystem::file_size(path)},
                 {"inputs", tensors_json(model, model.inputs)},
                 {"outputs", tensors_json(model, model.outputs)},
                 {"dimensions", Json::array()},
                 {"metadata", model.metadata},
                 {"isa", isa_name(options.isa)},
                 {"memory_bytes", context.memory_bytes()}};
  result.json["summary"] = summary_json(summary);
  result.json["steps"] = steps_json(model, kernels);

  std::vector<std::vector<std::string>> rows{
      {"engine", fmt::format("{} ({})", path.string(),
                             size_text(static_cast<int64_t>(std::filesystem::file_size(path))))},
      {"producer", model.producer}};
  for (int32_t t : model.inputs)
    rows.push_back({"input", model.tensors[t].name + "  " + tensor_text(model.tensors[t])});
  for (int32_t t : model.outputs)
    rows.push_back({"output", model.tensors[t].name + "  " + tensor_text(model.tensors[t])});
  for (const engine::Symbol& s : model.symbols) {
    if (s.at_run) continue;
    result.json["dimensions"].push_back(
        {{"name", s.name}, {"minimum", s.minimum}, {"optimum", s.optimum}, {"maximum", s.maximum}});
    rows.push_back(
        {"dimension", fmt::format("{}: {} to {}, best for {}", s.name, s.minimum, s.maximum, s.optimum)});
  }
  for (const auto& [key, value] : model.metadata) rows.push_back({key, value});
  rows.push_back({"memory", fmt::format("{} on {}, one thread", size_text(context.memory_bytes()),
                                        isa_name(options.isa))});
  result.text = columns(rows, 2, 0) + summary_text(summary) + "steps:\n" + steps_text(model, kernels);
  return result;
}

}  // namespace octet::tools
