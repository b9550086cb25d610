// The classic program: an ONNX model becomes an engine, in FP16 or in INT8 with a folder of images, and runs.
//
//   onnx_to_engine MODEL.onnx ENGINE.octet [fp16 | int8 IMAGES CACHE]
//
// An engine that is there is used again. The calibration cache is read if it exists and written if not (it
// has TensorRT's format). Images are letterboxed to the input's size, 640 x 640 where it is open, with grey
// 128, in RGB, times 1/255. The engine takes 1 to 8 images at once.
#include <cstdio>
#include <filesystem>

#include "octet/builder.h"

namespace {

octet::runtime::Engine make_engine(const std::string& path, const std::vector<std::string>& options) {
  const octet::Model model = octet::Model::load(path);
  octet::BuilderConfig config;
  config.log = [](octet::Severity severity, std::string_view text) {
    if (severity <= octet::Severity::kInfo)
      std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  const octet::runtime::TensorInfo& input = model.inputs().at(0);
  std::vector<int64_t> shape = input.shape;
  if (shape.size() != 4) throw octet::Error(octet::ErrorCode::kInvalidArgument, "the input is no image");
  const bool dynamic_batch = shape[0] < 0;
  for (size_t axis = 0; axis < 4; ++axis)
    if (shape[axis] < 0) shape[axis] = axis == 0 ? 1 : axis == 1 ? 3 : 640;
  octet::InputProfile profile;
  profile.minimum[input.name] = profile.optimum[input.name] = shape;
  if (dynamic_batch) shape[0] = 8;
  profile.maximum[input.name] = shape;
  config.profiles = {profile};
  config.workspace = int64_t{1} << 30;
  config.fp16 = !options.empty() && options[0] == "fp16";
  config.int8 = options.size() == 3 && options[0] == "int8";
  if (config.int8) config.calibrator = std::make_shared<octet::ImageFolderCalibrator>(options[1], options[2]);
  return octet::build(model, config);
}

}  // namespace

int main(int count, char** words) try {
  if (count < 3) return std::fprintf(stderr, "onnx_to_engine MODEL ENGINE [fp16 | int8 IMAGES CACHE]\n"), 2;
  const std::filesystem::path file = words[2];
  if (!std::filesystem::exists(file)) make_engine(words[1], {words + 3, words + count}).save(file);
  const auto engine = octet::runtime::Engine::load(file);
  octet::runtime::Context context(engine, {.threads = 0});
  const std::vector<std::byte> zeros(context.input_size(0));
  context.set_input(0, zeros);
  context.run();
  for (size_t i = 0; i < engine.outputs().size(); ++i)
    std::printf("%s: %zu bytes\n", engine.outputs()[i].name.c_str(), context.output_size(i));
  return 0;
} catch (const octet::Error& error) {
  return std::fprintf(stderr, "onnx_to_engine: %s\n", error.what()), 1;
}
