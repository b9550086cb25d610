// octet run: arrays in and out, or a whole folder.
#include <CLI/CLI.hpp>
#include <set>

#include "arguments.h"
#include "base/file.h"
#include "command.h"
#include "common.h"
#include "output_arrays.h"
#include "tensor/half.h"
#include "tensor/npy.h"

namespace octet::tools {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  CommonArguments common;
  DataArguments data;
  std::string engine, output;
  std::vector<std::string> inputs;
};

struct Result {
  std::vector<Tensor> arrays;                     // in the model's order, when mixed for each sample
  std::vector<std::string> files;                 // of the arrays
  std::optional<std::vector<std::string>> index;  // with --data a line per row, when mixed per sample
  bool mixed = false;                             // the samples' outputs differ in shape
  std::vector<SkippedSample> skipped;
  int64_t samples = 1;
};

// Fails early where the folder cannot be made or written. Leaves it as it was.
void check_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error))
    fail(ErrorCode::kIo, "cannot write to '{}': it is no folder", folder.string());
  fs::path existing = fs::absolute(folder, error);
  while (!existing.empty() && !fs::is_directory(existing, error) && existing != existing.parent_path())
    existing = existing.parent_path();
  const HoldSignals hold;
  const AtomicFile probe(existing / "octet-run");
}

void check_input_name(const engine::Model& model, const std::string& name) {
  std::string names;
  for (int32_t t : model.inputs) {
    if (model.tensors[t].name == name) return;
    names += fmt::format("{}'{}'", names.empty() ? "" : ", ", model.tensors[t].name);
  }
  fail(ErrorCode::kInvalidArgument, "--input: the model has no input '{}', only {}", name, names);
}

// numpy has no bfloat16, so such an input may come as its bits.
Tensor as_bfloat16(const Tensor& array) {
  if (array.dtype() == DType::kUInt16)
    return Tensor::view(DType::kBFloat16, array.shape(), array.raw(), std::make_shared<Tensor>(array));
  return array;
}

std::map<std::string, Tensor> read_inputs(const Arguments& arguments, const engine::Model& model) {
  std::map<std::string, Tensor> named;
  for (size_t i = 0; i < arguments.inputs.size(); ++i) {
    const std::string& text = arguments.inputs[i];
    std::string name, file = text;
    if (text.find('=') != std::string::npos && !fs::exists(text)) {
      std::tie(name, file) = split_assignment(text, "--input");
      if (!name.empty()) check_input_name(model, name);
    } else if (i < model.inputs.size()) {
      name = model.tensors[model.inputs[i]].name;
    } else {
      throw UsageError(fmt::format("--input: {} arrays, but the model has {} input(s)",
                                   arguments.inputs.size(), model.inputs.size()));
    }
    Tensor array = read_npy(file);
    for (int32_t t : model.inputs)
      if (model.tensors[t].name == name && model.tensors[t].dtype == DType::kBFloat16)
        array = as_bfloat16(array);
    if (!named.emplace(name, std::move(array)).second)
      throw UsageError(fmt::format("--input: '{}' is given twice", name));
  }
  return named;
}

Result run_once(const Arguments& arguments, const engine::Engine& engine) {
  const std::vector<Tensor> inputs = order_inputs(engine.model(), read_inputs(arguments, engine.model()));
  ThreadPool pool(arguments.common.threads);
  engine::ContextOptions options = engine::default_options();
  options.pool = &pool;
  options.shapes = shapes_for(engine.model(), inputs);
  engine::Context context(engine, options);
  context.run(inputs);
  Result result;
  for (size_t i = 0; i < engine.model().outputs.size(); ++i)
    result.arrays.push_back(context.output(i).clone());
  return result;
}

Result run_data(const Arguments& arguments, const engine::Engine& engine) {
  const auto preprocess = arguments.data.choose_preprocess({&engine.model().metadata},
                                                           only_input(engine.model()), terminal_log());
  const auto data = arguments.data.open(preprocess);
  const auto progress = terminal_progress(true);
  DatasetRunner runner(engine, *data, arguments.common.runner(*progress, "running"));
  OutputArrays outputs(engine.model(), data->size());
  Result result;
  result.skipped =
      runner.run([&](int, int64_t sample, engine::Context& context, std::span<const Tensor> inputs) {
        context.run(inputs);
        outputs.store(sample, context);
      });
  outputs.close(result.skipped);
  result.arrays = outputs.arrays();
  result.samples = static_cast<int64_t>(outputs.stored().size());
  result.mixed = outputs.mixed();
  result.index.emplace();
  for (const int64_t i : outputs.stored())
    for (int64_t row = 0; row < outputs.rows_per_sample(); ++row) result.index->push_back(data->name(i));
  return result;
}

