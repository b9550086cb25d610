// trtexec's reports: the sections, field names and JSON keys that scripts look for.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/file.h"
#include "summary.h"
#include "timing.h"
#include "trtexec.h"

namespace octet::tools {
namespace {

void save_json(const Json& json, const std::string& path) {
  const HoldSignals hold;
  AtomicFile file(path);
  file.write(json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  file.commit();
}

// "min = 1 ms, max = ..., percentile(99%) = 2 ms"
std::string statistics(std::vector<double> ms, const std::vector<double>& percentiles) {
  std::sort(ms.begin(), ms.end());
  double sum = 0;
  for (const double t : ms) sum += t;
  std::string text =
      fmt::format("min = {:.6g} ms, max = {:.6g} ms, mean = {:.6g} ms, median = {:.6g} ms", ms.front(),
                  ms.back(), sum / static_cast<double>(ms.size()), quantile(ms, 0.5));
  for (const double p : percentiles)
    text += fmt::format(", percentile({:g}%) = {:.6g} ms", p, quantile(ms, p / 100));
  return text;
}

Json times_json(const std::vector<InferenceTime>& times) {
  Json list = Json::array();
  for (const InferenceTime& t : times) {
    const double ms = t.end_ms - t.start_ms;
    list.push_back({{"startH2dMs", t.start_ms},
                    {"endH2dMs", t.start_ms},
                    {"startComputeMs", t.start_ms},
                    {"endComputeMs", t.end_ms},
                    {"startD2hMs", t.end_ms},
                    {"endD2hMs", t.end_ms},
                    {"h2dMs", 0.0},
                    {"computeMs", ms},
                    {"d2hMs", 0.0},
                    {"latencyMs", ms},
                    {"endToEndMs", ms}});
  }
  return list;
}

// "1x1000" as trtexec writes it; a scalar is empty.
std::string dimensions(const Shape& shape) {
  return shape.empty() ? "" : to_string(shape);
}

std::vector<double> real_values(const Tensor& tensor) {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(tensor.count()));
  if (is_float(tensor.dtype()))
    for (const float x : to_float(tensor)) values.push_back(static_cast<double>(x));
  else
    for (const int64_t x : to_int64(tensor)) values.push_back(static_cast<double>(x));
  return values;
}

struct Difference {
  bool good = false;
  std::string text;
};

Difference compare(const TrtexecOptions& options, const std::vector<double>& found,
                   const std::vector<double>& wanted) {
  double dot = 0, a = 0, b = 0, squares = 0, worst = 0;
  size_t beyond = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = std::fabs(found[i] - wanted[i]);
    dot += found[i] * wanted[i];
    a += found[i] * found[i];
    b += wanted[i] * wanted[i];
    squares += d * d;
    if (!(d <= options.atol + options.rtol * std::fabs(wanted[i])) && found[i] != wanted[i]) ++beyond;
    worst = std::isnan(d) ? d : std::max(worst, d);
  }
  if (options.accuracy == "cos") {
    const double cos = a == 0 && b == 0 ? 1 : dot / std::sqrt(a * b);
    return {cos >= options.threshold,
            fmt::format("cosine {:.6f}, expected {} or more", cos, options.threshold)};
  }
  if (options.accuracy == "l2") {
    const double norm = std::sqrt(squares);
    return {norm <= options.threshold,
            fmt::format("distance {:.6g}, expected {} or less", norm, options.threshold)};
  }
  return {beyond == 0, fmt::format("{} of {} elements beyond atol {} + rtol {}, largest difference {:.6g}",
                                   beyond, found.size(), options.atol, options.rtol, worst)};
}

std::string json_text(const Json& entry, const char* key, const std::string& file) {
  if (!entry.is_object() || !entry.contains(key) || !entry[key].is_string())
    fail(ErrorCode::kBadFile, "{}: expected a list of outputs with name, dimensions and values", file);
  return entry[key].get<std::string>();
}

}  // namespace

