// `octet trtexec`: what scripts written for TensorRT's command of that name ask for, done by Octet.
//
// Flags and their meaning: NVIDIA, "TensorRT Developer Guide", trtexec, and its --help (8.x to 11.x).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common.h"
#include "shapes.h"

namespace octet::tools {

struct TrtexecOptions {
  std::string line;  // as the user wrote it
  bool help = false, verbose = false;

  // Model and build.
  std::string onnx, save_engine, load_engine, calib;
  std::optional<std::string> preprocess;
  bool int8 = false, fp16 = false, bf16 = false, best = false, build_only = false;
  ProfileArguments shapes, calib_shapes;  // `shapes` also holds --shapes, as an optimum alone
  std::string run_shapes;                 // --shapes
  size_t calib_profile = 0;
  std::string input_formats, output_formats;
  std::string precision_constraints = "none", layer_precisions;
  bool profile_detailed = true;

  // Inference.
  std::string load_inputs, ref_outputs, accuracy = "elementwise";
  double threshold = 0.99, atol = 1e-3, rtol = 1e-3;
  int64_t iterations = 10, average = 10, streams = 1;
  double warm_up_ms = 200, duration_s = 3;
  std::vector<double> percentiles{90, 95, 99};

  // Reports.
  bool dump_profile = false, dump_layers = false, dump_output = false;
  std::string export_times, export_profile, export_layers, export_output;

  std::vector<std::string> ignored;  // flags that mean nothing here
  std::vector<std::string> notes;    // about flags that are accepted and change nothing
};

// Throws UsageError that names the flag, and for an unknown one the nearest that there is.
TrtexecOptions parse_trtexec(const std::vector<std::string>& words);
std::string trtexec_help();

// One line of trtexec's log: "[11/22/2026-06:54:34] [I] text".
void trtexec_log(const std::string& text);

// From a model to an engine, as the options say.
engine::Model build_for_trtexec(const TrtexecOptions& options);
// "fp32:chw,int8:hwc": types and layouts of the graph's inputs or outputs, in order. Throws UsageError.
void apply_io_formats(Graph& graph, const std::string& formats, bool inputs);

// Runs, times and reports. Throws Error when the outputs are not those of --loadRefOutputs.
void run_inference(const TrtexecOptions& options, const engine::Engine& engine);

// Inference by inference, milliseconds from the first on.
struct InferenceTime {
  double start_ms = 0, end_ms = 0;
};
struct LayerTime {
  std::string name;
  double total_ms = 0, median_ms = 0;
};
void report_times(const TrtexecOptions& options, std::vector<InferenceTime> times);
void report_profile(const TrtexecOptions& options, const std::vector<LayerTime>& layers, int64_t runs);
void report_layers(const TrtexecOptions& options, const engine::Model& model,
                   const std::vector<std::string>& kernels);
void report_outputs(const TrtexecOptions& options, const engine::Model& model,
                    const std::vector<Tensor>& outputs);
void check_outputs(const TrtexecOptions& options, const engine::Model& model,
                   const std::vector<Tensor>& outputs);

}  // namespace octet::tools