// A file name without its end for each output, made safe and different from the others.
std::vector<std::string> file_names(const engine::Model& model) {
  std::vector<std::string> names;
  std::set<std::string> taken;
  for (int32_t t : model.outputs) {
    const std::string safe = safe_file_name(model.tensors[t].name);
    std::string name = safe;
    for (int i = 2; !taken.insert(name).second; ++i) name = fmt::format("{}_{}", safe, i);
    names.push_back(name);
  }
  return names;
}

// Names the arrays' files; when mixed by the number of the line in index.txt as well.
void name_files(const engine::Model& model, Result& result) {
  const std::vector<std::string> stems = file_names(model);
  for (size_t i = 0; i < result.arrays.size(); ++i) {
    const std::string& stem = stems[i % stems.size()];
    result.files.push_back(result.mixed ? fmt::format("{}.{:06}.npy", stem, i / stems.size())
                                        : stem + ".npy");
  }
}

void write(const fs::path& folder, const Result& result) {
  const HoldSignals hold;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorCode::kIo, "cannot make the folder '{}': {}", folder.string(), error.message());
  for (size_t i = 0; i < result.files.size(); ++i) write_npy(folder / result.files[i], result.arrays[i]);
  if (!result.index) return;
  AtomicFile index(folder / "index.txt");
  std::string text;
  for (const std::string& line : *result.index) text += line + "\n";
  index.write(text);
  index.commit();
}

void report(const Arguments& arguments, const engine::Model& model, const Result& result) {
  const std::string hash = hash_text(arrays_hash(result.arrays));
  const size_t outputs = model.outputs.size();
  const auto path = [&](size_t i) { return (fs::path(arguments.output) / result.files[i]).string(); };
  if (arguments.common.json) {
    Json json{{"samples", result.samples}, {"skipped", result.skipped.size()}, {"hash", hash}};
    for (size_t i = 0; i < result.arrays.size(); ++i) {
      const Tensor& array = result.arrays[i];
      Json one{{"shape", array.shape()}, {"dtype", dtype_name(array.dtype())}, {"file", path(i)}};
      Json& place = json["outputs"][model.tensors[model.outputs[i % outputs]].name];
      if (result.mixed)
        place.push_back(std::move(one));
      else
        place = std::move(one);
    }
    print_json(json);
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < outputs; ++i)
    rows.push_back({model.tensors[model.outputs[i]].name,
                    result.mixed ? "mixed shapes" : to_string(result.arrays[i].shape()),
                    std::string(dtype_name(result.arrays[i].dtype())),
                    result.mixed ? path(i) + " ..." : path(i)});
  print(columns(rows, 4, 0));
  if (result.mixed)
    print(fmt::format("the outputs' shapes differ: a file for each of {}, in the order of index.txt\n",
                      plural(result.samples, "sample")));
  print(fmt::format("hash {}\n", hash));
}

void run(const Arguments& arguments) {
  if (arguments.inputs.empty() == arguments.data.data.empty())
    throw UsageError("give either --input NAME=FILE.npy for each input, or --data");
  check_folder(arguments.output);
  const engine::Engine engine = open_engine(arguments.engine, arguments.common.deterministic);
  Result result = arguments.inputs.empty() ? run_data(arguments, engine) : run_once(arguments, engine);
  name_files(engine.model(), result);
  write(arguments.output, result);
  warn_skipped(result.skipped);
  report(arguments, engine.model(), result);
}

}  // namespace

Command add_run(CLI::App& root) {
  CLI::App* app = root.add_subcommand("run", "Run an engine or a model: arrays in and out, or whole data.");
  const auto arguments = std::make_shared<Arguments>();
  app->add_option("MODEL", arguments->engine, "engine or ONNX model")->required();
  app->add_option(
         "--input", arguments->inputs,
         "array of one input, NAME=FILE.npy; once for each input (without the names: in the model's order)")
      ->allow_extra_args(false)
      ->type_name("NAME=FILE");
  app->add_option(
         "--output,-o", arguments->output,
         "folder for OUTPUT.npy (and with --data index.txt, the samples' names in order; where their "
         "outputs differ in shape OUTPUT.000000.npy and so on, one for each line)")
      ->required()
      ->type_name("DIR");
  add_options(*app, arguments->data, /*required=*/false);
  arguments->common.add(*app);
  arguments->common.add_deterministic(*app);
  app->footer(
      "Example:\n  octet run demo/model.onnx --data demo/images/calib --output outputs \\\n"
      "      --preprocess \"short=64 crop=64 rgb mean=127.5 std=127.5\"");
  return {app, [arguments] { run(*arguments); }};
}

}  // namespace octet::tools
