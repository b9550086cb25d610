#include "case.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/file.h"
#include "build/build.h"
#include "calibrate/dataset_runner.h"
#include "engine/engine.h"
#include "onnx/onnx.h"
#include "onnx/tensor_proto.h"
#include "tensor/half.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr double kRelative = 1e-3, kAbsolute = 1e-7;

Tensor read_pb(const fs::path& path) {
  const MappedFile file(path);
  onnx_pb::TensorProto proto;
  if (!proto.ParseFromArray(file.bytes().data(), static_cast<int>(file.bytes().size())))
    fail(ErrorCode::kBadFile, "'{}' is no tensor", path.string());
  ExternalFiles files(path.parent_path());
  return read_tensor(proto, path.filename().string(), files, {}, nullptr);
}

std::vector<Tensor> read_all(const fs::path& folder, const std::string& what) {
  std::vector<Tensor> tensors;
  for (int i = 0;; ++i) {
    const fs::path path = folder / fmt::format("{}_{}.pb", what, i);
    if (!fs::exists(path)) return tensors;
    tensors.push_back(read_pb(path));
  }
}

// Element i of any dtype.
double element(const Tensor& t, int64_t i) {
  const auto bytes = static_cast<const uint8_t*>(t.raw());
  switch (t.dtype()) {
    case DType::kFloat16:
    case DType::kBFloat16: {
      uint16_t bits = 0;
      std::memcpy(&bits, bytes + 2 * i, 2);
      return t.dtype() == DType::kFloat16 ? half_to_float(bits) : bfloat16_to_float(bits);
    }
    case DType::kFloat32:
      return t.as<float>()[static_cast<size_t>(i)];
    case DType::kFloat64:
      return t.as<double>()[static_cast<size_t>(i)];
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

std::string compare(const Tensor& found, const Tensor& expected) {
  if (found.dtype() != expected.dtype())
    return fmt::format("is {}, expected {}", dtype_name(found.dtype()), dtype_name(expected.dtype()));
  if (found.shape() != expected.shape())
    return fmt::format("has shape {}, expected {}", to_string(found.shape()), to_string(expected.shape()));
  if (!is_float(expected.dtype())) {
    const auto bytes = static_cast<size_t>(expected.bytes());
    if (bytes == 0 || std::memcmp(found.raw(), expected.raw(), bytes) == 0) return {};
    if (dtype_bits(expected.dtype()) < 8) return "differs";
    const std::vector<int64_t> a = to_int64(found), b = to_int64(expected);
    int64_t wrong = 0, first = -1;
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i] != b[i] && wrong++ == 0) first = static_cast<int64_t>(i);
    return fmt::format("differs in {} of {} elements, the first is {}: {}, expected {}", wrong, a.size(),
                       first, a[static_cast<size_t>(first)], b[static_cast<size_t>(first)]);
  }
  int64_t wrong = 0, first = -1;
  for (int64_t i = 0; i < expected.count(); ++i) {
    const double a = element(found, i), b = element(expected, i);
    const bool same = a == b || (std::isnan(a) && std::isnan(b)) ||
                      std::fabs(a - b) <= kAbsolute + kRelative * std::fabs(b);
    if (!same && wrong++ == 0) first = i;
  }
  if (wrong == 0) return {};
  return fmt::format("differs in {} of {} elements, the first is {}: {}, expected {}", wrong,
                     expected.count(), first, element(found, first), element(expected, first));
}

std::string run_set(const engine::Engine& engine, const fs::path& set) {
  const std::vector<Tensor> inputs = read_all(set, "input"), outputs = read_all(set, "output");
  engine::ContextOptions options = engine::default_options();
  const size_t expected = engine.model().inputs.size();
  if (inputs.size() != expected)
    return fmt::format("{} inputs given, the model has {}", inputs.size(), expected);
  options.shapes = shapes_for(engine.model(), inputs);
  engine::Context context(engine, options);
  // Twice: nothing of a run may show in the next.
  context.run(inputs);
  context.run(inputs);
  if (outputs.size() != engine.model().outputs.size())
    return fmt::format("the model has {} outputs, expected {}", engine.model().outputs.size(),
                       outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i)
    if (const std::string problem = compare(context.output(i), outputs[i]); !problem.empty())
      return fmt::format("output {} {}", i, problem);
  return {};
}

// One line, without the path that every message begins with.
std::string one_line(std::string text, const fs::path& folder) {
  const std::string path = "'" + (folder / "model.onnx").string() + "'";
  if (text.starts_with(path)) text.erase(0, path.size());
  for (size_t at; (at = text.find('\n')) != std::string::npos;) text.replace(at, 1, " |");
  return text;
}

std::vector<std::string> operators_of(const fs::path& model) {
  const MappedFile file(model);
  onnx_pb::ModelProto proto;
  std::vector<std::string> names;
  if (!proto.ParseFromArray(file.bytes().data(), static_cast<int>(file.bytes().size()))) return names;
  for (const auto& node : proto.graph().node()) names.push_back(node.op_type());
  return names;
}

}  // namespace

CaseResult run_case(const fs::path& folder) {
  CaseResult result;
  result.name = folder.filename().string();
  const auto start = std::chrono::steady_clock::now();
  try {
    result.operators = operators_of(folder / "model.onnx");
    const engine::Engine engine(build_engine(import_onnx(folder / "model.onnx")));
    bool any = false;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (!entry.is_directory()) continue;
      any = true;
      if (result.problem.empty()) result.problem = run_set(engine, entry.path());
    }
    if (!any) result.problem = "it has no data";
  } catch (const std::exception& error) {
    result.problem = one_line(error.what(), folder);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace octet
