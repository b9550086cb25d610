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

Json profiles_json(const engine::Model& model) {
  Json list = Json::array();
  for (const engine::Profile& profile : model.profiles) {
    Json entry = Json::object();
    for (size_t i = 0; i < profile.size(); ++i)
      entry[model.symbols[i].name] = {
          {"minimum", profile[i].minimum}, {"optimum", profile[i].optimum}, {"maximum", profile[i].maximum}};
    list.push_back(std::move(entry));
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
  // Kernels and memory are those of the optimum; where nobody chose it, it may be a shape that does not run.
  std::vector<std::string> kernels(model.steps.size());
  int64_t memory = 0;
  std::string problem;
  try {
    const engine::Context context(engine, options);
    kernels = context.step_kernels();
    memory = context.memory_bytes();
  } catch (const Error& e) {
    if (model.symbols.empty() || !model.profiles.empty()) throw;
    problem = e.message();
  }
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
                 {"deterministic", model.deterministic},
                 {"memory_bytes", memory}};
  if (!problem.empty()) result.json["problem"] = problem;
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
  result.json["profiles"] = profiles_json(model);
  for (size_t p = 0; p < model.profiles.size(); ++p)
    for (size_t i = 0; i < model.inputs.size(); ++i)
      rows.push_back({fmt::format("profile {}", p + 1),
                      model.tensors[model.inputs[i]].name + "  " + engine::profile_texts(model, i)[p]});
  for (const engine::Equality& e : model.equalities) {
    result.json["equalities"].push_back({{"a", e.a.text()}, {"b", e.b.text()}, {"node", e.node}});
    rows.push_back({"needs", fmt::format("{} = {} ({})", e.a.text(), e.b.text(), e.node)});
  }
  for (const auto& [key, value] : model.metadata) rows.push_back({key, value});
  if (model.deterministic) rows.push_back({"deterministic", "float steps give the same bits on every CPU"});
  rows.push_back({"memory", problem.empty() ? fmt::format("{} on {}, one thread", size_text(memory),
                                                          isa_name(options.isa))
                                            : "unknown: " + problem});
  result.text = columns(rows, 2, 0) + summary_text(summary) + "steps:\n" + steps_text(model, kernels);
  return result;
}

}  // namespace octet::tools