void report_times(const TrtexecOptions& options, std::vector<InferenceTime> times) {
  const double wall = times.back().end_ms / 1e3;
  std::vector<double> latency, nothing(times.size(), 0);
  double total = 0;
  for (const InferenceTime& t : times) {
    latency.push_back(t.end_ms - t.start_ms);
    total += latency.back() / 1e3;
  }
  trtexec_log("");
  trtexec_log("=== Trace details ===");
  trtexec_log(fmt::format("Trace averages of {} runs:", options.average));
  const auto group = static_cast<size_t>(options.average);
  for (size_t at = 0; at + group <= latency.size() && at / group < 1000; at += group) {
    double sum = 0;
    for (size_t i = at; i < at + group; ++i) sum += latency[i];
    const double mean = sum / static_cast<double>(group);
    trtexec_log(
        fmt::format("Average on {} runs - GPU latency: {:.6g} ms - Host latency: {:.6g} ms (enqueue 0 ms)",
                    group, mean, mean));
  }
  const auto line = [&](const char* name, const std::vector<double>& ms) {
    trtexec_log(fmt::format("{}: {}", name, statistics(ms, options.percentiles)));
  };
  trtexec_log("");
  trtexec_log("=== Performance summary ===");
  trtexec_log(fmt::format("Throughput: {:.6g} qps", static_cast<double>(times.size()) / wall));
  line("Latency", latency);
  line("Enqueue Time", nothing);
  line("H2D Latency", nothing);
  line("GPU Compute Time", latency);
  line("D2H Latency", nothing);
  trtexec_log(fmt::format("Total Host Walltime: {:.6g} s", wall));
  trtexec_log(fmt::format("Total GPU Compute Time: {:.6g} s", total));
  trtexec_log("Explanations of the performance metrics are printed in the verbose logs.");
  if (options.verbose)
    trtexec_log(
        "GPU Compute Time: the CPU's, from the call to its end. Latency: the same, since nothing is copied. "
        "Throughput: inferences of all streams by Total Host Walltime.");
  trtexec_log("");
  if (!options.export_times.empty()) save_json(times_json(times), options.export_times);
}

void report_profile(const TrtexecOptions& options, const std::vector<LayerTime>& layers, int64_t runs) {
  double total = 0, median = 0;
  for (const LayerTime& l : layers) {
    total += l.total_ms;
    median += l.median_ms;
  }
  const double count = std::max<double>(1, static_cast<double>(runs));
  const auto percent = [&](double ms) { return total > 0 ? 100 * ms / total : 0; };
  if (options.dump_profile) {
    trtexec_log("");
    trtexec_log(fmt::format("=== Profile ({} iterations ) ===", runs));
    trtexec_log("   Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer");
    const auto row = [&](double ms, double middle, const std::string& name) {
      trtexec_log(fmt::format("{:11.2f}  {:11.4f}  {:11.4f}   {:7.1f}   {}", ms, ms / count, middle,
                              percent(ms), name));
    };
    for (const LayerTime& l : layers) row(l.total_ms, l.median_ms, l.name);
    row(total, median, "Total");
    trtexec_log("");
  }
  if (options.export_profile.empty()) return;
  Json list = Json::array({Json{{"count", runs}}});
  for (const LayerTime& l : layers)
    list.push_back({{"name", l.name},
                    {"timeMs", l.total_ms},
                    {"averageMs", l.total_ms / count},
                    {"medianMs", l.median_ms},
                    {"percentage", percent(l.total_ms)}});
  save_json(list, options.export_profile);
}

