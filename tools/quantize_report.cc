#include "quantize_report.h"

#include <algorithm>

namespace octet::tools {
namespace {

constexpr size_t kShown = 15;

struct StageGain {
  int layers = 0;
  double gain_db = 0;  // sum over all layers
};
struct StageGains {
  StageGain gptq, refit, adaround, bias;
  int undone = 0;
  int64_t too_wide = 0;
  double layers = 1;
};

StageGains gains_of(const SequentialReport& report) {
  StageGains gains;
  gains.layers = std::max<double>(1, static_cast<double>(report.layers.size()));
  for (const LayerCorrection& l : report.layers) {
    const bool learned = l.rounding.find("adaround") != std::string::npos;
    StageGain& rounding = learned ? gains.adaround : l.rounding == "gptq" ? gains.gptq : gains.refit;
    if (l.rounding != "nearest") {
      ++rounding.layers;
      rounding.gain_db += l.rounded_db - l.before_db;
    }
    gains.bias.layers += l.bias;
    gains.bias.gain_db += l.after_db - l.rounded_db;
    gains.undone += l.undone;
    gains.too_wide += l.too_wide;
  }
  return gains;
}

std::string blocks_text(const BlockReport& report) {
  if (report.samples < kFewestToLearn)
    return fmt::format("  blocks are not learned: that takes {} of one shape\n",
                       plural(kFewestToLearn, "sample"));
  int64_t kept = 0;
  double gain = 0;
  for (const ReconstructedBlock& b : report.blocks)
    if (b.kept) {
      ++kept;
      gain += b.gain.after_db - b.gain.before_db;
    }
  return fmt::format("  learned by blocks: {} of {} ({:+.2f} dB a block)\n", kept,
                     plural(static_cast<int64_t>(report.blocks.size()), "block"),
                     gain / std::max<double>(1, static_cast<double>(report.blocks.size())));
}

Json blocks_json(const BlockReport& report) {
  Json blocks = Json::array();
  for (const ReconstructedBlock& b : report.blocks)
    blocks.push_back({{"layers", b.layers},
                      {"kept", b.kept},
                      {"activations", b.gain.grids},
                      {"before_db", b.gain.before_db},
                      {"after_db", b.gain.after_db},
                      {"changed_weights", b.gain.flipped}});
  return {{"samples", report.samples}, {"left_out", report.left_out}, {"blocks", blocks}};
}

}  // namespace

std::string scales_text(const ChosenParams& scales, bool verbose) {
  if (scales.choices.empty())
    return scales.off.empty() ? "" : fmt::format("one scale per activation tensor: {}\n", scales.off);
  std::string text;
  const auto count = static_cast<int64_t>(scales.choices.size());
  if (scales.taken > 0)
    text = fmt::format("{} with a scale per channel, predicted to gain up to {:.1f} dB at their readers\n",
                       plural(scales.taken, "activation tensor"), scales.choices.front().gain_db);
  else
    text = fmt::format(
        "{} would gain by a scale per channel{}{}: '{}' by {:.1f} dB; 16 bits for them would help as well\n",
        plural(count, "activation tensor"), scales.off.empty() ? "" : ", but ", scales.off,
        scales.choices.front().value, scales.choices.front().gain_db);
  if (!verbose) return text;
  std::vector<std::vector<std::string>> rows;
  for (const ChannelChoice& c : scales.choices)
    rows.push_back({c.value, fmt::format("{:.1f} dB", c.gain_db), fmt::format("alpha {}", c.alpha)});
  return text + columns(rows, 1);
}

Json scales_json(const ChosenParams& scales) {
  Json tensors = Json::array();
  for (const ChannelChoice& c : scales.choices)
    tensors.push_back(
        {{"value", c.value}, {"gain_db", c.gain_db}, {"alpha", c.alpha}, {"per_channel", c.taken}});
  return {{"per_channel", scales.taken}, {"off", scales.off}, {"tensors", tensors}};
}

std::string report_text(const QuantizeReport& report, bool verbose) {
  std::vector<std::vector<std::string>> rows{{"layer, worst first", "operator", "runs as", "SQNR", "cosine"}};
  const size_t shown = verbose ? report.layers.size() : std::min(kShown, report.layers.size());
  for (size_t i = 0; i < shown; ++i) {
    const LayerReport& l = report.layers[i];
    rows.push_back({l.name, l.op, l.precision, l.compared ? db_text(l.sums.sqnr_db()) : "-",
                    l.compared ? fmt::format("{:.5f}", l.sums.cosine()) : "-"});
  }
  std::string text = columns(rows, 3);
  if (shown < report.layers.size())
    text += fmt::format("  ... and {} (--verbose shows all)\n",
                        plural(static_cast<int64_t>(report.layers.size() - shown), "better layer"));
  text += fmt::format("outputs against float, {}:\n", plural(report.samples, "sample"));
  rows.clear();
  for (const LayerComparison& o : report.outputs)
    rows.push_back({o.name, db_text(o.sums.sqnr_db()), fmt::format("cosine {:.5f}", o.sums.cosine())});
  return text + columns(rows, 1);
}

Json layers_json(const QuantizeReport& report) {
  Json list = Json::array();
  for (const LayerReport& l : report.layers) {
    Json entry{{"name", l.name}, {"value", l.value}, {"operator", l.op}, {"precision", l.precision}};
    if (l.compared) {
      entry["sqnr_db"] = db_json(l.sums.sqnr_db());
      entry["cosine"] = l.sums.cosine();
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Json outputs_json(const std::vector<LayerComparison>& outputs) {
  Json object = Json::object();
  for (const LayerComparison& o : outputs)
    object[o.name] = {{"sqnr_db", db_json(o.sums.sqnr_db())}, {"cosine", o.sums.cosine()}};
  return object;
}

std::string corrections_text(const RecipeResult& result) {
  std::string text;
  for (const TriedRecipe& t : result.tried)
    text += fmt::format("  tried: {}: {} on held-back samples{}\n", t.name, db_text(t.sqnr_db),
                        t.taken ? ", taken" : "");
  if (!result.sequential) return text;
  const StageGains g = gains_of(*result.sequential);
  text += fmt::format(
      "corrected over {}: gptq in {} of {} ({:+.2f} dB a layer), refit and gptq in {} ({:+.2f} dB), bias in "
      "{} "
      "({:+.2f} dB); undone where held-back samples became worse: {}\n",
      plural(result.sequential->samples, "sample"), g.gptq.layers,
      plural(static_cast<int64_t>(result.sequential->layers.size()), "layer"), g.gptq.gain_db / g.layers,
      g.refit.layers, g.refit.gain_db / g.layers, g.bias.layers, g.bias.gain_db / g.layers, g.undone);
  if (g.adaround.layers > 0)
    text += fmt::format("  of weights rounded by adaround: {} ({:+.2f} dB)\n",
                        plural(g.adaround.layers, "layer"), g.adaround.gain_db / g.layers);
  if (result.blocks) text += blocks_text(*result.blocks);
  if (g.too_wide > 0) text += fmt::format("  too wide for gptq and refit: {}\n", plural(g.too_wide, "layer"));
  if (result.sequential->left_out > 0)
    text += fmt::format("  not used: {} of rare shapes\n", plural(result.sequential->left_out, "sample"));
  return text;
}

Json corrections_json(const RecipeResult& result) {
  Json json = Json::object();
  if (!result.tried.empty()) {
    json["tried"] = Json::array();
    for (const TriedRecipe& t : result.tried)
      json["tried"].push_back({{"recipe", t.name}, {"sqnr_db", db_json(t.sqnr_db)}, {"taken", t.taken}});
  }
  if (!result.sequential) return json;
  const StageGains g = gains_of(*result.sequential);
  const auto stage = [&](const StageGain& s) {
    return Json{{"layers", s.layers}, {"mean_gain_db", s.gain_db / g.layers}};
  };
  json["samples"] = result.sequential->samples;
  json["shapes"] = result.sequential->shapes;
  json["left_out"] = result.sequential->left_out;
  json["spilled_bytes"] = result.sequential->spilled_bytes;
  json["stages"] = {{"gptq", stage(g.gptq)},
                    {"refit", stage(g.refit)},
                    {"adaround", stage(g.adaround)},
                    {"bias-correction", stage(g.bias)}};
  json["undone"] = g.undone;
  if (result.blocks) json["blocks"] = blocks_json(*result.blocks);
  json["layers"] = Json::array();
  for (const LayerCorrection& l : result.sequential->layers)
    json["layers"].push_back({{"name", l.node},
                              {"rounding", l.rounding},
                              {"bias", l.bias},
                              {"too_wide", l.too_wide},
                              {"undone", l.undone},
                              {"before_db", l.before_db},
                              {"rounded_db", l.rounded_db},
                              {"after_db", l.after_db}});
  return json;
}

std::string float_tensors_text(const FloatTensors& tensors) {
  if (tensors.kept.empty()) return "";
  std::string text =
      fmt::format("{} in float, where 8 bits lose most (activations alone: {} before, {} after):\n",
                  plural(static_cast<int64_t>(tensors.kept.size()), "activation tensor"),
                  db_text(tensors.before_db), db_text(tensors.after_db));
  std::vector<std::vector<std::string>> rows;
  for (const FloatTensor& t : tensors.kept)
    rows.push_back({t.value, fmt::format("read by {}", fmt::join(t.layers, ", ")),
                    fmt::format("+{:.1f} dB", t.gain_db),
                    fmt::format("{:.1f} % of the multiplications", 100 * t.macs)});
  return text + columns(rows, 2);
}

Json float_tensors_json(const FloatTensors& tensors) {
  Json list = Json::array();
  for (const FloatTensor& t : tensors.kept)
    list.push_back({{"value", t.value}, {"layers", t.layers}, {"gain_db", t.gain_db}, {"macs", t.macs}});
  return {
      {"tensors", list}, {"before_db", db_json(tensors.before_db)}, {"after_db", db_json(tensors.after_db)}};
}

}  // namespace octet::tools