void report_layers(const TrtexecOptions& options, const engine::Model& model,
                   const std::vector<std::string>& kernels) {
  const auto tensors = [&](const std::vector<int32_t>& indices) {
    Json list = Json::array();
    for (const int32_t t : indices) {
      if (t < 0) continue;
      const engine::TensorDef& def = model.tensors[static_cast<size_t>(t)];
      list.push_back({{"Name", def.name},
                      {"Location", "Host"},
                      {"Dimensions", shape_text(def.shape)},
                      {"Format/Datatype", std::string(dtype_name(def.dtype))}});
    }
    return list;
  };
  Json json{{"Layers", Json::array()}, {"Bindings", Json::array()}};
  for (size_t i = 0; i < model.steps.size(); ++i) {
    const engine::StepDef& s = model.steps[i];
    if (!options.profile_detailed) {
      json["Layers"].push_back(s.name);
      continue;
    }
    json["Layers"].push_back({{"Name", s.name},
                              {"LayerType", step_kind(s)},
                              {"Inputs", tensors(s.inputs)},
                              {"Outputs", tensors(s.outputs)},
                              {"TacticName", kernels[i]},
                              {"Precision", s.precision},
                              {"Metadata", s.nodes}});
  }
  for (const auto* list : {&model.inputs, &model.outputs})
    for (const int32_t t : *list) json["Bindings"].push_back(model.tensors[static_cast<size_t>(t)].name);
  if (!options.export_layers.empty()) save_json(json, options.export_layers);
  if (!options.dump_layers) return;
  trtexec_log("Layer Information:");
  trtexec_log("Layers:");
  for (const Json& layer : json["Layers"])
    print((layer.is_string() ? layer.get<std::string>()
                             : layer.dump(-1, ' ', false, Json::error_handler_t::replace)) +
          "\n");
  trtexec_log("Bindings:");
  for (const Json& name : json["Bindings"]) print(name.get<std::string>() + "\n");
}

void report_outputs(const TrtexecOptions& options, const engine::Model& model,
                    const std::vector<Tensor>& outputs) {
  Json list = Json::array();
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = model.tensors[static_cast<size_t>(model.outputs[i])].name;
    const std::vector<double> values = real_values(outputs[i]);
    if (options.dump_output) {
      trtexec_log("Output Tensors:");
      std::string text;
      for (const double x : values) text += fmt::format(" {:.6g}", x);
      trtexec_log(fmt::format("{}: ({}){}", name, dimensions(outputs[i].shape()), text));
    }
    if (!options.export_output.empty())
      list.push_back({{"name", name}, {"dimensions", dimensions(outputs[i].shape())}, {"values", values}});
  }
  if (!options.export_output.empty()) save_json(list, options.export_output);
}

void check_outputs(const TrtexecOptions& options, const engine::Model& model,
                   const std::vector<Tensor>& outputs) {
  if (options.ref_outputs.empty()) return;
  constexpr int64_t kLargest = int64_t{1} << 30;
  const std::string& file = options.ref_outputs;
  const Json json = Json::parse(read_text(file, kLargest), nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) fail(ErrorCode::kBadFile, "{}: no JSON as --exportOutput writes it", file);
  std::string wrong;
  for (const Json& entry : json) {
    const std::string name = json_text(entry, "name", file), shape = json_text(entry, "dimensions", file);
    size_t i = 0;
    while (i < outputs.size() && model.tensors[static_cast<size_t>(model.outputs[i])].name != name) ++i;
    if (i == outputs.size())
      fail(ErrorCode::kInvalidArgument, "{}: the model has no output '{}'", file, name);
    std::vector<double> wanted;
    const auto values = entry.find("values");
    if (values == entry.end() || !values->is_array())
      fail(ErrorCode::kBadFile, "{}: the output '{}' has no list of values", file, name);
    for (const Json& x : *values)  // null stands for NaN
      wanted.push_back(x.is_number() ? x.get<double>() : std::numeric_limits<double>::quiet_NaN());
    const std::vector<double> found = real_values(outputs[i]);
    if (found.size() != wanted.size() || shape != dimensions(outputs[i].shape()))
      fail(ErrorCode::kInvalidArgument, "{}: the output '{}' is {} with {} values, here it is {}", file, name,
           shape, wanted.size(), dimensions(outputs[i].shape()));
    const Difference difference = compare(options, found, wanted);
    trtexec_log(fmt::format("Output {}: {}", name, difference.text));
    if (!difference.good && wrong.empty()) wrong = fmt::format("'{}': {}", name, difference.text);
  }
  if (!wrong.empty()) fail(ErrorCode::kInvalidArgument, "the outputs are not those of {}: {}", file, wrong);
}

}  // namespace octet::tools
